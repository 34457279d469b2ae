"""The tuning of rows: over which options, under which keys, and the runs that it is made of.

A run's key cannot hold what will be chosen. It holds all that determines it: the space, the budget, the seed, and the
examples that decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from pydantic import ValidationError

from harness.api import search_space
from harness.api.errors import UserError
from harness.api.method import Method, MethodConfig
from harness.api.search_space import Dimension, Search
from harness.config.schema import StageOverride, SuiteSpec, TuningSpec
from harness.planning import keys
from harness.planning.jobs import RunJob
from harness.storage.hashing import key
from harness.storage.records import PlannedStudy, PlannedTuning, TuningSummary
from harness.storage.tuning_records import LEARNING_RATE, TuningRecord

VERSION = 1
"""Of what is proposed and chosen. Raise it when that changes: it is part of the keys of tuned runs."""

TUNED_WITH = "models"
"""The part of a tuned run's key that names the teachers its row was tuned with, where they are not its own."""


@dataclass(frozen=True)
class Study:
    """The tuning of one row on one task and student. `job` is one of the runs that will take over what it chooses;
    `defaults` are the values of the options in `space` as the row has them without tuning."""

    key: str
    parts: Mapping[str, Any]
    job: RunJob
    space: Mapping[str, Dimension]
    defaults: Mapping[str, Any]
    spec: TuningSpec

    @property
    def higher_is_better(self) -> bool:
        """Of the scores that decide."""
        return self.job.data.task.higher_is_better

    def trial(self, number: int, values: Mapping[str, Any]) -> RunJob:
        """The run of a trial, with `values`.

        Raises:
            UserError: the method does not take these values together.
        """
        seed, data_seed = self.spec.seed, self.job.training.data_seed
        own = key({"study": self.key, "trial": number, "values": dict(values)})
        job = _with(self.job, values, seed)
        return replace(
            job,
            planned=job.planned.model_copy(update={"key": own, "seed": seed}),
            data_seed=seed if data_seed is None else data_seed,
            trial=number,
        )

    def settled(self, job: RunJob, record: TuningRecord) -> RunJob:
        """A run of the row, with what was chosen."""
        chosen = record.chosen
        tuned = TuningSummary(
            study=self.key,
            trials=len(record.trials),
            values=chosen.values,
            score=chosen.score,
            seconds=record.seconds,
        )
        return replace(_with(job, chosen.values, job.planned.seed), tuned=tuned)


def decide(jobs: Sequence[RunJob], spec: SuiteSpec) -> list[RunJob]:
    """The same jobs, under keys that say how their row is tuned, if it is."""
    if spec.tuning is None:
        return list(jobs)
    return [_tuned(job, spec, spec.tuning) for job in jobs]


def _tuned(job: RunJob, spec: SuiteSpec, tuning: TuningSpec) -> RunJob:
    space = space_of(job, spec)
    if not space:
        return job
    parts = {
        **job.parts,
        "tuning": {
            **tuning.key_fields(),
            "space": {name: dimension.plain for name, dimension in space.items()},
            "examples": job.data.selection_fingerprint,
            **keys.better(job.data),
            **({} if job.first.parts == job.lineage.parts else {TUNED_WITH: job.first.parts}),
            "optuna": version("optuna"),
            "code": VERSION,
        },
    }
    return replace(job, planned=job.planned.model_copy(update={"key": key(parts)}), parts=parts)


def of(job: RunJob, spec: SuiteSpec) -> Study | None:
    """The tuning of the job's row, with the teachers of the row's first seed; None for one that is not tuned. Its key
    does not depend on the job's seed, nor on what the run is scored on."""
    if spec.tuning is None or "tuning" not in job.parts:
        return None
    data = {name: part for name, part in job.parts["data"].items() if name != "validation"}
    tuning = {name: part for name, part in job.parts["tuning"].items() if name != TUNED_WITH}
    parts = {name: part for name, part in job.parts.items() if name not in ("seed", "data_seed")}
    parts |= {"data": data, "tuning": tuning, **job.first.parts}
    if spec.training.data_seed is not None:
        parts["data_seed"] = spec.training.data_seed
    space = space_of(job, spec)
    config = job.cell.variant.config
    defaults = {name: job.training.lr if name == LEARNING_RATE else getattr(config, name) for name in space}
    return Study(key(parts), parts, _of_first_teachers(job), space, defaults, spec.tuning)


def _of_first_teachers(job: RunJob) -> RunJob:
    """The job as it is with the teachers of its row's first seed."""
    seeds = [teacher.spec.seed for teacher in job.first.teachers]
    return replace(job, lineage=job.first, planned=job.planned.model_copy(update={"teacher_seeds": seeds}))


