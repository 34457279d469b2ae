"""Short runs of the checked method on tiny random data: real runs of the training loop."""

from __future__ import annotations

import copy
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.api.batch import Batch, TaskKind
from harness.api.events import LossPoint, RunId
from harness.api.losses import masked_lm_loss, task_loss
from harness.api.method import LossTerms, Method, MethodConfig, Needs, Stage, Step
from harness.api.model_outputs import ModelOutputs
from harness.api.task import Splits
from harness.config.method_schema import StageOverride
from harness.config.training_schema import TrainingSpec
from harness.tasks.features import TokenRow
from harness.tasks.tokenization import chunked, concatenate
from harness.testing.method_cases import CLASSES, Sizes, Subject, gradient_norm
from harness.testing.recording import RecordingOutputs
from harness.testing.term_evaluation import bind
from harness.testing.tiny_models import tiny_batch, tiny_model, tiny_task
from harness.training.batch_stream import BatchStream, TokenizedTask
from harness.training.cohort import Cohort
from harness.training.run import Run
from harness.training.student_initialization import initialize
from harness.training.teacher import Teacher
from harness.training.text_distillation import TextBatchStream, TextStageMethod

CPU = torch.device("cpu")
TOKENIZER = "tiny"
ROWS = 8
STEPS = 5
"""Steps of each stage, in place of the length that it declares: two and a half epochs."""

OBSERVED_STEPS = 12
"""Steps of each stage of a run that is observed for what isolated steps do not show: six epochs."""

VOCABULARY = 64
TRAINING = TrainingSpec(batch_size=4, lr=1e-3, log_every=1)


