"""Checks by short runs: training, bit-identical resume, bit-identity in a cohort, and export of the student."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.api.batch import Batch, TaskKind
from harness.api.events import RunId
from harness.api.losses import masked_lm_loss, task_loss
from harness.api.method import LossTerms, Method, MethodConfig, Needs, Stage, Step
from harness.api.model_outputs import ModelOutputs
from harness.api.task import Splits
from harness.config.schema import StageOverride, TrainingSpec
from harness.execution import run_checkpoints
from harness.models.heads import auto_class
from harness.models.quiet_transformers import quiet_transformers
from harness.tasks.features import TokenRow
from harness.tasks.tokenization import chunked, concatenate
from harness.testing.method_cases import CLASSES, CheckFailed, Sizes, Subject
from harness.testing.term_evaluation import bind
from harness.testing.tiny_models import tiny_batch, tiny_model, tiny_task
from harness.training.batch_stream import BatchStream, TokenizedTask
from harness.training.cohort import Cohort, Teacher
from harness.training.run import Run
from harness.training.student_initialization import initialize
from harness.training.text_distillation import TextBatchStream, TextStageMethod

CPU = torch.device("cpu")
ROWS = 12
STEPS = 3
"""Steps of each stage, in place of the length that it declares."""

VOCABULARY = 64
TRAINING = TrainingSpec(batch_size=4, lr=1e-3, log_every=1)

RunState = tuple[dict[str, Tensor], list[dict[str, float]]]
"""The weights of the student and the modules, and the losses of every step."""


class _Labels(Method):
    """Another method for the cohort: learns from the labels only."""

    name = "labels"
    min_teachers = max_teachers = 0

    def stages(self) -> Sequence[Stage]:
        return [Stage("labels", Needs(student=["logits"]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        loss = masked_lm_loss if batch.kind == "text" else task_loss
        return {"task": loss(student.logits, batch)}


class RunFactory:
    """Builds runs of the checked method, with the most teachers that it is checked with."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.kind = subject.kind
        self.student_sizes, teacher_sizes = subject.sizes
        models = [self._model(teacher_sizes, 10 + i) for i in range(max(subject.teachers))]
        names = [f"teacher {i}" for i in range(1, len(models) + 1)]
        self.teachers = {name: Teacher(name, model, "tiny", CPU) for name, model in zip(names, models, strict=True)}

    def run(self, seed: int) -> Run:
        """A run of the checked method."""
        subject, student = self.subject, self._model(self.student_sizes, seed)
        models = [teacher.model for teacher in self.teachers.values()]
        count = self._stream().examples
        bound = bind(subject.method, subject.options, self.kind, student, models, seed=seed, examples=count)
        initialize(bound, student, models)
        method = TextStageMethod(bound, subject.general(bound).stage) if self.kind == "text" else bound
        return self._run(bound.name, method, student, list(self.teachers))

    def other_run(self, seed: int) -> Run:
        """A run of another method, without teachers."""
        student = self._model(self.student_sizes, seed)
        return self._run("labels", bind(_Labels, MethodConfig(), self.kind, student, [], seed=seed), student, [])

    def train(
        self,
        *runs: Run,
        stop: Callable[[], bool] = lambda: False,
        checkpoint: Callable[[Run], None] = lambda run: None,
    ) -> None:
        """Train the runs as one cohort."""
        for _ in Cohort(self._stream(), self.teachers, runs, CPU).train(stop=stop, checkpoint=checkpoint):
            pass

    @cached_property
    def finished(self) -> Run:
        """The finished run of the checked method, trained alone and without interruption."""
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
        general = subject.general(subject.cases[0].bind())
        return TextBatchStream(
            data,
            _Vocabulary(),
            batch_size=TRAINING.batch_size,
            masking=general.masking,
            smoothing=general.smoothing,
            seed=1,
        )


class _Vocabulary:
    """The part of a tokenizer that masking uses."""

    mask_token_id = VOCABULARY - 1

    def __len__(self) -> int:
        return VOCABULARY


def encoded(kind: TaskKind) -> TokenizedTask:
    """A tokenized data set of random rows."""
    batch = Batch.from_mapping(tiny_batch(kind, batch=ROWS, vocab=VOCABULARY, num_labels=CLASSES, seed=5), kind)
    train = concatenate(chunked(kind, _rows(batch)))
    return TokenizedTask(tiny_task(kind, CLASSES), Splits(None, {}), "tiny", 0, train, {})


