"""A run in training: its student, method, optimizer, random state, position and history."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.api.batch import Batch
from harness.api.events import LossPoint, RunId
from harness.api.method import LossTerms, Method, Stage, Step
from harness.api.model_outputs import ModelOutputs
from harness.config.schema import StageOverride, TrainingSpec
from harness.models.capture import Capture
from harness.storage.disk_errors import DiskError
from harness.training import micro_batching, precision, term_names
from harness.training.best_epoch import BestEpoch
from harness.training.metrics_log import MetricsLog
from harness.training.optimizer import adamw, freeze, set_learning_rate
from harness.training.random_state import RandomState
from harness.training.run_cost import RunCost
from harness.training.schedule import learning_rate, stage_steps

LoggedValue = tuple[str, float | Tensor, float]
"""A value to log: its name, the value, and its weight, the share of the step's examples that it was computed on."""


STATE_VERSION = 1
"""Version of the format of `Run.state_dict`. Raise it with the format: checkpoints of other versions are not loaded."""


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
        self._frozen: list[nn.Parameter] = []
        self.optimizer = self._new_optimizer()
        self.scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "fp16")
        self.micro_batch_size = training.micro_batch_size
        """Examples per forward and backward pass; None: those of a whole batch."""
        self.history: list[LossPoint] = []
        self.tokens = 0
        """Real tokens that the student has processed."""
        self.padded_tokens = 0
        """Tokens that the student has processed, with padding."""
        self.cost = RunCost(device)
        self._skipped = torch.zeros((), dtype=torch.int64, device=device)
        self._log = MetricsLog()
        self._weighted_names: set[str] = set()

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
        """Steps without a weight update, because gradients overflowed in fp16. Waits for the device."""
        return int(self._skipped)

    def step(self, batches: Sequence[Batch], teachers: Mapping[str, Sequence[ModelOutputs]]) -> None:
        """Take one optimization step on a batch, given as groups, with each teacher's outputs on each group.

        A group counts by its share of the examples. Any error but `InsufficientMemory` ends this run only.

        Raises:
            InsufficientMemory: the batch cannot be split further. The run is as it was before the step.
            DiskError: the data on which the epoch is scored cannot be read or stored.
        """
        try:
            with self.cost.student.running():
                self._optimize(batches, teachers)
            self._advance()
            if self.best is not None:
                self._score_epoch(self.best)
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
        if self.best is not None:
            self.best.release()
        self.student.to("meta")
        self.modules.to("meta")

    def _optimize(self, batches: Sequence[Batch], teachers: Mapping[str, Sequence[ModelOutputs]]) -> None:
        """Accumulate the gradients of all examples, then update the weights.

        If memory does not suffice, the gradients are computed again in smaller micro-batches, from the same random
        state and buffers.
        """
        self.student.train()
        self.modules.train()
        before = _StepState(self)
        can_split = not self.stage.batch_dependent
        largest = max(len(batch.ids) for batch in batches)
        requested = min(largest, self.micro_batch_size or largest) if can_split else largest
        retry = micro_batching.MemoryRetry(requested, can_split=can_split)
        try:
            for size in retry:
                with retry:
                    before.restore()
                    logged = self._accumulate_gradients(batches, teachers, size)
            # The optimizer allocates its moments in the first step, before it changes a weight.
            with micro_batching.convert_memory_errors():
                self._update()
        except micro_batching.InsufficientMemory as error:
            before.restore()
            raise micro_batching.InsufficientMemory(self._memory_message(requested, str(error))) from None
        if retry.size < requested:
            self.micro_batch_size = retry.size
        for name, value, weight in logged:
            self._log.add(name, value, weight)

    def _memory_message(self, count: int, reason: str) -> str:
        examples = "one example of"
        if self.stage.batch_dependent:
            terms = ", ".join(sorted(self.stage.batch_dependent))
            examples = f"{count} examples, which {terms} compare with each other, of"
        return (
            f"memory does not suffice for {examples} a batch: lower training.batch_size or training.max_length, set"
            f" training.precision to bf16, or use a smaller student ({reason})"
        )

    def _accumulate_gradients(
        self, batches: Sequence[Batch], teachers: Mapping[str, Sequence[ModelOutputs]], size: int
    ) -> list[LoggedValue]:
        """Forward and backward passes over micro-batches of at most `size` examples; returns the values to log."""
        examples = sum(len(batch.ids) for batch in batches)
        logged: list[LoggedValue] = []
        with self.random.active(), precision.matmuls(self.training, self.device):
            for index, batch in enumerate(batches):
                outputs = {name: groups[index] for name, groups in teachers.items()}
                for rows in micro_batching.slices(len(batch.ids), size):
                    logged += self._backward(batch, outputs, rows, len(batch.ids[rows]) / examples)
        return logged

    def _backward(
        self, batch: Batch, teachers: Mapping[str, ModelOutputs], rows: slice, share: float
    ) -> list[LoggedValue]:
        """Add the gradients of the batch's `rows`; returns the values to log.

        Losses are means over examples, so each micro-batch counts by its `share` of all examples of the step.
        """
        is_whole = len(batch.ids[rows]) == len(batch.ids)
        part = batch if is_whole else batch.part(rows)
        logged: list[LoggedValue] = []
        step = self._step(part, lambda name, value: logged.append((name, _detached(value), share)))
        needs = step.stage.needs
        with precision.autocast(self.training, self.device):
            student = self.capture.run(part.inputs, needs.student, answer_mask=part.answer_mask)
            needed = zip(self.teachers, needs.teachers, strict=True) if needs.teachers else ()
            outputs = [teachers[name].only(names) if names else ModelOutputs() for name, names in needed]
            terms = self.method.losses(
                step, part, student, outputs if is_whole else [output.part(rows) for output in outputs]
            )
        weights = self.method.weights(step)
        total = weighted_sum(terms, weights)
        term_names.check(terms, {name for name, *_ in logged})
        # A term that an option has switched off may keep a weight of 0.
        self._weighted_names |= {name for name, weight in weights.items() if name not in terms and weight != 0}
        self.scaler.scale(total if share == 1 else total * share).backward()  # type: ignore[no-untyped-call]
        return logged + [(name, _detached(term), share) for name, term in {term_names.TOTAL: total, **terms}.items()]

    def _update(self) -> None:
        """Clip the gradients, update the weights, and free the gradients."""
        self.scaler.unscale_(self.optimizer)
        max_norm = self.training.max_grad_norm
        if max_norm is not None or self.scaler.is_enabled():
            parameters = [*self.student.parameters(), *self.modules.parameters()]
            norm = nn.utils.clip_grad_norm_(parameters, math.inf if max_norm is None else max_norm)
            if self.scaler.is_enabled():
                self._skipped += ~norm.isfinite()  # stays on the device: no synchronization
        set_learning_rate(self.optimizer, self._learning_rate())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def _step(self, batch: Batch, log: Callable[[str, float | Tensor], None]) -> Step:
        """The current step, as the method's `losses` and `weights` receive it."""
        done, steps = self.stage_step, self.lengths[self.stage_number]
        return Step(
            stage=self.stage,
            index=done,
            steps=steps,
            epoch=done / self.batches_per_epoch,
            epochs=steps / self.batches_per_epoch,
            modules=self.modules,
            generator=self.random.generator,
            log=log,
            forward_student=lambda needs: self.capture.run(batch.inputs, needs, answer_mask=batch.answer_mask),
        )

    def _learning_rate(self) -> float:
        """Learning rate of the current step: the suite's setting for the stage, else the stage's, else `training`'s."""
        sources = (self.overrides.get(self.stage.name), self.stage, self.training)

        def first(name: str) -> Any:
            return next(value for source in sources if (value := getattr(source, name, None)) is not None)

        return learning_rate(
            first("lr"), self.stage_step, self.lengths[self.stage_number], first("warmup_ratio"), first("schedule")
        )

    def _advance(self) -> None:
        """Log if due, count the step, and start the next stage with a new optimizer."""
        last = self.stage_step + 1 == self.lengths[self.stage_number]
        if last or (self.position + 1) % self.training.log_every == 0:
            point = LossPoint(
                stage=self.stage.name, step=self.position + 1, lr=self._learning_rate(), terms=self._log.read()
            )
            self.history.append(point)
            self.cost.read_timers()  # reading the log has waited for the device, so this does not
            self.observe(self, point)
        if self.position + 1 == self.steps:
            term_names.check_weights(self._weighted_names, self.history)
        self.stage_step += 1
        if last and self.stage_number + 1 < len(self.stages):
            self.stage_number, self.stage_step = self.stage_number + 1, 0
            self.optimizer = self._new_optimizer()

    def _score_epoch(self, best: BestEpoch) -> None:
        """Score the student at the end of each epoch of the last stage; after the last step, load the best weights.

        Earlier stages are not scored: they may leave the head untrained.
        """
        if self.stage_number + 1 < len(self.stages) or not self.stage_step:
            return
        if self.ended or self.stage_step % self.batches_per_epoch == 0:
            with self.cost.evaluation.running():
                best.score_epoch(
                    self.student, self.capture, step=self.position, epoch=self.stage_step / self.batches_per_epoch
                )
        if self.ended:
            best.load_best_weights(self.student)

    def _new_optimizer(self) -> torch.optim.AdamW:
        """An optimizer of the parameters that the current stage trains."""
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._frozen = []
        try:
            self._frozen = freeze(self.student, self.stage.frozen)
        except ValueError as error:
            self.fail(error)
        return adamw([self.student, self.modules], weight_decay=self.training.weight_decay)

    def state_dict(self) -> dict[str, Any]:
        """All state that the run needs to resume with the same bits."""
        return {
            "version": STATE_VERSION,
            "place": (self.stage_number, self.stage_step),
            "student": self.student.state_dict(),
            "modules": self.modules.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.state_dict(),
            "log": self._log.state_dict(),
            "history": [point.model_dump() for point in self.history],
            "scaler": self.scaler.state_dict(),
            "best": self.best.state_dict() if self.best is not None else None,
            "counts": {
                "tokens": self.tokens,
                "padded_tokens": self.padded_tokens,
                "teacher_forwards": self.cost.teacher_forwards,
                "cohort_size": self.cost.cohort_size,
                "micro_batch_size": self.micro_batch_size,
                "skipped": self.skipped_steps,
            },
            "seconds": self.cost.seconds(),
        }

    def can_load(self, state: Mapping[str, Any]) -> bool:
        """Whether `load_state_dict` can load `state`: its version is this one, and all weights have the same shapes."""

        def shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
            return {name: weight.shape for name, weight in weights.items()}

        return state.get("version") == STATE_VERSION and all(
            shapes(module.state_dict()) == shapes(state[name])
            for name, module in (("student", self.student), ("modules", self.modules))
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a `state_dict`."""
        self.stage_number, self.stage_step = state["place"]
        self.student.load_state_dict(state["student"])
        self.modules.load_state_dict(state["modules"])
        self.optimizer = self._new_optimizer()
        self.optimizer.load_state_dict(state["optimizer"])
        self.random.load_state_dict(state["random"])
        self._log.load_state_dict(state["log"], self.device)
        self.history = [LossPoint.model_validate(point) for point in state["history"]]
        self.scaler.load_state_dict(state["scaler"])
        counts = state["counts"]
        if self.best is not None:
            self.best.load_state_dict(state["best"])
        self.tokens = counts["tokens"]
        self.padded_tokens = counts["padded_tokens"]
        self.micro_batch_size = counts["micro_batch_size"]
        self._skipped.fill_(counts["skipped"])
        self.cost.resume(state["seconds"], counts["teacher_forwards"], counts.get("cohort_size"))


class _StepState:
    """What an attempt at a step changes: random state, the method's buffers, and gradients."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._random = run.random.state_dict()
        self._buffers = [
            (module, name, buffer, buffer.clone())
            for module in run.modules.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]

    def restore(self) -> None:
        """Put random state and buffers back, and drop the gradients."""
        self._run.random.load_state_dict(self._random)
        for module, name, buffer, value in self._buffers:
            buffer.copy_(value)
            setattr(module, name, buffer)  # the method may have assigned another tensor
        self._run.optimizer.zero_grad(set_to_none=True)


def _detached(value: float | Tensor) -> float | Tensor:
    return value.detach() if isinstance(value, Tensor) else value


def weighted_sum(terms: LossTerms, weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of the terms, a scalar; terms without a weight have weight 1.

    Raises:
        ValueError: there are no terms, one is not a scalar tensor, or `weights` is no mapping of numbers.
    """
    term_names.check_form(terms, weights)
    return torch.stack([weights.get(name, 1.0) * term.reshape(()) for name, term in terms.items()]).sum()
