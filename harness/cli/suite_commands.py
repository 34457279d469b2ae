"""Commands that read a suite or its results without training: plan, validate, report."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from harness.cli.terminal_tables import print_table

if TYPE_CHECKING:
    from pathlib import Path

    from harness.planning import TeacherJob
    from harness.plugin_host.host import Host
    from harness.resolution.suite import Resolved
    from harness.resolution.suite_loader import LoadedSuite
    from harness.storage.records import PlannedRun
    from harness.storage.store import Store


def load_suite(name: str, overrides: Sequence[str], plugins: Sequence[str]) -> LoadedSuite:
    """Read a suite file, or a shipped one by its bare name. Plugins that are broken but not needed are told."""
    calm_libraries()
    from harness.resolution import load

    loaded = load(name, overrides=overrides, plugins=plugins)
    warn_of_broken(loaded.host)
    return loaded


def calm_libraries() -> None:
    """Keep the libraries' own bars and notes out of ours: before they are imported, and unless a user has set it."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def warn_of_broken(host: Host) -> None:
    """A line on stderr for each installed plugin that cannot be used."""
    for plugin in host.plugins:
        if plugin.error:
            print(f"warning: plugin {plugin.name!r} is left out: {plugin.error} ({plugin.origin})", file=sys.stderr)


def plan_suite(name: str, overrides: Sequence[str], plugins: Sequence[str], results: Path, *, as_json: bool) -> None:
    """Print what would run, what is done, and why not."""
    loaded = load_suite(name, overrides, plugins)
    suite = loaded.suite
    from harness import planning
    from harness.analysis.data_notes import overlapping
    from harness.execution import augmented_data, text_students
    from harness.planning import teacher_cache_policy, tuning_studies
    from harness.reporting.captions import same_runs
    from harness.resolution import resolve
    from harness.storage.store import Store

    store = Store(results / suite.spec.name)
    planning.refuse_absent(suite.spec.device)
    planned = planning.build(resolve(loaded, online=True))
    states = planning.status(planned, store)
    to_do = [state.job for state in states if not state.done]
    tuning = [study for study in tuning_studies.every(to_do, suite.spec) if store.tuning(study.key) is None]
    cost = planning.estimate(planned, to_do, tuning)
    data = [job for job in planned.augmentations(to_do) if not augmented_data.is_kept(job)]
    before = [job for job in planned.generals(to_do) if not text_students.is_kept(job)]
    if as_json:
        runs = [{**state.run.model_dump(), "done": state.done, "reason": state.reason} for state in states]
        made = [{"task": job.data.task.name, "label": job.label, "key": job.key} for job in data]
        content = {"suite": suite.spec.name, "results": str(store.folder), "to_do": asdict(cost), "runs": runs}
        content |= {"data_to_make": made} if made else {}
        stages = [{"student": job.student, "label": job.label, "key": job.key, "steps": job.steps} for job in before]
        content |= {"general_to_do": stages} if stages else {}
        content |= {"teachers": [_as_data(job, store) for job in planned.teachers]}
        content |= {"teacher_tensors": [asdict(choice) for choice in planned.choices]}
        content |= {"data": {task: report.model_dump() for task, report in planned.data.items()}}
        typer.echo(json.dumps(content, indent=1))
        return
    rows = (
        (run.task, run.label, run.student, run.seed, _taught_by(run), "done" if state.done else state.reason)
        for state in states
        for run in [state.run]
    )
    print_table(["task", "method", "student", "seed", "teachers", "state"], rows)
    _warn_of_overlap(overlapping(planned.data))
    done = sum(state.done for state in states)
    for told in same_runs(state.run for state in states):
        typer.echo(f"\n{told}")
    typer.echo(f"\n{done} of {len(states)} runs are done in {store.folder}; `harness run` trains the others.")
    if cost.runs:
        typer.echo(
            f"To do: {cost.runs} runs in {cost.cohorts} cohorts, {cost.student_steps} steps of students, "
            f"{cost.teacher_passes} passes of teachers ({cost.teacher_passes_apart} if each run had its own)."
        )
    for told in _to_fine_tune([job for job in planned.teachers if store.teacher(job.key) is None]):
        typer.echo(told)
    if tuning:
        typer.echo(
            f"Before that, tuning: {cost.trials} trials x {cost.tuned_rows} rows, {cost.trial_steps} steps of students,"
            f" {cost.trial_passes} more passes of teachers."
        )
    if cost.runs:
        typer.echo(
            f"Memory: a cohort takes about {cost.memory_gb:.1f} GB at most; there is room for {cost.room_gb:.1f} GB."
        )
    if cost.memory_gb > cost.room_gb:
        typer.echo("A run does not fit in it by itself: its steps will be done in parts, where they can be split.")
    for choice in planned.choices:
        typer.echo(f"Teacher tensors: {teacher_cache_policy.told(choice)}.")
    if before:
        listed = ", ".join(f"{job.label} on {job.student} ({job.steps} steps)" for job in before)
        typer.echo(f"Before that, students are distilled on unlabelled text: {listed}.")
    if data:
        listed = ", ".join(f"{job.data.task.name} ({job.label}, {len(job.data.splits.train)} examples)" for job in data)
        typer.echo(f"Before that, training data are made of those of {listed}.")


