"""Students of one architecture that share a forward pass: their parameters are views of stacked tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from harness.api.model_outputs import ModelOutputs
from harness.models.capture import Capture
from harness.models.pass_changes import PassChanges
from harness.models.stacked_functions import stacked_functions
from harness.models.stacked_rows import aligned, joined_gradients, split_rows, stacked_copy


class StackedStudents:
    """R students whose parameters are views of tensors [R, ...].

    Each student remains a model of its own, with its own parameters: whatever changes them in place, such as its
    optimizer, changes the stacked tensors. Gradients of the shared passes are computed for the stacked tensors; each
    student collects its part.

    Args:
        captures: of the students, which have equal architectures.
    """

    def __init__(self, captures: Sequence[Capture]) -> None:
        self._capture = captures[0]
        self._own = [dict(capture.model.named_parameters()) for capture in captures]
        self._stacked = {name: _stack([own[name] for own in self._own]) for name in self._own[0]}
        self._sums: list[dict[str, Tensor]] = [{} for _ in captures]
        self._reached: dict[tuple[frozenset[str], int], frozenset[str]] = {}

    def __len__(self) -> int:
        return len(self._own)

    @property
    def intact(self) -> bool:
        """Whether all parameters are views of the stacked tensors; not if one was given other data."""
        return bool(self._stacked) and all(
            own[name].data_ptr() == stacked.data_ptr() + number * stacked.stride(0) * stacked.element_size()
            for name, stacked in self._stacked.items()
            for number, own in enumerate(self._own)
        )

    def run(
        self,
        inputs: Mapping[str, Tensor],
        needs: frozenset[str],
        generators: Sequence[torch.Generator],
        *,
        answer_mask: Tensor | None = None,
    ) -> StackedOutputs:
        """One forward pass of all students, up to the deepest output of `needs`.

        Args:
            inputs: as in `Capture.run`, [B, ...]; the same for all students.
            needs: names of outputs.
            generators: those of the students' dropout.
            answer_mask: as in `Capture.run`.
        """
        self._follow_frozen()
        repeated = {name: self._repeated(tensor) for name, tensor in inputs.items()}
        mask = None if answer_mask is None else self._repeated(answer_mask)
        with stacked_functions(self._stacked.values(), generators, len(repeated["input_ids"])):
            outputs = self._capture.run(
                repeated, needs, answer_mask=mask, changes=PassChanges(parameters=self._stacked)
            )
        return StackedOutputs(outputs, len(self), [self._reach(needs, *item) for item in enumerate(outputs.tensors())])

    def collect_gradients(self, number: int, names: Collection[str]) -> None:
        """Add a student's gradients of one shared pass, those of its parameters `names`, and of its other passes.

        Passes are summed in the order in which the student alone would sum them.
        """
        sums = self._sums[number]
        for name, parameter in self._own[number].items():
            if not parameter.requires_grad:
                continue
            shared = self._stacked[name].grad if name in names else None
            gradient, parameter.grad = parameter.grad, None
            if shared is not None:
                gradient = shared[number] if gradient is None else gradient.add_(shared[number])
            if gradient is not None:
                sums[name] = gradient if name not in sums else sums[name].add_(gradient)

    def hand_out_gradients(self, number: int) -> None:
        """Give a student's parameters the collected gradients."""
        for name, gradient in self._sums[number].items():
            self._own[number][name].grad = gradient
        self._sums[number] = {}

    def zero_grad(self, *, collected: bool = False) -> None:
        """Forget the gradients of the stacked tensors, and on request those that have been collected."""
        for stacked in self._stacked.values():
            stacked.grad = None
        if collected:
            self._sums = [{} for _ in self._own]

    def separate(self, numbers: Collection[int]) -> None:
        """Give students memory of their own, and give up the stacked tensors: no pass can be shared afterwards.

        This takes additional memory for one stacked tensor at a time.
        """
        for name in list(self._stacked):
            del self._stacked[name]
            for number in numbers:
                parameter = self._own[number][name]
                parameter.data = parameter.data.clone()

    def _follow_frozen(self) -> None:
        """Compute gradients of a parameter if one of the students trains it in its present stage."""
        for name, stacked in self._stacked.items():
            trained = any(own[name].requires_grad for own in self._own)
            if stacked.requires_grad != trained:
                stacked.requires_grad_(trained)
                self._reached.clear()

    def _repeated(self, tensor: Tensor) -> Tensor:
        """[B, ...] for each student, [R * B, ...]."""
        return tensor.repeat(len(self), *[1] * (tensor.ndim - 1))

    def _reach(self, needs: frozenset[str], index: int, output: Tensor) -> frozenset[str]:
        """The names of the parameters that an output, the one at `index` of those in `needs`, is computed from."""
        if (needs, index) not in self._reached:
            names = {id(stacked): name for name, stacked in self._stacked.items()}
            self._reached[needs, index] = frozenset(names[leaf] for leaf in _leaves(output) if leaf in names)
        return self._reached[needs, index]


