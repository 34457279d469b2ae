"""Plan the tuning of rows: search spaces, keys of studies, and the runs of trials.

The key of a tuned run cannot hold the chosen values. It holds everything that determines them: the search space, the
budget, the seed, and the examples that decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any

from pydantic import ValidationError

from harness.api import search_space
from harness.api.errors import UserError, problem_list
from harness.api.method import Method, MethodConfig
from harness.api.search_space import Choices, Dimension, Search
from harness.config.method_schema import StageOverride
from harness.config.schema import SuiteSpec
from harness.config.selection_schema import TuningSpec
from harness.planning import keys
from harness.planning.jobs import RunJob
from harness.planning.method_binding import rebound
from harness.resolution.request_options import options_of
from harness.storage.hashing import key
from harness.storage.plan_file import PlannedStudy, PlannedTuning
from harness.storage.records import TuningSummary
from harness.storage.tuning_records import BATCH_SIZE, LEARNING_RATE, TuningRecord

SETTINGS = {LEARNING_RATE: "lr", BATCH_SIZE: "batch_size"}
"""Name of a tuned value -> the setting of `training`. All other values are options of the method."""

VERSION = 1
"""Version of how values are proposed and chosen, part of the keys of tuned runs. Increase it when that changes."""

TUNED_WITH = "models"
"""Key part with the models that the row was tuned with, present if they are not the run's own."""


@dataclass(frozen=True)
class Study:
    """The tuning of one row on one task and student.

    `job` is one of the runs that will use the chosen values. `defaults` are the values that the options in its search
    space have without tuning.
    """

    key: str
    parts: Mapping[str, Any]
    job: RunJob
    defaults: Mapping[str, Any]
    spec: TuningSpec

    @property
    def space(self) -> Mapping[str, Dimension]:
        """The search space of the row."""
        return self.job.space

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher score of the task is better."""
        return self.job.data.task.higher_is_better

    def trial(self, number: int, values: Mapping[str, Any]) -> RunJob:
        """Return the run of trial `number` with `values`.

        Raises:
            UserError: the method rejects this combination of values.
        """
        seed, data_seed = self.spec.seed, self.job.training.data_seed
        trial_key = key({"study": self.key, "trial": number, "values": dict(values)})
        job = _with_values(self.job, values, seed)
        return replace(
            job,
            planned=job.planned.model_copy(update={"key": trial_key, "seed": seed}),
            data_seed=seed if data_seed is None else data_seed,
            trial=number,
        )

    def settled(self, job: RunJob, record: TuningRecord) -> RunJob:
        """Return a run of the row with the chosen values."""
        chosen = record.chosen
        tuned = TuningSummary(
            study=self.key,
            trials=len(record.trials),
            values=chosen.values,
            score=chosen.score,
            seconds=record.seconds,
        )
        return replace(_with_values(job, chosen.values, job.planned.seed), tuned=tuned)


def decide(jobs: Sequence[RunJob], spec: SuiteSpec) -> list[RunJob]:
    """Return the jobs in order. The keys of those whose row is tuned include the tuning."""
    if spec.tuning is None:
        return list(jobs)
    spaces: dict[tuple[str, str, str], dict[str, Dimension]] = {}
    for job in jobs:
        if _row(job) not in spaces:
            spaces[_row(job)] = _space(job, spec.tuning)
    return [_with_tuned_key(job, spaces[_row(job)], spec.tuning) for job in jobs]


def _row(job: RunJob) -> tuple[str, str, str]:
    """Return the row of the board, task and student: its runs share a study."""
    return job.planned.task, job.planned.label, job.planned.student


@cache
def _optuna_version() -> str:
    """Return the version of Optuna. Its metadata are read once, not for every run."""
    return version("optuna")


def _with_tuned_key(job: RunJob, space: Mapping[str, Dimension], tuning: TuningSpec) -> RunJob:
    if not space:
        return job
    parts = {
        **job.parts,
        "tuning": {
            **tuning.key_fields(),
            **keys.micro_batches(job.training, tuning.batch_size or ()),
            "space": {name: dimension.plain for name, dimension in space.items()},
            "examples": job.data.selection_fingerprint,
            **keys.better(job.data),
            **({} if job.first.parts == job.lineage.parts else {TUNED_WITH: job.first.parts}),
            "optuna": _optuna_version(),
            "code": VERSION,
        },
    }
    return replace(job, planned=job.planned.model_copy(update={"key": key(parts)}), parts=parts, space=space)


def of(job: RunJob, spec: SuiteSpec) -> Study | None:
    """Return the study of the job's row, with the teachers of the row's first seed; None if the row is not tuned.

    Its key depends neither on the job's seed nor on the validation data.
    """
    if spec.tuning is None or not job.space:
        return None
    data = {name: part for name, part in job.parts["data"].items() if name != "validation"}
    tuning = {name: part for name, part in job.parts["tuning"].items() if name != TUNED_WITH}
    parts = {name: part for name, part in job.parts.items() if name not in ("seed", "data_seed")}
    parts |= {"data": data, "tuning": tuning, **job.first.parts}
    if spec.training.data_seed is not None:
        parts["data_seed"] = spec.training.data_seed
    config = job.cell.variant.config
    defaults = {
        name: getattr(job.training, SETTINGS[name]) if name in SETTINGS else getattr(config, name) for name in job.space
    }
    return Study(key(parts), parts, _with_first_teachers(job), defaults, spec.tuning)


def _with_first_teachers(job: RunJob) -> RunJob:
    """Return the job with the teachers of its row's first seed."""
    seeds = [teacher.fine_tuning_seed for teacher in job.first.teachers]
    assistants = {teacher.row: teacher.key for teacher in job.first.teachers if teacher.run is not None}
    planned = job.planned.model_copy(update={"teacher_seeds": seeds, "assistants": assistants})
    return replace(job, lineage=job.first, planned=planned)


