"""`harness plan`: the runs of a suite, which of them are done, and what the others cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from harness.cli.command_setup import load_suite
from harness.cli.stderr_warnings import warn_of_overlapping_splits
from harness.cli.terminal_tables import print_table

if TYPE_CHECKING:
    from pathlib import Path

    from harness.planning import TeacherJob
    from harness.storage.records import PlannedRun
    from harness.storage.store import Store


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
    warn_of_overlapping_splits(overlapping(planned.data))
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
