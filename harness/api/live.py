"""Models that a method runs itself during a step: `LiveModel`, and `StepModels`, those of one step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from harness.api.batch import Batch
from harness.api.model_outputs import ModelOutputs

if TYPE_CHECKING:
    from torch import Tensor

StateFunction = Callable[["Tensor"], "Tensor"]
"""From hidden states [B, N, H] to hidden states [B, N, H], such as a patch or a layer."""


class LiveModel(Protocol):
    """A model of a run, bound to the batch of a step.

    The student is in train mode, so every pass draws new dropout; its parameters have gradients. Teachers and the
    average are in eval mode; their parameters are frozen. Gradients flow through a teacher with respect to what patches
    and layers put into it. The average has no gradients at all.
    """

    def run(
        self,
        needs: Collection[str],
        batch: Batch | None = None,
        *,
        patches: Mapping[str, StateFunction] | None = None,
        layers: Mapping[int, StateFunction] | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> ModelOutputs:
        """One more forward pass, up to the deepest output of `needs`; returns the named outputs.

        Args:
            needs: names of outputs, as in `Needs`. They need not be declared.
            batch: the input; default: the batch that `losses` was called with.
            patches: ``embeddings`` or ``hidden[i]`` -> a function whose result takes the place of this output, in the
                rest of the pass and in the returned outputs.
            layers: layer, counted from 1 -> a function that is called in place of the layer. Such a layer is not
                computed, so it has no attention outputs.
            parameters: name of a parameter, as in `parameters` -> the tensor to use in its place.

        Raises:
            UserError: the model does not have one of these outputs, layers or parameters.
            ValueError: a patch or a layer has returned another shape.
        """

    @property
    def layers(self) -> Mapping[int, StateFunction]:
        """The layers, counted from 1, as functions of hidden states of the step's batch, for mixed networks.

        Raises:
            NotImplementedError: of the average, whose weights are not those of the model's layers.
        """

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The parameters by name: of a teacher, whose weights other runs share, a copy."""


@dataclass(frozen=True)
class StepModels:
    """The models that a step can run; None: the stage does not have them."""

    student: LiveModel | None = None
    teachers: Sequence[LiveModel] | None = None
    average: LiveModel | None = None
