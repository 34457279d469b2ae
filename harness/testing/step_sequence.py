"""`loss_terms`: a method's loss terms at one or several steps, with their weights, state and schedules."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.api.batch import Batch, TaskKind
from harness.api.errors import UserError
from harness.api.method import Method, Step
from harness.testing.term_evaluation import (
    EvaluatedTerms,
    StepPosition,
    bind,
    build_modules,
    evaluate_terms,
    find_method,
    find_stage,
    require_supported_needs,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harness.models.capture import Capture


class StepTerms(dict[str, Tensor]):
    """The unweighted loss terms of one step by name, scalars, and what else the method gives at this step.

    Attributes:
        step: the state of the run at the step: `stage`, `index`, `epoch`, `modules`, ...
        weights: the weights of the terms; terms that it does not name have weight 1.
        total: the weighted sum, which the host minimizes.
        learning_rates: factors of the learning rate by parameter group; those that it does not name are 1.
        logged: values that the method logged.
        state: parameters and buffers of the method's modules after the step, by name.
        history: this and all earlier steps of the sequence. The terms of earlier steps have no gradients.
    """

    def __init__(
        self,
        evaluated: EvaluatedTerms,
        learning_rates: Mapping[str, float],
        state: Mapping[str, Tensor],
        earlier: Sequence[StepTerms],
        *,
        keep_graph: bool,
    ) -> None:
        terms, total = evaluated.terms, evaluated.total
        super().__init__(terms if keep_graph else {name: term.detach() for name, term in terms.items()})
        self.step: Step = evaluated.step
        self.weights = dict(evaluated.weights)
        self.total = total if keep_graph else total.detach()
        self.learning_rates = dict(learning_rates)
        self.logged = dict(evaluated.logged)
        self.state = dict(state)
        self.history: list[StepTerms] = [*earlier, self]


def loss_terms(
    method: str | type[Method],
    *,
    student: PreTrainedModel,
    teachers: Sequence[PreTrainedModel],
    batch: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    stage: str | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    index: int = 0,
    steps: int = 1,
    epochs: float = 1.0,
    consecutive: int = 1,
    lr: float = 0.0,
) -> StepTerms:
    """Evaluate the unweighted loss terms at one step, or at consecutive steps with the same modules.

    Teachers run in eval mode and without gradients, the student in the mode that it has. Does not change the models or
    the batch. Projections between equal widths are the identity.

    Args:
        method: a method's class, or the name of a registered method.
        student: a transformers model with a head, float32 or float64.
        teachers: as many models as the method takes.
        batch: padded tensors; ``input_ids``, ``attention_mask``, ``token_type_ids`` if the model has them; ``labels``,
            or ``start_positions``, ``end_positions`` and ``answer_mask``; ``word_ids`` for methods that read them. The
            kind of task is inferred from the labels; integer ``labels`` [B, N] are the tags of words if the student has
            a head for token classification, else the masked tokens of unlabelled text. Several batches are taken in
            turn; the examples of each have the row numbers that follow those of the batch before it.
        stage: a stage's name; None: the first stage, or for unlabelled text the text stage.
        config: the method's options; None or {}: the defaults.
        seed: the seed of the run.
        index: the first step, counted from 0, of the stage's `steps`, which take `epochs`; for terms that depend on
            progress. `steps` is at least ``index + consecutive``.
        consecutive: number of steps to run. The method's state is kept from step to step.
        lr: learning rate of AdamW, which updates a copy of the student and the modules after each step but the last;
            0: no update.

    Returns:
        The terms of the last step, which have gradients; `StepTerms.history` has all steps.

    Raises:
        UserError: the method, stage or step does not exist; the method refuses the models, or needs outputs that they
            do not have; a model's head is for another kind of task than the batch; the method returns no terms, a term
            that is not a scalar, or a reserved or duplicate name.
    """
    from harness.models.capture import Capture

    cls = find_method(method) if isinstance(method, str) else method
    captured = Capture(copy.deepcopy(student) if lr else student)
    batches = _batches([batch] if isinstance(batch, Mapping) else batch, captured.kind)
    if consecutive < 1:
        raise UserError(f"consecutive is {consecutive}; it must be at least 1")
    if consecutive > 1:
        steps = max(steps, index + consecutive)
    kind = batches[0].kind
    options, count = cls.Config.model_validate(config or {}), 1 + max(max(batch.rows) for batch in batches)
    bound = bind(cls, options, kind, student, teachers, seed=seed, examples=count)
    sequence = _Sequence(bound, captured, [Capture(teacher) for teacher in teachers], kind, stage, lr)
    for number in range(consecutive):
        position = StepPosition(index + number, steps, epochs)
        sequence.take(batches[number % len(batches)], position, is_last=number + 1 == consecutive)
    return sequence.history[-1]


class _Sequence:
    """Steps of a method in one stage, with the same modules.

    Args:
        method: bound to the models.
        kind: of the batches.
        stage: the name of the stage; None: the first, or for unlabelled text the text stage.
        lr: learning rate of the updates; 0: none.

    Attributes:
        history: the terms of the steps taken.
    """

    def __init__(
        self,
        method: Method,
        student: Capture,
        teachers: Sequence[Capture],
        kind: TaskKind,
        stage: str | None,
        lr: float,
    ) -> None:
        self.method, self.student, self.teachers = method, student, teachers
        _require_head(student, kind, "the student")
        for number, teacher in enumerate(teachers, start=1):
            _require_head(teacher, kind, f"teacher {number}")
        self.stage = find_stage(method, kind, stage)
        require_supported_needs(method, self.stage)
        self.modules = build_modules(method, student.model)
        self.generator = torch.Generator().manual_seed(method.seed)
        parameters = [*student.model.parameters(), *self.modules.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0) if lr else None
        self.history: list[StepTerms] = []

    def take(self, batch: Batch, position: StepPosition, *, is_last: bool) -> None:
        """Take a step. The last one keeps its graph, and updates neither the weights nor the modules."""
        evaluated = evaluate_terms(
            self.method,
            self.stage,
            batch,
            self.student,
            self.teachers,
            progress=position,
            generator=self.generator,
            modules=self.modules,
        )
        if self.optimizer and not is_last:
            update(evaluated.total, self.optimizer)
        # In-place changes of the state would invalidate the gradients of the last step, so they are made in a copy.
        after = replace(evaluated.step, modules=copy.deepcopy(self.modules)) if is_last else evaluated.step
        with torch.no_grad():
            self.method.after_step(after)
        rates = self.method.learning_rates(evaluated.step)
        state = {name: tensor.clone() for name, tensor in after.modules.state_dict().items()}
        self.history.append(StepTerms(evaluated, rates, state, self.history, keep_graph=is_last))


def _require_head(model: Capture, kind: TaskKind, who: str) -> None:
    """Raise `UserError` if the model's head is for another kind of task than the batch.

    Classes of which several may be right have the same head as others, so these two are not told apart.
    """
    exclusive = {"multilabel": "classification"}
    if model.parts.head is not None and exclusive.get(model.kind, model.kind) != exclusive.get(kind, kind):
        raise UserError(
            f"{who} has a head for {model.kind}, but the labels of the batch are those of {kind}; build both with the"
            " same kind"
        )


def update(total: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Take one optimization step on a weighted total, if it has gradients."""
    if total.requires_grad:
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _batches(batches: Sequence[Mapping[str, Tensor]], head: TaskKind) -> list[Batch]:
    """The batches, with row numbers that follow each other."""
    if not batches:
        raise UserError("batch is empty; pass a batch or a sequence of batches")
    named: TaskKind | None = "token_classification" if head == "token_classification" else None
    made: list[Batch] = []
    first = 0
    for mapping in batches:
        batch = Batch.from_mapping(mapping, named)
        rows = tuple(range(first, first + len(batch.rows)))
        made.append(replace(batch, rows=rows, ids=tuple(map(str, rows))))
        first += len(rows)
    return made
