"""One student in training: its method, optimiser, random state, place and history."""

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
from harness.training import micro_batching, precision, term_names
from harness.training.best_epoch import BestEpoch
from harness.training.metrics_log import MetricsLog
from harness.training.optimizer import adamw, freeze, set_learning_rate
from harness.training.random_state import RandomState
from harness.training.run_cost import RunCost
from harness.training.schedule import learning_rate, stage_steps

LoggedValue = tuple[str, float | Tensor, float]
"""A value to log, by name, and its weight in the step's: the share of the examples that it is of."""


STATE_VERSION = 1
"""Of what `Run.state_dict` holds. Raise it when that changes: a checkpoint of another version is not loaded."""


class Run:
    """A run owns all that its result depends on, and its failure: nothing of it is shared but batches and teachers.

    `teachers` are the names, within the cohort, of the method's teachers. `best` chooses one of its epochs, where that
    is asked for. `observe` is told of every `LossPoint`.
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
        except Exception as error:  # the method's own mistake: this run has failed, those beside it have not
            self.fail(error)
        self._frozen: list[nn.Parameter] = []
        self.optimizer = self._new_optimizer()
        self.scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "fp16")
        self.micro_batch_size = training.micro_batch_size
        """Examples of one forward and backward pass, where a step is split; None: all of the batch's."""
        self.history: list[LossPoint] = []
        self.tokens = 0
        """Real tokens that the student has read."""
        self.padded_tokens = 0
        """The same with padding."""
        self.spent = RunCost(device)
        self._skipped = torch.zeros((), dtype=torch.int64, device=device)
        self._log = MetricsLog()
        self._weighed: set[str] = set()

    @property
    def stage(self) -> Stage:
        return self.stages[self.stage_number]

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return sum(self.lengths)

    @property
    def position(self) -> int:
        """Steps done: also the index, in the cohort's stream, of the batch to come."""
        return sum(self.lengths[: self.stage_number]) + self.stage_step

    @property
    def ended(self) -> bool:
        return self.error is not None or self.position >= self.steps

    @property
    def skipped_steps(self) -> int:
        """Steps that changed nothing, since their gradients overflowed in fp16."""
        return int(self._skipped)

    def step(self, batches: Sequence[Batch], teachers: Mapping[str, Sequence[ModelOutputs]]) -> None:
        """One optimisation step on the groups of a batch, with each teacher's outputs on each group. Each group counts
        by its share of the examples. Whatever goes wrong in it ends this run, and no other.

        Raises:
            InsufficientMemory: the batch cannot be split further. The run is as it was before the step.
        """
        try:
            with self.spent.student.running():
                self._optimise(batches, teachers)
            self._advance()
            if self.best is not None:
                self._look(self.best)
        except micro_batching.InsufficientMemory:
            raise
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception, during: str | None = None) -> None:
        """End the run with this error in one line, after `during` or the current step."""
        message = next(iter(str(error).splitlines()), "")
        during = during or f"step {self.position + 1} ({self.stage.name})"
        self.error = f"{during}: {type(error).__name__}: {message}"

    def release(self) -> None:
        """Give up the memory of a run that is over, or goes on from its checkpoint. It cannot be used any more."""
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        self.optimizer.param_groups.clear()  # which hold the weights that the modules had
        if self.best is not None:
            self.best.release()
        self.student.to("meta")
        self.modules.to("meta")

    def _optimise(self, batches: Sequence[Batch], teachers: Mapping[str, Sequence[ModelOutputs]]) -> None:
        """Gradients of the groups, whole or in parts for which memory suffices; then the weights."""
        self.student.train()
        self.modules.train()
        largest, random = max(len(batch.ids) for batch in batches), self.random.state_dict()
        examples = sum(len(batch.ids) for batch in batches)
        buffers = [
            (owner, name, buffer, buffer.clone())
            for owner in self.modules.modules()
            for name, buffer in owner.named_buffers(recurse=False)
        ]

        def begin() -> None:
            self.random.load_state_dict(random)
            for owner, name, buffer, before in buffers:
                buffer.copy_(before)
                setattr(owner, name, buffer)  # the method may have put another tensor in its place
            self.optimizer.zero_grad(set_to_none=True)

        def attempt(size: int) -> list[LoggedValue]:
            begin()
            said: list[LoggedValue] = []
            with self.random.active(), precision.matmuls(self.training, self.device):
                for index, batch in enumerate(batches):
                    taught = {name: groups[index] for name, groups in teachers.items()}
                    for rows in micro_batching.parts(len(batch.ids), size):
                        self._backward(batch, taught, rows, len(batch.ids[rows]) / examples, said)
            return said

        batch_dependent = bool(self.stage.batch_dependent)
        asked = largest if batch_dependent else min(largest, self.micro_batch_size or largest)
        try:
            said, size = micro_batching.fitting(attempt, asked, splits=not batch_dependent)
            with micro_batching.told():  # the optimiser makes its moments in the first step, before it changes a weight
                self._update()
        except micro_batching.InsufficientMemory as error:
            begin()
            raise micro_batching.InsufficientMemory(self._advice(asked, str(error))) from None
        if size < asked:
            self.micro_batch_size = size
        for name, value, weight in said:
            self._log.add(name, value, weight)

    def _advice(self, count: int, reason: str) -> str:
        what = "one example of"
        if self.stage.batch_dependent:
            what = (
                f"{count} examples, which {', '.join(sorted(self.stage.batch_dependent))} compare with each other, of"
            )
        return (
            f"memory does not suffice for {what} a batch: lower training.batch_size or training.max_length, take"
            f" training.precision bf16, or a smaller student ({reason})"
        )

    def _backward(
        self, batch: Batch, teachers: Mapping[str, ModelOutputs], rows: slice, share: float, said: list[LoggedValue]
    ) -> None:
        """Add the gradients of some of the batch's examples. Losses are means over examples: each part counts by its
        `share` of all examples of the step."""
        entire = len(batch.ids[rows]) == len(batch.ids)
        part = batch if entire else batch.part(rows)
        logged: list[LoggedValue] = []
        step = self._step(part, lambda name, value: logged.append((name, _plain(value), share)))
        needs = step.stage.needs
        with precision.autocast(self.training, self.device):
            student = self.capture.run(part.inputs, needs.student, answer_mask=part.answer_mask)
            read = zip(self.teachers, needs.teachers, strict=True) if needs.teachers else ()
            seen = [teachers[name].only(asked) if asked else ModelOutputs() for name, asked in read]
            terms = self.method.losses(step, part, student, seen if entire else [t.part(rows) for t in seen])
        weights = self.method.weights(step)
        total = weighted_sum(terms, weights)
        term_names.check(terms, {name for name, *_ in logged})
        # A term that an option has switched off may keep a weight of 0.
        self._weighed |= {name for name, weight in weights.items() if name not in terms and weight != 0}
        self.scaler.scale(total if share == 1 else total * share).backward()  # type: ignore[no-untyped-call]
        said += logged + [(name, _plain(term), share) for name, term in {term_names.TOTAL: total, **terms}.items()]

    def _update(self) -> None:
        """Change the weights by the gradients, and give the gradients' memory up to the runs that come next."""
        self.scaler.unscale_(self.optimizer)
        max_norm = self.training.max_grad_norm
        if max_norm is not None or self.scaler.is_enabled():
            parameters = [*self.student.parameters(), *self.modules.parameters()]
            norm = nn.utils.clip_grad_norm_(parameters, math.inf if max_norm is None else max_norm)
            if self.scaler.is_enabled():
                self._skipped += ~norm.isfinite()  # on the device: to look at it would wait for it
        set_learning_rate(self.optimizer, self._learning_rate())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def _step(self, batch: Batch, log: Callable[[str, float | Tensor], None]) -> Step:
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
        """The suite's entry for the stage decides, then the method's stage, then the suite's `training`."""
        sources = (self.overrides.get(self.stage.name), self.stage, self.training)

        def first(name: str) -> Any:
            return next(value for source in sources if (value := getattr(source, name, None)) is not None)

        return learning_rate(
            first("lr"), self.stage_step, self.lengths[self.stage_number], first("warmup_ratio"), first("schedule")
        )

    def _advance(self) -> None:
        """Log where that is due, count the step, and begin the next stage with an optimiser of its own."""
        last = self.stage_step + 1 == self.lengths[self.stage_number]
        if last or (self.position + 1) % self.training.log_every == 0:
            point = LossPoint(
                stage=self.stage.name, step=self.position + 1, lr=self._learning_rate(), terms=self._log.read()
            )
            self.history.append(point)
            self.spent.settle()  # the log has waited for the device: nothing waits here
            self.observe(self, point)
        if self.position + 1 == self.steps:
            term_names.check_weights(self._weighed, self.history)
        self.stage_step += 1
        if last and self.stage_number + 1 < len(self.stages):
            self.stage_number, self.stage_step = self.stage_number + 1, 0
            self.optimizer = self._new_optimizer()

    def _look(self, best: BestEpoch) -> None:
        """Score the student where an epoch of the last stage has ended. The earlier ones may leave the head untrained.
        With the last step the student gets the weights that are kept."""
        if self.stage_number + 1 < len(self.stages) or not self.stage_step:
            return
        if self.ended or self.stage_step % self.batches_per_epoch == 0:
            with self.spent.evaluation.running():
                best.look(
                    self.student, self.capture, step=self.position, epoch=self.stage_step / self.batches_per_epoch
                )
        if self.ended:
            best.settle(self.student)

    def _new_optimizer(self) -> torch.optim.AdamW:
        """Of the stage, over what it trains."""
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._frozen = []
        try:
            self._frozen = freeze(self.student, self.stage.frozen)
        except ValueError as error:
            self.fail(error)
        return adamw([self.student, self.modules], weight_decay=self.training.weight_decay)

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on as if it had never stopped."""
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
                "teacher_forwards": self.spent.teacher_forwards,
                "micro_batch_size": self.micro_batch_size,
                "skipped": self.skipped_steps,
            },
            "seconds": self.spent.seconds(),
        }

    def accepts(self, state: Mapping[str, Any]) -> bool:
        """Whether `load_state_dict` can load the state: this version wrote it, for modules of the same shapes."""

        def shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
            return {name: weight.shape for name, weight in weights.items()}

        return state.get("version") == STATE_VERSION and all(
            shapes(module.state_dict()) == shapes(state[name])
            for name, module in (("student", self.student), ("modules", self.modules))
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
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
        self.spent.resume(state["seconds"], counts["teacher_forwards"])


def _plain(value: float | Tensor) -> float | Tensor:
    """Without the graph that it came from."""
    return value.detach() if isinstance(value, Tensor) else value


def weighted_sum(terms: LossTerms, weights: Mapping[str, float]) -> Tensor:
    """The total of the terms; a term without a weight counts once.

    Raises:
        ValueError: there are no terms, or one is not a scalar.
    """
    if not terms:
        raise ValueError("the method's losses() returned no terms")
    for name, term in terms.items():
        if term.numel() != 1:
            raise ValueError(f"loss term {name!r} has shape {tuple(term.shape)}; a scalar is needed")
    return torch.stack([weights.get(name, 1.0) * term.reshape(()) for name, term in terms.items()]).sum()