class StackedOutputs:
    """The outputs of a shared forward pass. Each student's are cut off from the graph of the pass.

    So the losses of each student have a backward pass of their own, up to its outputs. `backward` continues it for all
    students together.

    Args:
        outputs: of all students, [R * B, ...].
        count: R.
        reached: the names of the parameters that each tensor of `outputs` is computed from.
    """

    def __init__(self, outputs: ModelOutputs, count: int, reached: Sequence[frozenset[str]]) -> None:
        tensors = outputs.tensors()
        self._tensors, self._reached = tensors, reached
        self._gradients: list[list[Tensor | None]] = [[None] * count for _ in tensors]
        parts = {
            id(tensor): [_cut_off(part, partial(self._keep, place, number)) for number, part in enumerate(of_each)]
            for place, tensor in enumerate(tensors)
            for of_each in [split_rows(tensor, count)]
        }
        self.of_each = [outputs.mapped(partial(_entry, parts, number)) for number in range(count)]
        """The outputs of each student, [B, ...]."""

    @property
    def versions(self) -> list[int]:
        """Version counters of the outputs, which count changes in place."""
        return [tensor._version for tensor in self._tensors]

    def reached(self, number: int) -> frozenset[str]:
        """The names of the parameters that the outputs which a student's losses depend on are computed from."""
        used = [
            names
            for gradients, names in zip(self._gradients, self._reached, strict=True)
            if gradients[number] is not None
        ]
        return frozenset().union(*used)

    def backward(self, without: Collection[int] = ()) -> None:
        """Continue the backward passes of all students' losses but those of the students `without`."""
        for number in without:
            for gradients in self._gradients:
                gradients[number] = None
        pairs = [
            (tensor, joined)
            for tensor, gradients in zip(self._tensors, self._gradients, strict=True)
            if (joined := joined_gradients(gradients)) is not None
        ]
        if pairs:
            torch.autograd.backward([tensor for tensor, _ in pairs], [gradient for _, gradient in pairs])

    def _keep(self, place: int, number: int, gradient: Tensor) -> None:
        self._gradients[place][number] = gradient


def _stack(members: Sequence[Tensor]) -> Tensor:
    """The stacked data of the parameters, which become views of it."""
    stacked = stacked_copy([member.data for member in members])
    for member, part in zip(members, stacked, strict=True):
        member.data = part
    return stacked


def _cut_off(part: Tensor, keep: Callable[[Tensor], None]) -> Tensor:
    """A student's output without its graph; `keep` is called with its gradient."""
    values = aligned(part.detach())
    if not part.requires_grad:
        return values
    output: Tensor = _Output.apply(torch.zeros((), requires_grad=True), lambda: values, keep)  # type: ignore[no-untyped-call]
    return output


class _Output(torch.autograd.Function):
    """A tensor at which a backward pass ends. Unlike that of a leaf, its gradient keeps its own layout in memory."""

    @staticmethod
    def forward(ctx: Any, start: Tensor, output: Callable[[], Tensor], keep: Callable[[Tensor], None]) -> Tensor:
        ctx.keep = keep
        return output()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        ctx.keep(gradient)
        return None, None, None


def _entry(parts: Mapping[int, Sequence[Tensor]], number: int, tensor: Tensor) -> Tensor:
    return parts[id(tensor)][number]


def _leaves(tensor: Tensor) -> set[int]:
    """The ids of the tensors with gradients that `tensor` is computed from."""
    found, seen, waiting = set(), set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    return found
