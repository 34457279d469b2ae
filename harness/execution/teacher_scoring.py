"""Fine-tunes and scores the teachers of the board, and stores their records.

Teachers that are fine-tuned already are scored only.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness.analysis import equal_results
from harness.api.errors import UserError
from harness.api.events import RunFinished
from harness.execution import run_records, teacher_runs
from harness.execution.context import JobContext
from harness.execution.tokenized_tasks import TokenizedTasks
from harness.metrics import permuted_classes, prediction_scale
from harness.metrics.prediction_scale import Location
from harness.planning import Plan, TeacherJob
from harness.storage.records import Scoring, TeacherRecord
from harness.storage.store import Store
from harness.tasks.example_texts import validation_texts
from harness.training.scoring import score
from harness.training.teacher import Teacher

if TYPE_CHECKING:
    from pandas import DataFrame

log = logging.getLogger("harness")


@dataclass(frozen=True)
class TeacherScoring:
    """Completes teachers: weights in the cache, record and predictions in the store."""

    plan: Plan
    context: JobContext
    tokenized: TokenizedTasks

    def is_complete(self, job: TeacherJob, *, weights_needed: bool, verify: bool) -> bool:
        """Whether the store has the teacher's record on these examples and their texts, and its score reaches its
        floor. With `weights_needed`, the cache must have the weights of the record; `verify`: see
        `CachedFolder.is_kept`."""
        record = self._record(job)
        if record is None or not self.context.store.has_examples(job.data.validation_fingerprint):
            return False
        if weights_needed and not _is_of_cached_weights(record, job, verify=verify):
            return False
        return record.floor == self._floor(job) and self._shortfall(record, job) is None

    def complete(self, job: TeacherJob, *, weights_needed: bool) -> RunFinished | None:
        """Fine-tune and score a teacher unless the store has its record, and check its score against its floor.

        Returns the event to announce; None if the teacher was complete.

        Args:
            job: the teacher.
            weights_needed: whether its weights must be in the cache, even if the store has its record.

        Raises:
            Interrupted: the process was asked to stop; the next call continues.
            UserError: the training failed, the score does not reach the floor, or the weights in the cache do not give
                the stored result.
        """
        store, record = self.context.store, self._record(job)
        event: RunFinished | None = None
        if record is None or (weights_needed and not _is_of_cached_weights(record, job, verify=True)):
            scored, predictions, event = self._train(job)
            record = self._store(scored, predictions, job)
        elif record.floor != self._floor(job):
            record = record.model_copy(update={"floor": self._floor(job)})
            store.save_teacher(record)
        store.save_examples(job.data.validation_fingerprint, lambda: validation_texts(job.data.splits))
        if shortfall := self._shortfall(record, job):
            raise UserError(shortfall)
        return event

    def _record(self, job: TeacherJob) -> TeacherRecord | None:
        """The teacher's record, if it was scored on these examples by these metrics."""
        record = self.context.store.teacher(job.key, job.data.validation_fingerprint)
        return record if record is not None and _scored_by_metrics_of(record, job) else None

    def _store(self, scored: TeacherRecord, predictions: DataFrame, job: TeacherJob) -> TeacherRecord:
        """Store the result of a teacher that was just scored, and return its record.

        If there is a record, students may have learned from weights that the cache has lost, or that another machine
        has. It stays, and the new weights must give the same result. It is read again, since another process may have
        written it during the training.

        Raises:
            UserError: the results differ.
        """
        store, stored = self.context.store, self._record(job)
        if stored is None:
            store.save_teacher(scored, predictions)
            return scored
        if not {*scored.weights} <= {*stored.weights}:
            self._check_same_result(stored, scored, predictions, job)
        weights = [*dict.fromkeys([*stored.weights, *scored.weights])]
        record = stored.model_copy(update={"weights": weights, "floor": scored.floor})
        if record != stored:
            store.save_teacher(record)
        return record

    def _check_same_result(
        self, stored: TeacherRecord, scored: TeacherRecord, predictions: DataFrame, job: TeacherJob
    ) -> None:
        """Raise `UserError` if other weights give another result than the stored one."""
        place = self.context.store.folder_of(stored)
        with TemporaryDirectory() as folder:
            found = Store(Path(folder))
            found.save_teacher(scored, predictions)
            different = equal_results.of_results(stored, place, scored, found.folder_of(scored))
        if different is not None:
            raise UserError(
                f"its weights in {teacher_runs.cached(job).path} do not give its result in the results folder,"
                f" teachers/{place.name}: {different}. It was trained again, on another machine or since the cache"
                " lacked it; students of different weights cannot be on one board, so nothing was replaced. Use the"
                " cache with the weights of the result (HARNESS_CACHE=DIR), or another results folder (--results DIR)"
            )

    def _floor(self, job: TeacherJob) -> float | None:
        limit = self.plan.spec.training.limit
        return None if limit.train or limit.validation else job.spec.floor.get(job.data.task.name)

    def _train(self, job: TeacherJob) -> tuple[TeacherRecord, DataFrame, RunFinished]:
        """Fine-tune and score a teacher. Returns its record, its predictions, and the event that says so."""
        spec, data = self.plan.spec, job.data
        tokenizers = [member.tokenizer_ref for member in job.group.members] if job.group else [job.tokenizer_ref]
        fit = teacher_runs.add_to_cache(
            job, lambda: self.tokenized.of(data, tokenizers, job.training.max_length), self.context
        )
        device, host = self.context.device, self.context.host
        model = teacher_runs.load(job, trust_remote_code=self.context.trust_remote_code)
        teacher = Teacher(job.name, model, job.tokenizer_ref.fingerprint, device)
        (encoded,) = self.tokenized.of(data, [job.tokenizer_ref], job.training.max_length)
        scored = score(teacher.capture, encoded, host.metrics, device=device)
        record = TeacherRecord(
            key=job.key,
            name=job.row,
            model=job.spec.model or "from scratch",
            task=data.task.name,
            seed=job.fine_tuning_seed,
            finetune=job.spec.finetune,
            head=job.head,
            warnings=self._warnings(job, scored.frame),
            data_fingerprint=data.validation_fingerprint,
            score=scored.score,
            metrics=scored.metrics,
            scoring=_scoring(job),
            floor=self._floor(job),
            weights=[teacher_runs.weights_digest(job)],
            parts=dict(job.parts),
            losses=fit.losses,
            cost=fit.cost,
            size=run_records.size(teacher.model, job.name, tokens=spec.training.on(data.task.name).max_length),
            provenance=fit.provenance,
        )
        event = RunFinished(run_records.run_id(job), scored.score, dict(scored.metrics), fit.cost.wall_seconds)
        return record, scored.frame, event

    def _warnings(self, job: TeacherJob, predictions: DataFrame) -> list[str]:
        """Return and log what seems to be wrong with the head of a fine-tuned checkpoint."""
        found = None if job.spec.finetune else _scale_warning(job, predictions) or _order_warning(job, predictions)
        if found is None:
            return []
        log.warning("%s", found)
        return [found]

    def _shortfall(self, record: TeacherRecord, job: TeacherJob) -> str | None:
        """Why the teacher's score does not suffice; None if it does or there is no floor."""
        task, floor, score = job.data.task, self._floor(job), record.score
        if floor is None or score is None:
            return None
        if score >= floor if task.higher_is_better else score <= floor:  # neither is true for NaN
            return None
        side, remedy = ("below", "lower") if task.higher_is_better else ("where less is better, above", "raise")
        name = job.alone.row
        better = f"train it better (teachers.{name}.epochs, .lr)" if job.spec.finetune else "give another checkpoint"
        return (
            f"it scores {score:.4f} ({task.score}), {side} its floor of {floor:g}: {better}, or {remedy}"
            f" teachers.{name}.floor.{task.name}"
        )


