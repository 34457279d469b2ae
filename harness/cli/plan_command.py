"""`harness plan`: the runs of a suite, which of them are done, and what the others cost."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from harness.api.wording import counted
from harness.cli.command_setup import load_suite
from harness.cli.job_table import HEADER, JobPlan
from harness.cli.stderr_warnings import warn_of_data
from harness.cli.terminal_tables import print_table

if TYPE_CHECKING:
    from pathlib import Path

    from harness.config.selection_schema import TuningSpec
    from harness.planning import CostEstimate, Plan, RunStatus, TeacherJob
    from harness.planning.jobs import AugmentationJob, RunJob, TextStageJob
    from harness.plugin_host.host import Host
    from harness.storage.plan_file import PlannedRun
    from harness.storage.store import Store


def plan_suite(
    name: str, overrides: Sequence[str], plugins: Sequence[str], results: Path, *, workers: int = 1, as_json: bool
) -> None:
    """Print the runs of a suite, their status, and the work that remains, as text or JSON. Trains nothing.

    Raises:
        UserError: the suite or its data are invalid, or this machine lacks the suite's device.
    """
    loaded = load_suite(name, overrides, plugins)
    from harness.storage.store import Store
    from harness.workflow.suite_loading import plan_loaded

    store = Store(results / loaded.suite.spec.name)
    plan = plan_loaded(loaded)
    work = _remaining_work(plan, store, loaded.host, workers)
    if as_json:
        typer.echo(json.dumps(_to_json(plan, store, work), indent=1))
    else:
        _print_plan(plan, store, work)


@dataclass(frozen=True)
class RemainingWork:
    """The status of every run of a plan, and what is missing in the results folder and the cache."""

    statuses: list[RunStatus]
    cost: CostEstimate
    jobs: JobPlan
    augmentations: list[AugmentationJob]
    text_stages: list[TextStageJob]


def _remaining_work(plan: Plan, store: Store, host: Host, workers: int) -> RemainingWork:
    from harness import planning
    from harness.planning import tuning_studies
    from harness.planning.jobs import AugmentationJob, TextStageJob
    from harness.planning.measured_time import measured_to_estimated

    statuses = planning.status(plan, store)
    missing = [status.job for status in statuses if not status.done]
    studies = [study for study in tuning_studies.every(missing, plan.spec) if store.tuning(study.key) is None]
    completed = [status.job for status in statuses if status.done]
    measured = measured_to_estimated(plan, completed, store)
    jobs = _jobs(plan, missing, store, host, workers, measured)
    return RemainingWork(
        statuses=statuses,
        cost=planning.estimate(plan, missing, studies),
        jobs=jobs,
        augmentations=jobs.missing(AugmentationJob),
        text_stages=jobs.missing(TextStageJob),
    )


def _jobs(
    plan: Plan, missing: Sequence[RunJob], store: Store, host: Host, workers: int, measured: float | None
) -> JobPlan:
    from harness.execution.job_states import job_states
    from harness.planning import graph_builder, scheduling

    graph = graph_builder.build(plan, missing, workers=workers)
    states = job_states(plan, graph, store, host)
    done = {state.job.key for state in states if state.state == "done"}
    return JobPlan(states, scheduling.schedule(graph, workers, done=done), workers, measured)


def _to_json(plan: Plan, store: Store, work: RemainingWork) -> dict[str, object]:
    """The content of `harness plan --json`. Empty `augmentations`, `text_stages` and `held_out` are left out."""
    content: dict[str, object] = {
        "suite": plan.spec.name,
        "results": str(store.folder),
        "to_do": asdict(work.cost),
        "runs": [{**status.run.model_dump(), "done": status.done, "reason": status.reason} for status in work.statuses],
    }
    if work.augmentations:
        content["augmentations"] = [
            {"task": job.data.task.name, "label": job.label, "key": job.key} for job in work.augmentations
        ]
    if work.text_stages:
        content["text_stages"] = [
            {"student": job.student, "label": job.label, "key": job.key, "steps": job.steps} for job in work.text_stages
        ]
    content["teachers"] = [_teacher_to_json(job, store) for job in plan.teachers]
    content["cached_teacher_outputs"] = [asdict(decision) for decision in plan.cache_decisions]
    content["jobs"] = work.jobs.to_json()
    if work.jobs.measured is not None:
        content["measured_to_estimated"] = work.jobs.measured
    if plan.held_out:
        content["held_out"] = dict(plan.held_out)
    content["data"] = {task: report.model_dump() for task, report in plan.data.items()}
    return content


def _teacher_to_json(job: TeacherJob, store: Store) -> dict[str, object]:
    head = {"head": job.head} if job.head else {}
    return {
        "task": job.data.task.name,
        "name": job.row,
        "seed": job.fine_tuning_seed,
        "key": job.key,
        "done": _is_scored(job, store),
        **head,
    }


def _is_scored(job: TeacherJob, store: Store) -> bool:
    return store.teacher(job.key, job.data.validation_fingerprint) is not None


def _print_plan(plan: Plan, store: Store, work: RemainingWork) -> None:
    """Print a table of the runs, then what remains to be done."""
    from harness.reporting.captions import same_runs

    print_table(["task", "method", "student", "seed", "teachers", "state"], map(_status_row, work.statuses))
    warn_of_data(plan.data, plan.truncated)
    for note in same_runs(status.run for status in work.statuses):
        typer.echo(f"\n{note}")
    done = sum(status.done for status in work.statuses)
    rest = " `harness run` trains the others." if done < len(work.statuses) else ""
    typer.echo(f"\n{done} of {len(work.statuses)} runs are done in {store.folder}.{rest}")
    for line in _work_lines(plan, store, work):
        typer.echo(line)
    if rows := list(work.jobs.rows()):
        typer.echo("\nJobs:")
        print_table(HEADER, rows)
        for line in work.jobs.lines():
            typer.echo(line)


def _work_lines(plan: Plan, store: Store, work: RemainingWork) -> Iterator[str]:
    """What remains, a sentence for each kind of work, and which teacher outputs are cached."""
    from harness.planning.cache_decisions import describe, gigabytes

    yield from _training_lines(work.cost)
    if work.cost.runs and plan.spec.training.execution == "fused":
        yield "Students of one shape share a forward and a backward pass (training.execution: fused)."
    yield from _teacher_lines([job for job in plan.teachers if not _is_scored(job, store)])
    yield from _head_lines(plan.teachers)
    yield from _tuning_lines(work.cost, plan.spec.tuning)
    unfinished = {status.run.task for status in work.statuses if not status.done}
    yield from _selection_lines(plan, unfinished)
    yield from _memory_lines(work.cost)
    if work.cost.runs:
        size = gigabytes(work.cost.disk_gb)
        yield f"Disk: about {size} for the students of these runs, in {store.folder}. Teachers are in the cache."
    for decision in plan.cache_decisions:
        if decision.task in unfinished:
            yield f"Cached teacher outputs: {describe(decision)}."
    yield from _preparation_lines(work)


def _status_row(status: RunStatus) -> tuple[str, str, str, int, str, str]:
    run = status.run
    return run.task, run.label, run.student, run.seed, _teachers(run), status.reason


def _teachers(run: PlannedRun) -> str:
    """The run's teachers with their seeds: ``base (seed 1), large (seed 1)``; without one if they are not trained."""
    pairs = zip(run.teachers, run.teacher_seeds, strict=True)
    return ", ".join(name if seed is None else f"{name} (seed {seed})" for name, seed in pairs)


