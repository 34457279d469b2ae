"""A run in training: its student, method, optimizer, random state, position and history."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

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
from harness.training.loss_passes import LoggedValue, LossPasses, snapshot
from harness.training.metrics_log import MetricsLog
from harness.training.optimizer import (
    adamw,
    allocate_moments,
    parameters_to_freeze,
    scaled_learning_rates,
    set_learning_rate,
)
from harness.training.random_state import RandomState
from harness.training.run_cost import RunCost
from harness.training.schedule import learning_rate, stage_steps
from harness.training.step_models import WeightAverage, step_models
from harness.training.step_needs import needs_at
from harness.training.step_rollback import StepRollback

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOG_EVERY = 50
"""Default number of steps between two points of the loss curve."""

CURVE_POINTS = 40
"""Least number of points of a short run's loss curve."""


@dataclass(frozen=True)
class StepStart:
    """The start of a step: what undoes an attempt at it, and the outputs that the method reads."""

    before: StepRollback
    needs: Needs


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
        device: where the run is trained.
        best: selects the best epoch; None: the weights of the last step are the result.
        observe: called with every `LossPoint`.

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
        best: BestEpoch | None = None,
        observe: Callable[[Run, LossPoint], None] = lambda run, point: None,
    ) -> None:
        self.id = run_id
        self.method = method
        self.teachers = tuple(teachers)
        self.training = training
        self.device = device
        self.overrides = overrides
        self.batches_per_epoch = batches_per_epoch
        self.best = best
        self.observe = observe
        self.random = RandomState(run_id.seed, device)
        self.student = student.to(device)
        self.capture = Capture(student)
        self.stages = tuple(method.stages())
        self.lengths = stage_steps(self.stages, overrides, epochs=training.epochs, batches_per_epoch=batches_per_epoch)
        self.stage_number = 0
        self.stage_step = 0
        self.error: str | None = None
        self.modules = nn.ModuleDict()
        self.notes: dict[str, Any] = {}
        try:
            with self.random.active():
                self.modules = method.modules(method.student, method.teachers).to(device)
            self.notes = dict(method.notes())
        except (Exception, SystemExit) as error:  # an error of the method fails this run, not the others of the cohort
            self.fail(error)
        self.groups = ParameterGroups(student, self.capture.parts, self.modules)
        self.starts: dict[str, dict[str, Any]] = {}
        """Where each stage that starts from the best epoch has started, by stage name. For the record."""
        self._frozen: list[nn.Parameter] = []
        self.average: WeightAverage | None = None
        """The moving average of the student's weights in the current stage."""
        self._check_stages()
        self.enter_stage(0)
        self.scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "fp16")
        self.passes = LossPasses(method, self.teachers, training, device, self.scaler)
        self.micro_batch_size = training.micro_batch_size
        """Examples per forward and backward pass; None: those of a whole batch."""
        self.history: list[LossPoint] = []
        self.tokens = 0
        """Real tokens that the student has processed."""
        self.padded_tokens = 0
        """Tokens that the student has processed, with padding."""
        self.cost = RunCost(device)
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        """Steps without a weight update, because gradients overflowed in fp16."""
        self.log = MetricsLog()

    @property
    def stage(self) -> Stage:
        """The current stage."""
        return self.stages[self.stage_number]

    @property
    def steps(self) -> int:
        """Optimization steps of all stages."""
        return sum(self.lengths)

    @property
    def position(self) -> int:
        """Number of steps done, which is the index of the next batch in the cohort's stream."""
        return sum(self.lengths[: self.stage_number]) + self.stage_step

    @property
    def ended(self) -> bool:
        """Whether the run has finished or failed."""
        return self.error is not None or self.position >= self.steps

    @property
    def skipped_steps(self) -> int:
        """`skipped` as a number. Waits for the device."""
        return int(self.skipped)

    def needs(self) -> Needs:
        """The outputs that the current step reads. An error of the method fails the run."""
        try:
            return needs_at(self.method, self.current_step())
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
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        self.optimizer.param_groups.clear()  # they refer to the parameters
        self.groups.release()
        self._frozen.clear()
        if self.best is not None:
            self.best.release()
        self.average = None
        self.student.to("meta")
        self.modules.to("meta")

    def _check_stages(self) -> None:
        """Fail the run before its first step if a stage names parameters, outputs or a start that do not exist."""
        if self.error is not None:  # the method's modules are missing
            return
        for number, stage in enumerate(self.stages):
            step = Step(stage, 0, self.lengths[number], 0.0, 1.0, self.modules, self.random.generator)
            try:
                if number == 0 and stage.starts_from == "best":
                    raise ValueError("starts_from is 'best', but the first stage follows no other; remove it")
                parameters_to_freeze(self.student, self.groups, stage.frozen)
                self.groups.factors(self.method.learning_rates(step))
                needs_at(self.method, step)
            except (Exception, SystemExit) as error:
                self.fail(error, f"before step 1 ({stage.name})")
                return

    def enter_stage(self, number: int, step: int = 0) -> None:
        """Go to a step of a stage, with a new optimizer of the parameters that the stage trains."""
        self.stage_number, self.stage_step = number, step
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        names = self.stage.frozen if self.error is None else ()
        self._frozen = parameters_to_freeze(self.student, self.groups, names)
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        self.optimizer = adamw([self.student, self.modules], weight_decay=self.training.weight_decay)
        self.average = WeightAverage.of_stage(self.stage, self.student)

    def _optimize(
        self,
        batches: Sequence[Batch],
        teachers: Mapping[str, Sequence[ModelOutputs]],
        live_teachers: Sequence[Capture],
    ) -> None:
        """Accumulate the gradients of all examples, then update the weights and the method's state.

        If memory does not suffice, the gradients are computed again in smaller micro-batches, from the same random
        state and buffers.
        """
        start = self.start_step()
        models = partial(
            step_models, stage=self.stage, student=self.capture, teachers=live_teachers, average=self.average
        )
        requested = self.pass_size(batches)
        retry = micro_batching.MemoryRetry(requested, can_split=not self.stage.batch_dependent)
        try:
            for size in retry:
                with retry:
                    start.before.restore()
                    step = self.current_step()
                    parts = self.passes.parts(start.needs, batches, teachers, size)
                    with self.random.active():
                        logged = self.passes.run(step, start.needs, parts, models)
            self.update(step, logged)
        except micro_batching.InsufficientMemory as error:
            start.before.restore()
            raise micro_batching.InsufficientMemory(self._memory_message(requested, str(error))) from None
        if retry.size < requested:
            self.micro_batch_size = retry.size

    def start_step(self) -> StepStart:
        """Prepare the student and the modules for a step. An exception of the method propagates."""
        self.student.train()
        self.modules.train()
        before = StepRollback(self.random, self.modules, self.optimizer)
        return StepStart(before, needs_at(self.method, self.current_step()))

    def pass_size(self, batches: Sequence[Batch]) -> int:
        """Examples per forward and backward pass on a batch, given as groups."""
        largest = max(len(batch.ids) for batch in batches)
        return largest if self.stage.batch_dependent else min(largest, self.micro_batch_size or largest)

    def update(self, step: Step, logged: Sequence[LoggedValue]) -> None:
        """Update the weights from their gradients, then the method's state, and log.

        Raises:
            InsufficientMemory: the optimizer's moments do not fit in memory. The weights have not changed.
        """
        self._update(step)
        names = {name for name, *_ in logged} - {term_names.TOTAL}
        for name, value, weight in [*logged, *self._after_step(step, names)]:
            self.log.add(name, value, weight)

    def end_step(self) -> None:
        """Count the step, score the student if an epoch ends, and go to the next stage if this one ends."""
        self._count_step()
        self._end_epoch()
        if self.stage_step == self.lengths[self.stage_number]:
            self._end_stage()

    def _memory_message(self, count: int, reason: str) -> str:
        examples = "one example of"
        if self.stage.batch_dependent:
            terms = ", ".join(sorted(self.stage.batch_dependent))
            examples = f"{count} examples, which {terms} compare with each other, of"
        return (
            f"memory does not suffice for {examples} a batch: lower training.batch_size or training.max_length, set"
            f" training.precision to bf16, or use a smaller student ({reason})"
        )

    def _update(self, step: Step) -> None:
        """Clip the gradients, update the weights, and free the gradients."""
        factors = self.groups.factors(self.method.learning_rates(step))
        for parameter, factor in factors.items():
            if factor == 0:
                parameter.grad = None
        self._prepare_update()
        set_learning_rate(self.optimizer, self._learning_rate())
        with scaled_learning_rates(self.optimizer, factors):
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
        except micro_batching.InsufficientMemory:
            self.scaler.update(self.scaler.get_scale())  # keeps the scale, but forgets that gradients were unscaled
            raise

    def _clip_gradients(self) -> None:
        """Clip the gradients to the suite's norm, and count the step if they have overflowed."""
        max_norm = self.training.max_grad_norm
        if max_norm is not None or self.scaler.is_enabled():
            parameters = [*self.student.parameters(), *self.modules.parameters()]
            norm = nn.utils.clip_grad_norm_(parameters, math.inf if max_norm is None else max_norm)
            if self.scaler.is_enabled():
                self.skipped += ~norm.isfinite()  # stays on the device: no synchronization

    def _after_step(self, step: Step, names: Collection[str]) -> list[LoggedValue]:
        """Let the method update its state; returns the values to log. `names` are those of the step so far."""
        logged: list[LoggedValue] = []
        step = replace(step, log=lambda name, value: logged.append((name, snapshot(value), 1.0)))
        with self.random.active(), torch.no_grad():
            self.method.after_step(step)
        term_names.check(names, {name for name, *_ in logged})
        return logged

    def current_step(self) -> Step:
        """The current step, as the method receives it outside `losses`, with an empty scratch."""
        done, steps = self.stage_step, self.lengths[self.stage_number]
        return Step(
            stage=self.stage,
            index=done,
            steps=steps,
            epoch=done / self.batches_per_epoch,
            epochs=steps / self.batches_per_epoch,
            modules=self.modules,
            generator=self.random.generator,
        )

    def _learning_rate(self) -> float:
        """Learning rate of the current step: the suite's setting for the stage, else the stage's, else `training`'s."""
        sources = (self.overrides.get(self.stage.name), self.stage, self.training)

        def first(name: str) -> Any:
            return next(value for source in sources if (value := getattr(source, name, None)) is not None)

        return learning_rate(
            first("lr"), self.stage_step, self.lengths[self.stage_number], first("warmup_ratio"), first("schedule")
        )

    @property
    def _log_every(self) -> int:
        """Steps between two points of the loss curve. A short run has as many points as a plot can show."""
        return self.training.log_every or min(LOG_EVERY, max(1, self.steps // CURVE_POINTS))

    def _count_step(self) -> None:
        """Log if due, and count the step."""
        last = self.stage_step + 1 == self.lengths[self.stage_number]
        if last or (self.position + 1) % self._log_every == 0:
            point = LossPoint(
                stage=self.stage.name, step=self.position + 1, lr=self._learning_rate(), terms=self.log.read()
            )
            self.history.append(point)
            self.cost.read_timers()  # reading the log has waited for the device, so this does not
            self.observe(self, point)
        if self.position + 1 == self.steps:
            term_names.check_weights(self.passes.weighted_names, self.history)
        self.stage_step += 1

    @property
    def _next_stage(self) -> Stage | None:
        following = self.stages[self.stage_number + 1 :]
        return following[0] if following else None

    def _end_epoch(self) -> None:
        """Score the student at the end of each epoch of the last stage, and of one whose best epoch starts the next.

        Other stages are not scored: they may leave the head untrained.
        """
        following = self._next_stage
        if self.best is None or (following is not None and following.starts_from != "best"):
            return
        if self.stage_step == self.lengths[self.stage_number] or self.stage_step % self.batches_per_epoch == 0:
            with self.cost.evaluation.running():
                self._score_epoch(self.best, modules=None if following is None else self.modules)

    def _score_epoch(self, best: BestEpoch, modules: nn.ModuleDict | None) -> None:
        """Score the student after its last step. Lack of memory fails the run: the step cannot be taken again."""
        try:
            best.score_epoch(
                self.student,
                self.capture,
                step=self.position,
                epoch=self.stage_step / self.batches_per_epoch,
                modules=modules,
            )
        except micro_batching.InsufficientMemory as error:
            raise RuntimeError(
                "memory does not suffice to score one example after the epoch: lower training.max_length, or leave more"
                f" memory of the device free ({error})"
            ) from None

    def _end_stage(self) -> None:
        """Load the best weights if they are the result or the start of the next stage, and start that one."""
        following = self._next_stage
        if following is None:
            if self.best is not None:
                self.best.load_best_weights(self.student)
            return
        if following.starts_from == "best":
            self._load_best_epoch(following)
        self.enter_stage(self.stage_number + 1)

    def _load_best_epoch(self, following: Stage) -> None:
        """Load the stage's best epoch, for the next stage, and note it for the record."""
        start: dict[str, Any] = {"stage": self.stage.name, "step": self.position}
        if self.best is None:
            start["reason"] = "the last step: the suite does not select the best epoch"
        elif (chosen := self.best.chosen) is not None:
            start |= {"step": chosen.step, "epoch": chosen.epoch, "score": chosen.score}
            self.best.load_best_weights(self.student, self.modules)
            self.best.next_stage()
        self.starts[following.name] = start