def _taught_by(run: PlannedRun) -> str:
    pairs = zip(run.teachers, run.teacher_seeds, strict=True)
    return ", ".join(f"{name} (seed {seed})" for name, seed in pairs)


def _as_data(job: TeacherJob, store: Store) -> dict[str, object]:
    done = store.teacher(job.key) is not None
    return {"task": job.data.task.name, "name": job.row, "seed": job.spec.seed, "key": job.key, "done": done}


def _to_fine_tune(jobs: Sequence[TeacherJob]) -> Iterator[str]:
    """The teachers without a record, a line for each row of the board; the weights may be in the cache."""
    rows: dict[str, dict[int, list[str]]] = {}
    for job in jobs:
        rows.setdefault(job.row, {}).setdefault(job.spec.seed, []).append(job.data.task.name)
    for row, seeds in rows.items():
        each = "; ".join(f"seed {seed} on {', '.join(dict.fromkeys(tasks))}" for seed, tasks in seeds.items())
        yield f"Teacher {row} is to be fine-tuned, unless the cache has it: {each}."


def validate_suite(name: str, overrides: Sequence[str], plugins: Sequence[str]) -> None:
    """Check a suite and its data, as far as these are local, and print what was found. Problems are raised as a
    `UserError`."""
    loaded = load_suite(name, overrides, plugins)
    from harness.analysis.data_notes import overlapping
    from harness.planning.task_data import reports
    from harness.resolution import resolve

    resolved = resolve(loaded, online=False)
    found = reports(loaded.suite)
    typer.echo(f"{loaded.suite.path}: valid")
    for title, text in _summary(resolved):
        typer.echo(f"  {title:<9} {text}")
    _warn_of_overlap(overlapping(found))
    rejected = [cell for cell in resolved.cells if cell.reason]
    if rejected:
        typer.echo("\nn/a on the board:")
        print_table(
            ["task", "method", "student", "reason"],
            ((cell.task.name, cell.variant.label, cell.student, cell.reason) for cell in rejected),
        )
    if resolved.unchecked:
        typer.echo("\nnot checked, since only a hub could tell:")
        for what in resolved.unchecked:
            typer.echo(f"  {what}")


def _warn_of_overlap(found: Sequence[str]) -> None:
    for share in found:
        print(f"warning: texts that are trained on are scored, too: {share}", file=sys.stderr)


def _summary(resolved: Resolved) -> Iterator[tuple[str, str]]:
    suite, spec = resolved.suite, resolved.suite.spec
    yield "tasks", _listed([task.name for task in suite.tasks])
    yield "teachers", _listed([_teacher(resolved, teacher) for teacher in spec.teachers])
    yield "students", _listed([str(resolved.shapes.get(student, student)) for student in spec.students])
    yield "methods", _listed([variant.label for variant in suite.variants])
    yield "seeds", _listed([str(seed) for seed in spec.seeds])
    cells = sum(cell.reason is None for cell in resolved.cells)
    seeds = "1 seed" if len(spec.seeds) == 1 else f"{len(spec.seeds)} seeds"
    yield "runs", f"{cells * len(spec.seeds)} ({cells} cells of the board, {seeds} each)"
    if spec.tuning:
        rates = spec.tuning.lr_range(spec.training.lr)
        of_rate = f", learning rate from {rates[0]:g} to {rates[1]:g}" if rates else ""
        yield "tuning", f"{spec.tuning.trials} trials of each row, task and student{of_rate}"
    if spec.effective_selection:
        on = (
            "the validation splits"
            if spec.effective_selection.on == "validation"
            else "examples held out of the training splits"
        )
        yield "selection", f"{'best epoch, ' if spec.effective_selection.epoch == 'best' else ''}on {on}"
    limit = spec.training.limit.model_dump(exclude_none=True)
    if limit:
        yield "limit", f"{', '.join(f'{split} {count}' for split, count in limit.items())}: a rehearsal"


def _teacher(resolved: Resolved, name: str) -> str:
    seeds = resolved.suite.spec.teachers[name].seeds
    each = f" (one per seed: {', '.join(map(str, seeds))})" if seeds else ""
    return f"{resolved.shapes.get(name, name)}{each}"


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)}: {', '.join(names)}" if names else "none"


def report_folder(folder: Path, plugins: Sequence[str], format: str | None = None) -> None:
    """Make a board's files again and print it, or one format of it and nothing else."""
    from harness.api.errors import UserError, nearest
    from harness.cli.board_view import print_report
    from harness.plugin_host.host import Host
    from harness.reporting import report

    host = Host.reporting(plugins)
    warn_of_broken(host)
    if format is not None and format not in host.reporters:
        raise UserError(f"--format: there is no format {format!r}; {nearest(format, host.reporters)}")
    written = report(folder, host)
    if format is None:
        print_report(written)
    else:
        typer.echo(written.texts[format], nl=False)
