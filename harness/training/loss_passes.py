"""Forward and backward passes of a run over the parts of a batch, and the weighted sum of its loss terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Real

import torch
from torch import Tensor

from harness.api.batch import Batch
from harness.api.live import StepModels
from harness.api.method import LossTerms, Method, Needs, Step
from harness.api.model_outputs import ModelOutputs
from harness.config.training_schema import TrainingSpec
from harness.training import micro_batching, precision, term_names

LoggedValue = tuple[str, float | Tensor, float]
"""A value to log: its name, the value, and its weight, the share of the step's examples that it was computed on."""


@dataclass(frozen=True)
class BatchPart:
    """A part of the examples of a step, with the outputs of each teacher on it.

    Attributes:
        share: the share of the step's examples.
    """

    batch: Batch
    teachers: Sequence[ModelOutputs]
    share: float


@dataclass
class LossPasses:
    """Computes the gradients of a run's losses.

    Attributes:
        weighted_names: names in `Method.weights` with a nonzero weight that were no terms of the same pass. A term that
            an option has switched off may keep a weight of 0.
    """

    method: Method
    teachers: Sequence[str]
    training: TrainingSpec
    device: torch.device
    scaler: torch.amp.GradScaler
    weighted_names: set[str] = field(default_factory=set)

    def state_dict(self) -> dict[str, list[str]]:
        return {"weighted_names": sorted(self.weighted_names)}

    def load_state_dict(self, state: Mapping[str, Sequence[str]]) -> None:
        self.weighted_names = set(state["weighted_names"])

    def parts(
        self, needs: Needs, batches: Sequence[Batch], teachers: Mapping[str, Sequence[ModelOutputs]], size: int
    ) -> Iterator[BatchPart]:
        """The batches in micro-batches of at most `size` examples, with the teachers' outputs that the method reads."""
        examples = sum(len(batch.ids) for batch in batches)
        needed = list(zip(self.teachers, needs.teachers, strict=True)) if needs.teachers else []
        for index, batch in enumerate(batches):
            outputs = [teachers[name][index].only(names) if names else ModelOutputs() for name, names in needed]
            for rows in micro_batching.slices(len(batch.ids), size):
                share = len(batch.ids[rows]) / examples
                if len(batch.ids[rows]) == len(batch.ids):
                    yield BatchPart(batch, outputs, share)
                else:
                    yield BatchPart(batch.part(rows), [output.part(rows) for output in outputs], share)

    def run(
        self, step: Step, needs: Needs, parts: Iterable[BatchPart], models: Callable[[Batch], StepModels]
    ) -> list[LoggedValue]:
        """Add the gradients of all parts, each from a forward pass of its own; returns the values to log.

        `models` gives the models of the run, bound to a batch: the student, and those that the method may run itself.
        Call this under the run's random state.
        """
        logged: list[LoggedValue] = []
        with precision.matmuls(self.training, self.device):
            for part in parts:
                bound = replace(step, models=models(part.batch))
                logged += self.add_gradients(bound, part, partial(bound.student.run, needs.student))
        return logged

    def add_gradients(self, step: Step, part: BatchPart, student: Callable[[], ModelOutputs]) -> list[LoggedValue]:
        """Add the gradients of one part; returns the values to log. `student` gives the student's outputs.

        Losses are means over examples, so each part counts by its share of all examples of the step. Call this under
        the run's random state.
        """
        logged: list[LoggedValue] = []
        step = replace(step, log=lambda name, value: logged.append((name, snapshot(name, value), part.share)))
        with precision.autocast(self.training, self.device):
            terms = terms_of(self.method, step, part.batch, student(), part.teachers)
        weights = self.method.weights(step)
        total = weighted_sum(terms, weights)
        term_names.check(terms, {name for name, *_ in logged})
        self.weighted_names |= {name for name, weight in weights.items() if name not in terms and weight != 0}
        self.scaler.scale(total if part.share == 1 else total * part.share).backward()  # type: ignore[no-untyped-call]
        return logged + [(name, term.detach(), part.share) for name, term in {term_names.TOTAL: total, **terms}.items()]


def terms_of(
    method: Method, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]
) -> LossTerms:
    """What `Method.losses` returns.

    A stage whose `Needs` name no teacher gets no outputs of teachers; the error of a method that reads them says so.
    """
    try:
        return method.losses(step, batch, student, teachers)
    except (IndexError, ValueError) as error:
        reads_teachers = type(error) is IndexError or "values to unpack" in str(error)
        if teachers or not method.teachers or not reads_teachers:
            raise
        message = f"{error}; stage {step.stage.name!r} declares no outputs of a teacher, so losses() gets none: name"
        raise type(error)(f"{message} them in its Needs, such as teachers=[['logits']]") from error


def snapshot(name: str, value: object) -> float | Tensor:
    """A copy of a logged value without its graph: the method may log a buffer that it changes later.

    Raises:
        ValueError: it is no number and no tensor of one element.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.detach().clone()
    if isinstance(value, Real):
        return float(value)
    found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise ValueError(f"log() got {found} for {name!r}; expected a number or a scalar tensor")


def weighted_sum(terms: LossTerms, weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of the terms, a scalar; terms without a weight have weight 1.

    Raises:
        ValueError: there are no terms, one is not a scalar tensor, or `weights` is no mapping of numbers.
    """
    term_names.check_form(terms, weights)
    return torch.stack([weights.get(name, 1.0) * term.reshape(()) for name, term in terms.items()]).sum()
