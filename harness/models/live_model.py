"""A model of a run that a method can run again: with patches, as single layers, with other parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.api.batch import Batch
from harness.api.live import StateFunction
from harness.api.model_outputs import ModelOutputs
from harness.models.capture import Capture
from harness.models.introspection import evaluating
from harness.models.pass_changes import PassChanges, check_parameters, parsed_patches


class StudentModel:
    """The student, bound to a batch: see `harness.api.live.LiveModel`.

    Args:
        capture: runs the model.
        batch: the batch of the step.
        live: whether gradients with respect to states can be taken, and differentiated again. Fused attention kernels
            have no second derivative, so attention is then computed by differentiable operations, with a map of N x N
            for each head.
    """

    def __init__(self, capture: Capture, batch: Batch, *, live: bool) -> None:
        self._capture = capture
        self._batch = batch
        self._live = live

    def run(
        self,
        needs: Collection[str],
        batch: Batch | None = None,
        *,
        patches: Mapping[str, StateFunction] | None = None,
        layers: Mapping[int, StateFunction] | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> ModelOutputs:
        """One more forward pass."""
        examples = batch or self._batch
        changes = PassChanges(parsed_patches(patches or {}), layers or {}, self._used(parameters or {}))
        changed = changes if self._live or patches or layers or changes.parameters else None
        with self._context():
            return self._capture.run(examples.inputs, needs, answer_mask=examples.answer_mask, changes=changed)

    @cached_property
    def layers(self) -> Mapping[int, StateFunction]:
        """The layers, counted from 1, as functions of hidden states of the batch."""
        with self._context():
            calls = self._capture.layer_calls(self._batch.inputs)
        return {layer: partial(self._call, call) for layer, call in calls.items()}

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The parameters by name."""
        return dict(self._capture.model.named_parameters())

    def _call(self, call: StateFunction, states: Tensor) -> Tensor:
        with self._context():
            return call(states)

    def _used(self, parameters: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The parameters of a pass that are not the model's own."""
        if parameters:
            check_parameters(parameters, dict(self._capture.model.named_parameters()))
        return parameters

    @contextmanager
    def _context(self) -> Iterator[None]:
        """The settings of every pass."""
        with ExitStack() as stack:
            if self._live:
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield


class TeacherModel(StudentModel):
    """A frozen teacher in eval mode, whose weights other runs share."""

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """A copy of the parameters by name."""
        return {name: tensor.detach().clone() for name, tensor in self._capture.model.named_parameters()}


class AverageModel(StudentModel):
    """The student's architecture in eval mode with the moving average of its weights, without gradients.

    Args:
        weights: the average of every parameter by name.
    """

    def __init__(self, capture: Capture, batch: Batch, weights: Mapping[str, Tensor]) -> None:
        super().__init__(capture, batch, live=False)
        self._weights = weights

    @property
    def layers(self) -> Mapping[int, StateFunction]:
        """Not available: layers are called with the weights of the model itself."""
        raise NotImplementedError("single layers of the average cannot be run; use average.run with patches")

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The averages by name."""
        return self._weights

    def _used(self, parameters: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {**self._weights, **super()._used(parameters)}

    @contextmanager
    def _context(self) -> Iterator[None]:
        with evaluating(self._capture.model), torch.no_grad():
            yield
