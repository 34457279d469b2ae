"""Checks by short runs: a method trains, goes on from its checkpoint and trains beside others to the same bits, and
leaves a student that plain transformers load."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from harness.api.batch import Batch, TaskKind
from harness.api.events import RunId
from harness.api.losses import masked_lm_loss, task_loss
from harness.api.method import LossTerms, Method, MethodConfig, Needs, Stage, Step
from harness.api.model_outputs import ModelOutputs
from harness.api.task import Splits
from harness.config.schema import StageOverride, TrainingSpec
from harness.execution import run_checkpoints
from harness.models.quiet_transformers import quiet_transformers
from harness.tasks.features import Row
from harness.tasks.tokenization import join, parts
from harness.testing.method_cases import CLASSES, CheckFailed, Sizes, Subject
from harness.testing.term_evaluation import bind
from harness.testing.tiny_models import tiny_batch, tiny_model, tiny_task
from harness.training.batch_stream import BatchStream, TokenizedTask
from harness.training.cohort import Cohort, Teacher
from harness.training.run import Run
from harness.training.text_distillation import TextBatchStream, TextStageMethod

CPU = torch.device("cpu")
ROWS = 12
STEPS = 3
"""Of each stage, whatever length it gives itself."""

VOCABULARY = 64
TRAINING = TrainingSpec(batch_size=4, lr=1e-3, log_every=1)

Bits = tuple[dict[str, Tensor], list[dict[str, float]]]
"""All that a run has learnt, and what it said on the way."""


class _Labels(Method):
    """Company for a run: learns the labels alone."""

    name = "labels"
    min_teachers = max_teachers = 0

    def stages(self) -> Sequence[Stage]:
        return [Stage("labels", Needs(student=["logits"]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        loss = masked_lm_loss if batch.kind == "text" else task_loss
        return {"task": loss(student.logits, batch)}


class Workshop:
    """Where a subject's runs are made, under as many teachers as it takes."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.kind = subject.kind
        self.sizes, sizes = subject.sizes
        models = [self._model(sizes, 10 + i) for i in range(max(subject.teachers))]
        self.teachers = {f"teacher {i}": Teacher(f"teacher {i}", each, "tiny", CPU) for i, each in enumerate(models, 1)}

    def run(self, seed: int) -> Run:
        """Of the subject's method."""
        subject, student = self.subject, self._model(self.sizes, seed)
        models = [teacher.model for teacher in self.teachers.values()]
        made = bind(subject.method, subject.options, self.kind, student, models, seed=seed)
        method = TextStageMethod(made, subject.general(made).stage) if self.kind == "text" else made
        return self._run(made.name, method, student, list(self.teachers))

    def company(self, seed: int) -> Run:
        """Of a method that has nothing to do with it."""
        student = self._model(self.sizes, seed)
        return self._run("labels", bind(_Labels, MethodConfig(), self.kind, student, [], seed=seed), student, [])

    def train(
        self,
        *runs: Run,
        stop: Callable[[], bool] = lambda: False,
        checkpoint: Callable[[Run], None] = lambda run: None,
    ) -> None:
        """Side by side."""
        for _ in Cohort(self._stream(), self.teachers, runs, CPU).train(stop=stop, checkpoint=checkpoint):
            pass

    @cached_property
    def finished(self) -> Run:
        """The subject's run, alone and uninterrupted."""
        run = self.run(seed=1)
        self.train(run)
        return run

    def _run(self, name: str, method: Method, student: PreTrainedModel, teachers: Sequence[str]) -> Run:
        return Run(
            RunId(f"{name}-{method.seed}", "tiny", name, "student", method.seed),
            method,
            student,
            teachers=teachers,
            training=TRAINING,
            overrides={stage.name: StageOverride(steps=STEPS) for stage in method.stages()},
            batches_per_epoch=self._stream().batches_per_epoch,
            device=CPU,
        )

    def _model(self, sizes: Sizes, seed: int) -> PreTrainedModel:
        return tiny_model(kind=self.kind, num_labels=CLASSES, vocab=VOCABULARY, seed=seed, **asdict(sizes))

    def _stream(self) -> BatchStream:
        data = encoded(self.kind)
        if self.kind != "text":
            return BatchStream(data, batch_size=TRAINING.batch_size, data_seed=1)
        subject = self.subject
        general = subject.general(subject.cases[0].bound())
        return TextBatchStream(
            data,
            _Vocabulary(),
            batch_size=TRAINING.batch_size,
            masking=general.masking,
            smoothing=general.smoothing,
            seed=1,
        )


class _Vocabulary:
    """What masking has to know of a tokenizer."""

    mask_token_id = VOCABULARY - 1

    def __len__(self) -> int:
        return VOCABULARY


def encoded(kind: TaskKind) -> TokenizedTask:
    """Random rows, as a tokenizer would have made them."""
    batch = Batch.from_mapping(tiny_batch(kind, batch=ROWS, vocab=VOCABULARY, num_labels=CLASSES, seed=5))
    train = join(parts(kind, _rows(batch)))
    return TokenizedTask(tiny_task(kind, CLASSES), Splits(None, {}), "tiny", 0, train, {})