def _is_of_cached_weights(record: TeacherRecord, job: TeacherJob, *, verify: bool) -> bool:
    """Whether the cache has weights of which the record says that they give its result.

    Records of older versions do not name their weights, but when these were trained. `verify`: see
    `CachedFolder.is_kept`.
    """
    if not teacher_runs.cached(job).is_kept(verify=verify):
        return False
    if not record.weights:
        fit = teacher_runs.cached_fit(job)
        return fit is not None and fit.provenance == record.provenance
    return teacher_runs.weights_digest(job) in record.weights


def _scoring(job: TeacherJob) -> Scoring:
    return Scoring(metrics=job.data.task.metrics, score=job.data.task.score)


def _scored_by_metrics_of(record: TeacherRecord, job: TeacherJob) -> bool:
    """Whether the record has the metrics of the job's task.

    The key tells, except for a fine-tuned checkpoint on a declared task: its outputs do not depend on the metrics.
    """
    if record.scoring is None:
        return job.spec.finetune or not job.data.task.key_parts
    return record.scoring == _scoring(job)


def _scale_warning(job: TeacherJob, predictions: DataFrame) -> str | None:
    found = prediction_scale.find(predictions) if job.data.task.kind == "regression" else None
    if found is None:
        return None
    return (
        f"teacher {job.row} predicts on another scale than that of {job.data.task.name}: its predictions correlate with"
        f" the labels ({found.pearson:.2f}), but they are {_spread(found.predicted)}, and the labels"
        f" {_spread(found.labels)} (mean ± standard deviation); students that learn its predictions learn this scale,"
        " so give a teacher that was fine-tuned on labels of this scale"
    )


def _spread(location: Location) -> str:
    return f"{location.mean:.3g} ± {location.deviation:.3g}"


def _order_warning(job: TeacherJob, predictions: DataFrame) -> str | None:
    task = job.data.task
    found = permuted_classes.find(task.kind, predictions, task.labels)
    if found is None:
        return None
    stated = [task.labels[found.meaning[job.order.index(output)]] for output in range(task.num_labels)]
    return (
        f"the head of teacher {job.row} seems to be permuted: its predictions on {task.name} agree with"
        f" {found.found:.1%} of the labels, and with {found.agreement:.1%} if its outputs mean"
        f" {', '.join(stated)}, in this order; check id2label in its config.json, or state the order in the suite:"
        f" `teachers.{job.row}.labels: [{', '.join(stated)}]`"
    )