def every(jobs: Iterable[RunJob], spec: SuiteSpec) -> list[Study]:
    """Those of all jobs, each once, in their order."""
    found: dict[str, Study] = {}
    for job in jobs:
        if study := of(job, spec):
            found.setdefault(study.key, study)
    return list(found.values())


def planned(jobs: Sequence[RunJob], spec: SuiteSpec) -> PlannedTuning | None:
    """As the store keeps it: an entry for each task, label and student."""
    if spec.tuning is None:
        return None
    entries: dict[tuple[str, str, str], PlannedStudy] = {}
    for job in jobs:
        row = job.planned.task, job.planned.label, job.planned.student
        if row not in entries:
            study = of(job, spec)
            entries[row] = PlannedStudy(key=study.key if study else None, task=row[0], label=row[1], student=row[2])
    on = spec.effective_selection.on if spec.effective_selection else "train"
    return PlannedTuning(trials=spec.tuning.trials, seed=spec.tuning.seed, on=on, studies=list(entries.values()))


def space_of(job: RunJob, spec: SuiteSpec) -> dict[str, Dimension]:
    """Over what the job's row is tuned: the learning rate, and the options that its method marks. Not those that its
    entry sets or that its grid varies, and not what decides how teachers, data or the student are made before the task:
    that serves more than one run."""
    variant = job.cell.variant
    space: dict[str, Dimension] = {}
    rates = spec.tuning.lr_range(job.training.lr) if spec.tuning else None
    fixed = {name for name, stage in variant.stages.items() if stage.lr is not None}
    if rates and any(stage.name not in fixed for stage in job.method.stages()):
        space[LEARNING_RATE] = Search(*rates, log=True)
    for name, dimension in search_space.space(variant.method.Config).items():
        if name not in variant.config.model_fields_set and not _decides_before(job, name, dimension):
            space[name] = dimension
    return space


def _decides_before(job: RunJob, name: str, dimension: Dimension) -> bool:
    ends = (dimension.low, dimension.high) if isinstance(dimension, Search) else dimension.values
    usual = _before(job, job.method)
    for value in ends:
        try:
            other = _bound(job.method, _config(job.cell.variant.config, {name: value}), job.method.seed)
        except ValidationError:  # another option of the entry rules this value out: a trial with it will say so
            continue
        if _before(job, other) != usual:
            return True
    return False


def _before(job: RunJob, method: Method) -> tuple[Any, ...]:
    """What the method asks for before the stages on a task."""
    together, augmentation = method.cofinetuning() if job.teachers else None, method.augmentation()
    return (
        method.general() if job.general else None,
        together and dict(together.options),
        augmentation and (dict(augmentation.options), augmentation.model, tuple(augmentation.files)),
    )


def _with(job: RunJob, values: Mapping[str, Any], seed: int) -> RunJob:
    """The job with these values of its options, and of the learning rate."""
    options = {name: value for name, value in values.items() if name != LEARNING_RATE}
    try:
        config = _config(job.cell.variant.config, options)
    except ValidationError as error:
        raise UserError(f"{job.planned.method}: {error.errors()[0]['msg']}") from error
    method = _bound(job.method, config, seed)
    problems = method.check(method.task, method.student, method.teachers)
    if problems:
        raise UserError(*problems)
    variant = replace(job.cell.variant, config=config)
    rate, training = values.get(LEARNING_RATE), job.training
    if rate is not None:
        variant = replace(variant, stages=_in_proportion(method, variant.stages, rate / training.lr))
        training = training.model_copy(update={"lr": rate})
    return replace(job, cell=replace(job.cell, variant=variant), method=method, training=training)


def _in_proportion(method: Method, own: Mapping[str, StageOverride], factor: float) -> dict[str, StageOverride]:
    """A stage to which the method gives a rate of its own keeps it in proportion; one to which the suite gives one
    keeps that."""
    stages = dict(own)
    for stage in method.stages():
        given = stages.get(stage.name, StageOverride())
        if stage.lr is not None and given.lr is None:
            stages[stage.name] = given.model_copy(update={"lr": stage.lr * factor})
    return stages


def _config(config: MethodConfig, values: Mapping[str, Any]) -> MethodConfig:
    return type(config).model_validate({**dict(config), **values})


def _bound(method: Method, config: MethodConfig, seed: int) -> Method:
    return type(method)(config, task=method.task, student=method.student, teachers=method.teachers, seed=seed)
