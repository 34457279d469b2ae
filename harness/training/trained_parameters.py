"""The parameters that a run trains, and what updates them: optimizer, gradient scaler and moving average."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness.api.method import Stage
from harness.config.training_schema import TrainingSpec
from harness.models.parameter_groups import ParameterGroups
from harness.training import micro_batching
from harness.training.optimizer import (
    adamw,
    allocate_moments,
    parameters_to_freeze,
    scaled_learning_rates,
    set_learning_rate,
)
from harness.training.step_models import WeightAverage

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TrainedParameters:
    """The parameters of a student and of its method's modules in training.

    Args:
        student, modules: on `device`. Their parameters are changed in place.
        groups: names their parameters.
        training: gives precision, weight decay and the largest norm of the gradients.

    Attributes:
        optimizer: that of the current stage, of the parameters that the stage trains.
        average: the moving average of the student's weights in the current stage; None: the stage declares none.
        scaler: scales the losses in fp16.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        modules: nn.ModuleDict,
        groups: ParameterGroups,
        training: TrainingSpec,
        device: torch.device,
    ) -> None:
        self.student, self.modules, self.groups = student, modules, groups
        self.optimizer = adamw([student, modules], weight_decay=training.weight_decay)
        self.average: WeightAverage | None = None
        self.scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "fp16")
        self._training = training
        self._frozen: list[nn.Parameter] = []
        # To walk through the smallest students in every step takes about 2 % of it.
        self._parameters = [*student.parameters(), *modules.parameters()]
        self._all_modules = [*student.modules(), *modules.modules()]
        self._skipped = torch.zeros((), dtype=torch.int64, device=device)

    @property
    def skipped_steps(self) -> int:
        """Steps without an update, because gradients overflowed in fp16. Waits for the device."""
        return int(self._skipped)

    def enter(self, stage: Stage) -> None:
        """Start a stage: freeze what it freezes, with a new optimizer of the others and a new average.

        Raises:
            ValueError: the stage freezes parameters that do not exist.
        """
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._frozen = parameters_to_freeze(self.student, self.groups, stage.frozen)
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        self.optimizer = adamw([self.student, self.modules], weight_decay=self._training.weight_decay)
        self.average = WeightAverage.of_stage(stage, self.student)

    def set_train_mode(self) -> None:
        """Set the student and the modules to train mode, with all their parts."""
        if not all(module.training for module in self._all_modules):
            self.student.train()
            self.modules.train()

    def update(self, lr: float, factors: Mapping[str, float]) -> None:
        """Clip the gradients, update the weights, and free the gradients.

        `factors` multiply the learning rate of parameter groups, by their names.

        Raises:
            InsufficientMemory: the optimizer's moments do not fit in memory. The weights have not changed.
            ValueError: there is no group of a name in `factors`, or a factor is negative or not finite.
        """
        of_parameters = self.groups.factors(factors)
        for parameter, factor in of_parameters.items():
            if factor == 0:
                parameter.grad = None
        self._prepare_update()
        set_learning_rate(self.optimizer, lr)
        with scaled_learning_rates(self.optimizer, of_parameters):
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.student)

    def _prepare_update(self) -> None:
        """Do everything that can lack memory, before a weight changes: allocate the moments, clip the gradients."""
        try:
            with micro_batching.convert_memory_errors():
                allocate_moments(self.optimizer)
                self.scaler.unscale_(self.optimizer)
                self._clip_gradients()
        except micro_batching.InsufficientMemory as error:
            self.scaler.update(self.scaler.get_scale())  # keeps the scale, but forgets that gradients were unscaled
            raise micro_batching.InsufficientMemory(
                f"memory does not suffice for the optimizer: use a smaller student ({error})"
            ) from None

    def _clip_gradients(self) -> None:
        """Clip the gradients to the suite's norm, and count the step if they have overflowed."""
        max_norm = self._training.max_grad_norm
        if max_norm is not None or self.scaler.is_enabled():
            norm = nn.utils.clip_grad_norm_(self._parameters, math.inf if max_norm is None else max_norm)
            if self.scaler.is_enabled():
                self._skipped += ~norm.isfinite()  # stays on the device: no synchronization

    def release(self) -> None:
        """Free the memory of weights and optimizer."""
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        self.optimizer.param_groups.clear()  # they refer to the parameters
        self.groups.release()
        self._frozen.clear()
        self._parameters.clear()
        self.average = None
        self.student.to("meta")
        self.modules.to("meta")

    def state_dict(self) -> dict[str, Any]:
        return {
            "student": {name: _own(weight) for name, weight in self.student.state_dict().items()},
            "modules": self.modules.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.weights if self.average is not None else None,
            "scaler": self.scaler.state_dict(),
            "skipped": self.skipped_steps,
        }

    def can_load(self, state: Mapping[str, Any]) -> bool:
        """Whether all weights in `state` have the shapes of the present ones."""
        trained = {"student": self.student, "modules": self.modules}
        return all(_shapes(module.state_dict()) == _shapes(state[name]) for name, module in trained.items())

    def load_state_dict(self, state: Mapping[str, Any], stage: Stage) -> None:
        """Continue in `stage`, the one in which the state was saved."""
        self.student.load_state_dict(state["student"])
        self.modules.load_state_dict(state["modules"])
        self.enter(stage)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load(state["average"])
        self.scaler.load_state_dict(state["scaler"])
        self._skipped.fill_(state["skipped"])


def _own(weight: Tensor) -> Tensor:
    """The weight in memory of its own: a checkpoint of a view would hold the students that it is stacked with.

    A copy is in host memory, because a run is also checkpointed when its device has no memory left.
    """
    return weight if weight.untyped_storage().nbytes() == weight.nbytes else weight.to("cpu", copy=True)


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}