def _training_lines(cost: CostEstimate) -> Iterator[str]:
    if cost.runs:
        yield (
            f"To do: {counted(cost.runs, 'run')} in {counted(cost.cohorts, 'cohort')}: "
            f"{counted(cost.student_steps, 'student step')}, {counted(cost.teacher_passes, 'teacher forward pass')} "
            f"({cost.teacher_passes_apart} without cohorts)."
        )


def _teacher_lines(jobs: Sequence[TeacherJob]) -> Iterator[str]:
    """A line for each teacher of the board that has no record. Its weights may still be in the cache."""
    rows: dict[str, dict[int, list[str]]] = {}
    for job in jobs:
        if not job.spec.finetune:
            yield f"Teacher {job.row} will be scored on {job.data.task.name}."
            continue
        rows.setdefault(job.row, {}).setdefault(job.spec.seed, []).append(job.data.task.name)
    for row, seeds in rows.items():
        trainings = "; ".join(f"seed {seed} on {', '.join(dict.fromkeys(tasks))}" for seed, tasks in seeds.items())
        yield f"Teacher {row} will be fine-tuned unless it is in the cache: {trainings}."


def _head_lines(jobs: Sequence[TeacherJob]) -> Iterator[str]:
    """A line for each head of a checkpoint: whether it is used as it is, fine-tuned further or replaced."""
    tasks: dict[tuple[str, str], list[str]] = {}
    for job in jobs:
        if job.head:
            tasks.setdefault((job.alone.row, job.head), []).append(job.data.task.name)
    for (row, head), names in tasks.items():
        yield f"Teacher {row} on {', '.join(dict.fromkeys(names))}: {head}."