def _rows(batch: Batch) -> Iterator[TokenRow]:
    assert batch.word_ids is not None  # every tiny batch has them
    labels = torch.zeros(len(batch.ids)) if batch.kind == "text" else batch.labels
    for i, length in enumerate(batch.lengths.tolist()):
        yield TokenRow(
            id=batch.ids[i],
            example=i,
            input_ids=batch.inputs["input_ids"][i, :length].tolist(),
            token_type_ids=batch.inputs["token_type_ids"][i, :length].tolist(),
            word_ids=batch.word_ids[i, :length].tolist(),
            label=labels[i, :length].numpy() if batch.kind == "token_classification" else labels[i].tolist(),
            answer_mask=None if batch.answer_mask is None else batch.answer_mask[i, :length].numpy(),
        )


@lru_cache(maxsize=1)
def _run_factory(subject: Subject) -> RunFactory:
    """The run factory of the method that is being checked, shared by its checks."""
    return RunFactory(subject)


def training(subject: Subject) -> None:
    """A short run finishes without an error and changes the student's weights."""
    run = _run_factory(subject).finished
    if run.error is not None:
        raise CheckFailed(run.error)
    before = _run_factory(subject).run(seed=1).student.state_dict()
    if all(torch.equal(tensor, before[name]) for name, tensor in run.student.state_dict().items()):
        raise CheckFailed("training did not change the student's weights")


def resume(subject: Subject) -> None:
    """A run that is stopped and resumed from its checkpoint after every step is bit-identical to an uninterrupted one.

    State that the method keeps outside the parameters and buffers of its modules is lost at every stop.
    """
    factory = _run_factory(subject)
    with TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "run.pt"
        run = factory.run(seed=1)
        while not run.ended:
            run = _train_one_step(factory, run, checkpoint)
    _require_identical(run, factory.finished, "stopped and resumed after every step")


def _train_one_step(factory: RunFactory, run: Run, checkpoint: Path) -> Run:
    """Train one step; returns the run if it has finished, else a new run restored from its checkpoint."""
    start = run.position
    factory.train(run, stop=lambda: run.position > start, checkpoint=lambda run: run_checkpoints.save(run, checkpoint))
    if run.ended:
        return run
    resumed = factory.run(seed=1)
    if not run_checkpoints.restore(resumed, checkpoint):
        raise CheckFailed("the checkpoint cannot be read; modules may hold parameters and buffers only")
    return resumed


def cohort(subject: Subject) -> None:
    """In a cohort with a run of another method and one with another seed, a run is bit-identical to a run alone."""
    factory = _run_factory(subject)
    run = factory.run(seed=1)
    factory.train(factory.other_run(seed=2), factory.run(seed=2), run)
    _require_identical(run, factory.finished, "in a cohort with other runs")


def _require_identical(run: Run, expected: Run, condition: str) -> None:
    if run.error is not None:
        raise CheckFailed(f"{condition}: {run.error}")
    (weights, losses), (expected_weights, expected_losses) = _state(run), _state(expected)
    for name, tensor in expected_weights.items():
        if name not in weights or not torch.equal(weights[name], tensor):
            found = name in weights
            difference = (weights[name].float() - tensor.float()).abs().max().item() if found else float("nan")
            raise CheckFailed(f"{condition}: {name} differs from an uninterrupted run's by up to {difference:.3g}")
    for step, (actual, wanted) in enumerate(zip(losses, expected_losses, strict=True), start=1):
        if actual != wanted:
            raise CheckFailed(f"{condition}: the losses of step {step} are {actual}, in an uninterrupted run {wanted}")


def _state(run: Run) -> RunState:
    modules = {f"modules.{name}": tensor for name, tensor in run.modules.state_dict().items()}
    return {**run.student.state_dict(), **modules}, [point.terms for point in run.history]


def export(subject: Subject) -> None:
    """The exported student loads with plain transformers, without missing or unexpected keys, and its outputs agree."""
    run = _run_factory(subject).finished
    with TemporaryDirectory() as folder, quiet_transformers():
        run.student.save_pretrained(folder)
        loaded, info = auto_class(subject.kind).from_pretrained(folder, output_loading_info=True)
    mismatches = {kind: keys for kind, keys in info.items() if keys}
    if mismatches:
        raise CheckFailed(f"transformers loads the exported student with {mismatches}")
    inputs = subject.cases[0].batch.inputs
    with torch.no_grad():
        outputs = zip(run.student.eval()(**inputs).to_tuple(), loaded.eval()(**inputs).to_tuple(), strict=True)
        difference = max(float((trained - exported).abs().max()) for trained, exported in outputs)
    if difference > 1e-5:
        raise CheckFailed(f"loaded by transformers, the exported student's outputs differ by up to {difference:.3g}")
