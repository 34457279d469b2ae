"""A run in training: one student, its method, and the state that its result depends on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness.api.batch import Batch
from harness.api.events import LossPoint, RunId
from harness.api.method import Method, Needs, Stage, Step
from harness.api.model_outputs import ModelOutputs
from harness.config.method_schema import StageOverride
from harness.config.training_schema import TrainingSpec
from harness.models.capture import Capture
from harness.models.parameter_groups import ParameterGroups
from harness.storage.disk_errors import DiskError
from harness.training import micro_batching, term_names
from harness.training.best_epoch import BestEpoch
from harness.training.continued_modules import NO_WEIGHTS, continue_from
from harness.training.loss_curve import LossCurve
from harness.training.loss_passes import LoggedValue, LossPasses, snapshot
from harness.training.method_results import modules_of, notes_of, stages_of
from harness.training.optimizer import parameters_to_freeze
from harness.training.random_state import RandomState
from harness.training.run_cost import RunCost
from harness.training.schedule import NO_STAGES
from harness.training.stage_end import StageEnd
from harness.training.stage_progress import StageProgress
from harness.training.step_gradients import StepGradients
from harness.training.step_needs import needs_at
from harness.training.trained_parameters import TrainedParameters

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Run:
    """One student in training. It owns all state that its result depends on; only batches and teachers are shared.

    Args:
        run_id: names the run; its seed decides every random draw.
        method: gives stages, losses and modules.
        student: the model with its initial weights. It is moved to `device` and trained in place.
        teachers: the cohort's names of the method's teachers, in the method's order.
        training: the settings of the suite.
        overrides: the suite's settings for single stages, by stage name.
        batches_per_epoch: converts epochs to steps.
        own_batches_per_epoch: the same for stages with a batch size of their own, by stage name.
        device: where the run is trained.
        module_weights: what the method's modules start from in place of their initial weights, by name, where the shape
            is the same.
        best: selects the best epoch; None: the weights of the last step are the result.
        observe: called with every `LossPoint`.

    Attributes:
        error: why the run has failed; None: it has not.
        progress: its stages, and where it stands.
        trained: student, modules and optimizer.
        curve: the logged losses.
        gradients: computes the gradients of a step.

    An exception of the method, also in `modules` or `notes`, ends the run and is recorded in `error`.
    """

    def __init__(
        self,
        run_id: RunId,
        method: Method,
        student: PreTrainedModel,
        *,
        teachers: Sequence[str],
        training: TrainingSpec,
        overrides: Mapping[str, StageOverride],
        batches_per_epoch: int,
        device: torch.device,
        own_batches_per_epoch: Mapping[str, int] = NO_STAGES,
        module_weights: Mapping[str, Tensor] = NO_WEIGHTS,
        best: BestEpoch | None = None,
        observe: Callable[[Run, LossPoint], None] = lambda run, point: None,
    ) -> None:
        self.id = run_id
        self.method = method
        self.teachers = tuple(teachers)
        self.training = training
        self.device = device
        self.best = best
        self.observe = observe
        self.error: str | None = None
        self.random = RandomState(run_id.seed, device)
        self.progress = StageProgress(stages_of(method), training, overrides, batches_per_epoch, own_batches_per_epoch)
        self.student = student.to(device)
        self.capture = Capture(student)
        self.modules, self.notes = self._modules_and_notes(module_weights)
        groups = ParameterGroups(student, self.capture.parts, self.modules)
        self.trained = TrainedParameters(student, self.modules, groups, training, device)
        passes = LossPasses(method, self.teachers, training, device, self.trained.scaler)
        self.gradients = StepGradients(passes, self.progress, self.trained, self.capture, self.random)
        self.curve = LossCurve(self.progress.steps, training.log_every)
        self.cost = RunCost(device)
        self.stage_end = StageEnd(best, self.progress, self.trained, self.capture, self.cost.evaluation)
        if self.error is None:
            self._check_stages()
        if self.error is None:
            self.trained.enter(self.stage)

    @property
    def stage(self) -> Stage:
        """The current stage."""
        return self.progress.stage

    @property
    def steps(self) -> int:
        """Optimization steps of all stages."""
        return self.progress.steps

    @property
    def position(self) -> int:
        """Number of steps done, which is the index of the next batch in the cohort's stream."""
        return self.progress.position

    @property
    def ended(self) -> bool:
        """Whether the run has finished or failed."""
        return self.error is not None or self.position >= self.steps

    @property
    def history(self) -> list[LossPoint]:
        """The points of the loss curve."""
        return self.curve.points

    @property
    def starts(self) -> Mapping[str, Mapping[str, Any]]:
        """Where each stage that starts from the best epoch has started, by stage name."""
        return self.stage_end.starts

    def needs(self) -> Needs:
        """The outputs that the current step reads. An error of the method fails the run."""
        try:
            return needs_at(self.method, self.gradients.current_step())
        except (Exception, SystemExit) as error:
            self.fail(error)
            return Needs()

    def step(
        self,
        batches: Sequence[Batch],
        teachers: Mapping[str, Sequence[ModelOutputs]],
        live_teachers: Sequence[Capture] = (),
    ) -> None:
        """Take one optimization step on a batch, given as groups, with each teacher's outputs on each group.

        A group counts by its share of the examples. In a live stage, `live_teachers` are the teachers that the method
        may run. Any error but `InsufficientMemory` ends this run only.

        Raises:
            InsufficientMemory: the batch cannot be split further. The run is as it was before the step.
            DiskError: the data on which the epoch is scored cannot be read or stored.
        """
        with self.failing():
            with self.cost.student.running():
                self._optimize(batches, teachers, live_teachers)
            self.end_step()

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Any error of the block but lack of memory and of the disk ends this run only."""
        try:
            yield
        except (micro_batching.InsufficientMemory, DiskError):
            raise
        except (Exception, SystemExit) as error:
            self.fail(error)

    def fail(self, error: BaseException, during: str | None = None) -> None:
        """End the run with `error`: its first line, after `during` (default: the current step and stage)."""
        message = next(iter(str(error).splitlines()), "")
        during = during or f"step {self.position + 1} ({self.stage.name})"
        self.error = f"{during}: {type(error).__name__}: {message}"

    def release(self) -> None:
        """Free the memory of weights and optimizer. The run cannot be trained or scored afterwards."""
        self.trained.release()
        self.stage_end.release()

    def update(self, step: Step, logged: Sequence[LoggedValue]) -> None:
        """Update the weights from their gradients, then the method's state, and log.

        Raises:
            InsufficientMemory: the optimizer's moments do not fit in memory. The weights have not changed.
        """
        self.trained.update(self.progress.learning_rate(), self.method.learning_rates(step))
        names = {name for name, *_ in logged} - {term_names.TOTAL}
        self.curve.add([*logged, *self._after_step(step, names)])

    def end_step(self) -> None:
        """Count the step, score the student if an epoch ends, and go to the next stage if this one ends."""
        point = self.curve.add_point_if_due(self.progress)
        if point is not None:
            self.cost.read_timers()  # reading the losses has waited for the device, so this does not
            self.observe(self, point)
        if self.position + 1 == self.steps:
            term_names.check_weights(self.gradients.passes.weighted_names, self.history)
        self.progress.advance()
        self.stage_end.end_epoch()
        if self.progress.stage_ended:
            self.stage_end.end_stage()
            if self.progress.following is not None:
                self.enter_stage(self.progress.number + 1)

    def enter_stage(self, number: int) -> None:
        """Go to the first step of a stage."""
        self.progress.enter(number)
        self.trained.enter(self.stage)

    def _modules_and_notes(self, weights: Mapping[str, Tensor]) -> tuple[nn.ModuleDict, dict[str, Any]]:
        """The method's modules with `weights`, on the device, and its notes. An error of the method fails this run."""
        modules = nn.ModuleDict()
        try:
            with self.random.active():
                modules = modules_of(self.method).to(self.device)
            continue_from(weights, modules)
            return modules, notes_of(self.method)
        except (Exception, SystemExit) as error:
            self.fail(error, f"before step 1 ({self.stage.name})")
            return modules, {}

    def _check_stages(self) -> None:
        """Fail the run before its first step if a stage names parameters, outputs or a start that do not exist."""
        for number, (stage, length) in enumerate(zip(self.progress.stages, self.progress.lengths, strict=True)):
            step = Step(stage, 0, length, 0.0, 1.0, self.modules, self.random.generator)
            try:
                if number == 0 and stage.starts_from == "best":
                    raise ValueError("starts_from is 'best', but the first stage follows no other; remove it")
                parameters_to_freeze(self.student, self.trained.groups, stage.frozen)
                self.trained.groups.factors(self.method.learning_rates(step))
                needs_at(self.method, step)
            except (Exception, SystemExit) as error:
                self.fail(error, f"before step 1 ({stage.name})")
                return

    def _optimize(
        self,
        batches: Sequence[Batch],
        teachers: Mapping[str, Sequence[ModelOutputs]],
        live_teachers: Sequence[Capture],
    ) -> None:
        """Compute the gradients, then update the weights and the method's state."""
        with micro_batching.convert_memory_errors():
            start, micro_batch_size = self.gradients.start(), self.gradients.micro_batch_size
        try:
            self.update(*self.gradients.compute(start, batches, teachers, live_teachers))
        except micro_batching.InsufficientMemory:
            start.before.restore()
            self.gradients.micro_batch_size = micro_batch_size
            raise

    def _after_step(self, step: Step, names: Collection[str]) -> list[LoggedValue]:
        """Let the method update its state; returns the values to log. `names` are those of the step so far."""
        logged: list[LoggedValue] = []
        step = replace(step, log=lambda name, value: logged.append((name, snapshot(name, value), 1.0)))
        with self.random.active(), torch.no_grad():
            self.method.after_step(step)
        term_names.check(names, {name for name, *_ in logged})
        return logged