def _rows(batch: Batch) -> Iterator[Row]:
    assert batch.word_ids is not None  # of every tiny batch
    labels = [0] * len(batch.ids) if batch.kind == "text" else batch.labels.tolist()
    for i, length in enumerate(batch.lengths.tolist()):
        yield Row(
            id=batch.ids[i],
            example=i,
            input_ids=batch.inputs["input_ids"][i, :length].tolist(),
            token_type_ids=batch.inputs["token_type_ids"][i, :length].tolist(),
            word_ids=batch.word_ids[i, :length].tolist(),
            label=labels[i],
            answer_mask=None if batch.answer_mask is None else batch.answer_mask[i, :length].numpy(),
        )


@lru_cache(maxsize=1)
def _workshop(subject: Subject) -> Workshop:
    """Of the subject whose checks are made now, one after another."""
    return Workshop(subject)


def training(subject: Subject) -> None:
    """A short run ends without an error, and has trained its student."""
    run = _workshop(subject).finished
    if run.error is not None:
        raise CheckFailed(run.error)
    before = _workshop(subject).run(seed=1).student.state_dict()
    if all(torch.equal(tensor, before[name]) for name, tensor in run.student.state_dict().items()):
        raise CheckFailed("after a run the student's weights are as they were")


def resume(subject: Subject) -> None:
    """A run that is stopped after every step, and goes on from its checkpoint, ends with the bits of one that is not.

    What the method keeps elsewhere than in the parameters and buffers of its modules is lost at every stop.
    """
    workshop = _workshop(subject)
    with TemporaryDirectory() as folder:
        saved = Path(folder) / "run.pt"
        run = workshop.run(seed=1)
        while not run.ended:
            run = _one_step(workshop, run, saved)
    _same(run, workshop.finished, "stopped and resumed after every step")


def _one_step(workshop: Workshop, run: Run, saved: Path) -> Run:
    """The run after its next step: if it goes on, one that has begun from its checkpoint."""
    place = run.position
    workshop.train(run, stop=lambda: run.position > place, checkpoint=lambda run: run_checkpoints.save(run, saved))
    if run.ended:
        return run
    again = workshop.run(seed=1)
    if not run_checkpoints.restore(again, saved):
        raise CheckFailed("its checkpoint cannot be read: modules may hold parameters and buffers alone")
    return again


def cohort(subject: Subject) -> None:
    """Beside others, and beside a run of its own kind with another seed, a run ends with the bits that it has alone."""
    workshop = _workshop(subject)
    run = workshop.run(seed=1)
    workshop.train(workshop.company(seed=2), workshop.run(seed=2), run)
    _same(run, workshop.finished, "beside other runs")


def _same(run: Run, expected: Run, how: str) -> None:
    if run.error is not None:
        raise CheckFailed(f"{how}: {run.error}")
    (mine, said), (theirs, told) = _bits(run), _bits(expected)
    for name, tensor in theirs.items():
        if name not in mine or not torch.equal(mine[name], tensor):
            far = (mine[name].float() - tensor.float()).abs().max().item() if name in mine else float("nan")
            raise CheckFailed(f"{how}: {name} differs from an uninterrupted run's by up to {far:.3g}")
    if said != told:
        step = next(i for i, (one, other) in enumerate(zip(said, told, strict=True), start=1) if one != other)
        raise CheckFailed(
            f"{how}: the losses of step {step} are {said[step - 1]}, of an uninterrupted run {told[step - 1]}"
        )


def _bits(run: Run) -> Bits:
    learnt = {**run.student.state_dict(), **{f"modules.{name}": t for name, t in run.modules.state_dict().items()}}
    return learnt, [point.terms for point in run.history]


def export(subject: Subject) -> None:
    """Plain transformers load the trained student, with no key too few or too many, and it answers the same."""
    run = _workshop(subject).finished
    special = {"qa": AutoModelForQuestionAnswering, "text": AutoModelForMaskedLM}
    auto = special.get(subject.kind, AutoModelForSequenceClassification)
    with TemporaryDirectory() as folder, quiet_transformers():
        run.student.save_pretrained(folder)
        loaded, info = auto.from_pretrained(folder, output_loading_info=True)
    astray = {what: keys for what, keys in info.items() if keys}
    if astray:
        raise CheckFailed(f"plain transformers load the student with {astray}")
    inputs = subject.cases[0].batch.inputs
    with torch.no_grad():
        answers = zip(run.student.eval()(**inputs).to_tuple(), loaded.eval()(**inputs).to_tuple(), strict=True)
        far = max(float((own - plain).abs().max()) for own, plain in answers)
    if far > 1e-5:
        raise CheckFailed(f"loaded by plain transformers, the student's answers differ by up to {far:.3g}")