class _Labels(Method):
    """Another method for the cohort: learns from the labels only."""

    name = "labels"
    min_teachers = max_teachers = 0

    def stages(self) -> Sequence[Stage]:
        return [Stage("labels", Needs(student=["logits"]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        loss = masked_lm_loss if batch.kind == "text" else task_loss
        return {"task": loss(student.logits, batch)}


@dataclass
class RunWatch:
    """Watches a run: the state of its modules at the end of each stage, and the first weight that is not finite."""

    states: dict[str, Mapping[str, Tensor]] = field(default_factory=dict)
    not_finite: str | None = None

    def observe(self, run: Run, point: LossPoint) -> None:
        """Called after each step."""
        modules = run.modules.state_dict()
        if modules:
            self.states[point.stage] = {name: tensor.clone() for name, tensor in modules.items()}
        if self.not_finite is None:
            tensors = {**run.student.state_dict(), **{f"modules.{name}": tensor for name, tensor in modules.items()}}
            broken = (name for name, tensor in tensors.items() if not torch.isfinite(tensor).all())
            if (name := next(broken, None)) is not None:
                self.not_finite = f"after step {point.step} ({point.stage}), {name} is not finite"


class RunFactory:
    """Builds runs of the checked method, with the most teachers that it is checked with.

    With `identical`, student and teachers are one model without dropout, and the runs start from it.
    """

    def __init__(self, subject: Subject, *, identical: Sizes | None = None) -> None:
        self.subject = subject
        self.kind = subject.kind
        self.identical = identical is not None
        self.student_sizes, teacher_sizes = (identical, identical) if identical else subject.sizes
        seeds = [1 if identical else 10 + i for i in range(max(subject.teachers))]
        models = [self._model(teacher_sizes, seed) for seed in seeds]
        names = [f"teacher {i}" for i in range(1, len(models) + 1)]
        self.teachers = {name: _TinyTeacher(name, model) for name, model in zip(names, models, strict=True)}

    def run(
        self,
        seed: int,
        *,
        watch: RunWatch | None = None,
        steps: int = STEPS,
        prepare: Callable[[Method, PreTrainedModel], None] = lambda method, student: None,
    ) -> Run:
        """A run of the checked method, with `steps` steps in each stage.

        `prepare` is called with the bound method and the student before the run is built.
        """
        subject, student = self.subject, self._model(self.student_sizes, seed)
        models = [teacher.model for teacher in self.teachers.values()]
        bound = bind(subject.method, subject.options, self.kind, student, models, seed=seed)
        initialize(bound, student, models)
        prepare(bound, student)
        method = TextStageMethod(bound, subject.general(bound).stage) if self.kind == "text" else bound
        return self._run(bound.name, method, student, list(self.teachers), steps, watch or RunWatch())

    def other_run(self, seed: int, *, steps: int) -> Run:
        """A run of another method, without teachers."""
        student = self._model(self.student_sizes, seed)
        method = bind(_Labels, MethodConfig(), self.kind, student, [], seed=seed)
        return self._run("labels", method, student, [], steps, RunWatch())

    def train(
        self,
        *runs: Run,
        stop: Callable[[], bool] = lambda: False,
        checkpoint: Callable[[Run], None] = lambda run: None,
    ) -> None:
        """Train the runs as one cohort."""
        for _ in Cohort(self._stream(), self.teachers, runs, CPU).train(stop=stop, checkpoint=checkpoint):
            pass

    @property
    def finished(self) -> Run:
        """The finished run of the checked method, trained alone and without interruption."""
        return self._watched[0]

    @property
    def watch(self) -> RunWatch:
        """What was seen of the run `finished`."""
        return self._watched[1]

    @cached_property
    def _watched(self) -> tuple[Run, RunWatch]:
        watch = RunWatch()
        run = self.run(seed=1, watch=watch)
        self.train(run)
        return run, watch

    def _run(
        self,
        name: str,
        method: Method,
        student: PreTrainedModel,
        teachers: Sequence[str],
        steps: int,
        watch: RunWatch,
    ) -> Run:
        return Run(
            RunId(f"{name}-{method.seed}", "tiny", name, "student", method.seed),
            method,
            student,
            teachers=teachers,
            training=TRAINING,
            overrides={stage.name: StageOverride(steps=steps) for stage in method.stages()},
            batches_per_epoch=self._stream().batches_per_epoch,
            device=CPU,
            observe=watch.observe,
        )

    def _model(self, sizes: Sizes, seed: int) -> PreTrainedModel:
        return copy.deepcopy(_template(self.kind, sizes, seed, dropout=not self.identical))

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


class _TinyTeacher(Teacher):
    """A teacher that runs once on each batch, for all runs of a factory."""

    def __init__(self, name: str, model: PreTrainedModel) -> None:
        super().__init__(name, model, TOKENIZER, CPU)
        self._kept: dict[tuple[bytes, frozenset[str]], ModelOutputs] = {}

    def forward(
        self, batch: Batch, needs: frozenset[str], training: TrainingSpec, *, can_split: bool = True
    ) -> ModelOutputs:
        key = (batch.inputs["input_ids"].numpy().tobytes(), needs)
        kept = self._kept.get(key)
        if kept is None or any(tensor._version for tensor in kept.tensors()):  # a method has changed it in place
            kept = self._kept[key] = super().forward(batch, needs, training, can_split=can_split)
        return kept


@functools.cache
def _template(kind: TaskKind, sizes: Sizes, seed: int, *, dropout: bool) -> PreTrainedModel:
    """A tiny model to copy, which is ten times as fast as building another one."""
    settings = {} if dropout else {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return tiny_model(kind=kind, num_labels=CLASSES, vocab=VOCABULARY, seed=seed, settings=settings, **asdict(sizes))


class _Vocabulary:
    """The part of a tokenizer that masking uses."""

    mask_token_id = VOCABULARY - 1

    def __len__(self) -> int:
        return VOCABULARY


@functools.cache
def encoded(kind: TaskKind) -> TokenizedTask:
    """A tokenized data set of random rows."""
    batch = Batch.from_mapping(tiny_batch(kind, batch=ROWS, vocab=VOCABULARY, num_labels=CLASSES, seed=5), kind)
    train = concatenate(chunked(kind, _rows(batch)))
    return TokenizedTask(tiny_task(kind, CLASSES), Splits(None, {}), TOKENIZER, 0, train, {})


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
def run_factory(subject: Subject) -> RunFactory:
    """The run factory of the method that is being checked, shared by its checks."""
    return RunFactory(subject)


def trained_states(subject: Subject) -> Mapping[str, Mapping[str, Tensor]]:
    """The state of the method's modules at the end of each stage of a short run; empty if it has no modules."""
    watch = run_factory(subject).watch
    return {} if watch.not_finite else watch.states


@dataclass
class Observed:
    """What a run of many epochs shows: by stage, the outputs that were read, and the terms with a gradient.

    `error`: why the run failed.
    """

    reads: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    with_gradient: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    error: str | None = None


@lru_cache(maxsize=1)
def observed(subject: Subject) -> Observed:
    """Train a run of many epochs, in train mode and with state, and record what its losses read and reach."""
    seen = Observed()

    def instrument(method: Method, student: PreTrainedModel) -> None:
        original = method.losses

        def losses(step: Step, batch: Batch, own: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
            reads = seen.reads[step.stage.name]
            recorded = [RecordingOutputs.of(outputs, f"teacher {i}", reads) for i, outputs in enumerate(teachers, 1)]
            terms = original(step, batch, RecordingOutputs.of(own, "student", reads), recorded)
            reached = {name for name, term in terms.items() if _reaches(term, student)}
            seen.with_gradient[step.stage.name] |= reached
            return terms

        vars(method)["losses"] = losses  # an attribute of this instance, which the run calls in place of the method

    factory = run_factory(subject)
    run = factory.run(seed=1, steps=OBSERVED_STEPS, prepare=instrument)
    factory.train(run)
    seen.error = run.error
    return seen


def _reaches(term: Tensor, student: PreTrainedModel) -> bool:
    """Whether a term has a gradient for a parameter of the student that is not zero."""
    if not term.requires_grad:
        return False
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return gradient_norm([gradient for gradient in gradients if gradient is not None]) > 0