def _tuning_lines(cost: CostEstimate, tuning: TuningSpec | None) -> Iterator[str]:
    if cost.trials:
        yield (
            f"Tuning before these runs: {counted(cost.trials, 'trial')} x {counted(cost.tuned_rows, 'row')}: "
            f"{counted(cost.trial_steps, 'student step')}, {counted(cost.trial_passes, 'more teacher forward pass')}."
        )
    if cost.runs and tuning and tuning.batch_size:
        yield "Steps are those of the batch size of `training`; smaller tuned batches take more, larger ones fewer."


def _selection_lines(plan: Plan, tasks: Collection[str]) -> Iterator[str]:
    """How many examples of `tasks` are held out of the training splits, and how often they are scored."""
    selection = plan.spec.effective_selection if plan.held_out.keys() & set(tasks) else None
    if selection is None:
        return
    trained_on = {job.data.task.name: job.data.train_examples for job in plan.runs}
    held_out = {task: plan.held_out[task] for task in trained_on if task in plan.held_out and task in tasks}
    sizes = ", ".join(f"{count:,} of {task} ({trained_on[task]:,} are trained on)" for task, count in held_out.items())
    yield f"Held out of the training splits: {sizes}. {_scorings(selection.epoch, plan.spec.tuning)}"
    if large := [task for task, count in held_out.items() if count > trained_on[task]]:
        yield (
            f"These are more than the training examples of {', '.join(large)}, since training.limit.train does not"
            " limit them; training.limit.validation does, together with the examples that the board reports."
        )


def _scorings(epoch: str, tuning: TuningSpec | None) -> str:
    who = "Each trial and each run scores" if tuning else "Each run scores"
    if epoch == "best":
        return f"{who} all of them after every epoch of its last stage."
    return "Each trial scores all of them once." if tuning else "They are not scored."


def _memory_lines(cost: CostEstimate) -> Iterator[str]:
    if cost.runs:
        yield f"Memory: up to {cost.memory_gb:.1f} GB for one cohort; {cost.room_gb:.1f} GB are available."
    if cost.memory_gb > cost.room_gb:
        yield "One run alone does not fit: its batches are split into micro-batches where its method allows it."


def _preparation_lines(work: RemainingWork) -> Iterator[str]:
    if work.text_stages:
        stages = ", ".join(f"{job.label} on {job.student} ({counted(job.steps, 'step')})" for job in work.text_stages)
        yield f"Distilled on unlabelled text before these runs: {stages}."
    if work.augmentations:
        data = ", ".join(
            f"{job.data.task.name} ({job.label}, {counted(job.data.train_examples, 'example')})"
            for job in work.augmentations
        )
        yield f"Training data augmented before these runs: {data}."