def every(jobs: Iterable[RunJob], spec: SuiteSpec) -> list[Study]:
    """Return the distinct studies of the jobs, in order."""
    first_of_row: dict[tuple[str, str, str], RunJob] = {}
    for job in jobs:
        first_of_row.setdefault(_row(job), job)
    studies: dict[str, Study] = {}
    for job in first_of_row.values():
        if study := of(job, spec):
            studies.setdefault(study.key, study)
    return list(studies.values())


def planned(jobs: Sequence[RunJob], spec: SuiteSpec) -> PlannedTuning | None:
    """Return the tuning as stored in the plan file, with an entry for each task, label and student."""
    if spec.tuning is None:
        return None
    entries: dict[tuple[str, str, str], PlannedStudy] = {}
    for job in jobs:
        row = _row(job)
        if row not in entries:
            study = of(job, spec)
            entries[row] = PlannedStudy(key=study.key if study else None, task=row[0], label=row[1], student=row[2])
    on = spec.effective_selection.on if spec.effective_selection else "train"
    return PlannedTuning(trials=spec.tuning.trials, seed=spec.tuning.seed, on=on, studies=list(entries.values()))


def _space(job: RunJob, tuning: TuningSpec) -> dict[str, Dimension]:
    """Return the search space of the job's row: learning rate, batch size and the options its method marks as tunable.

    It excludes options that the row's entry sets or its grid varies, and options that change a group of teachers,
    augmented data or a text stage: several runs share these.
    """
    variant = job.cell.variant
    space: dict[str, Dimension] = {}
    rates = tuning.lr_range(job.training.lr)
    stages = [variant.stages.get(stage.name, StageOverride()) for stage in job.stages]
    if rates and any(stage.lr is None for stage in stages):
        space[LEARNING_RATE] = Search(*rates, log=True)
    if tuning.batch_size and any(stage.batch_size is None for stage in stages):
        space[BATCH_SIZE] = Choices(*tuning.batch_size)
    for name, dimension in search_space.space(variant.method.Config).items():
        if name not in variant.config.model_fields_set and not _changes_pre_task_requests(job, name, dimension):
            space[name] = dimension
    return space


def _changes_pre_task_requests(job: RunJob, name: str, dimension: Dimension) -> bool:
    candidates = (dimension.low, dimension.high) if isinstance(dimension, Search) else dimension.values
    current = _pre_task_requests(job, job.method)
    for value in candidates:
        try:
            other = rebound(job.method, config=_validate_config(job.cell.variant.config, {name: value}))
        except ValidationError:  # another option of the entry excludes this value: a trial with it reports that
            continue
        if _pre_task_requests(job, other) != current:
            return True
    return False


def _pre_task_requests(job: RunJob, method: Method) -> tuple[Any, ...]:
    """Return what the method requests before its stages on a task: text stage, cofinetuning and augmentation."""
    general, together = method.general() if job.general else None, method.cofinetuning() if job.teachers else None
    augmentation = method.augmentation()
    return (
        general and (general, options_of(general, method.config)),
        together and options_of(together, method.config),
        augmentation and (options_of(augmentation, method.config), augmentation.model, tuple(augmentation.files)),
    )


def _with_values(job: RunJob, values: Mapping[str, Any], seed: int) -> RunJob:
    """Return the job with `values` for its options, learning rate and batch size."""
    options = {name: value for name, value in values.items() if name not in SETTINGS}
    try:
        config = _validate_config(job.cell.variant.config, options)
    except ValidationError as error:
        raise UserError(f"{job.planned.method}: {error.errors()[0]['msg']}") from error
    method = rebound(job.method, config=config, seed=seed)
    problems = problem_list(method.check(method.task, method.student, method.teachers))
    if problems:
        raise UserError(*problems)
    variant = replace(job.cell.variant, config=config)
    settings = {setting: values[name] for name, setting in SETTINGS.items() if name in values}
    training = job.training.model_copy(update=settings)
    if LEARNING_RATE in values:
        factor = training.lr / job.training.lr
        variant = replace(variant, stages=_scale_stage_rates(method, variant.stages, factor))
    return replace(job, cell=replace(job.cell, variant=variant), method=method, training=training)


def _scale_stage_rates(
    method: Method, overrides: Mapping[str, StageOverride], factor: float
) -> dict[str, StageOverride]:
    """Return the stage overrides with the learning rates that the method sets multiplied by `factor`.

    Learning rates that the suite sets are unchanged.
    """
    stages = dict(overrides)
    for stage in method.stages():
        override = stages.get(stage.name, StageOverride())
        if stage.lr is not None and override.lr is None:
            stages[stage.name] = override.model_copy(update={"lr": stage.lr * factor})
    return stages


def _validate_config(config: MethodConfig, values: Mapping[str, Any]) -> MethodConfig:
    return type(config).model_validate({**dict(config), **values})
