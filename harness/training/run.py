"""One student in training: its method, optimiser, random state, place and history."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.batch import Batch
from harness.events import RunId
from harness.method import LossTerms, Method, Stage, Step
from harness.models.capture import Capture
from harness.results.records import LossPoint
from harness.suite.schema import StageOverride, TrainingSpec
from harness.tensors import Tensors
from harness.training.losslog import LossLog
from harness.training.optim import adamw, set_learning_rate
from harness.training.rng import RandomState
from harness.training.schedule import learning_rate, stage_steps
from harness.training.stopwatch import Stopwatch


class Run:
    """A run owns all that its result depends on, and its failure: nothing of it is shared but batches and teachers.

    `teachers` are the names, within the cohort, of the method's teachers. `observe` is told of every `LossPoint`.
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
        observe: Callable[[Run, LossPoint], None] = lambda run, point: None,
    ) -> None:
        self.id = run_id
        self.method = method
        self.teachers = tuple(teachers)
        self.training = training
        self.device = device
        self.overrides = overrides
        self.batches_per_epoch = batches_per_epoch
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
        self.optimizer = self._new_optimizer()
        self.history: list[LossPoint] = []
        self.tokens = 0
        self.teacher_reads = 0.0
        """Teacher forwards that this run answers for: one that k runs read counts 1 / k for each."""
        self.watch = Stopwatch(device)
        self._log = LossLog()
        self._started = time.perf_counter()
        self._seconds_before = {"student": 0.0, "wall": 0.0}

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
    def student_seconds(self) -> float:
        return self._seconds_before["student"] + self.watch.seconds()

    @property
    def wall_seconds(self) -> float:
        return self._seconds_before["wall"] + time.perf_counter() - self._started

    def step(self, batch: Batch, teachers: Mapping[str, Tensors]) -> None:
        """One optimisation step. Whatever goes wrong in it ends this run, and no other."""
        try:
            with self.watch.running(), self.random.active():
                self._optimise(batch, teachers)
            self._advance()
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the run with this error, told in one line."""
        message = next(iter(str(error).splitlines()), "")
        self.error = f"step {self.position + 1} ({self.stage.name}): {type(error).__name__}: {message}"

    def _optimise(self, batch: Batch, teachers: Mapping[str, Tensors]) -> None:
        step = self._step(batch)
        needs = step.stage.needs
        self.student.train()
        self.modules.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16"):
            student = self.capture.run(batch.inputs, needs.student, answer_mask=batch.answer_mask)
            read = zip(self.teachers, needs.teachers, strict=bool(needs.teachers))
            seen = [teachers[name].only(names) for name, names in read] if needs.teachers else []
            terms = self.method.losses(step, batch, student, seen)
        total = weighted_sum(terms, self.method.weights(step))
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        if self.training.clip is not None:
            nn.utils.clip_grad_norm_([*self.student.parameters(), *self.modules.parameters()], self.training.clip)
        set_learning_rate(self.optimizer, self._learning_rate())
        self.optimizer.step()
        self._log.add_all({"loss": total, **terms})

    def _step(self, batch: Batch) -> Step:
        done, steps = self.stage_step, self.lengths[self.stage_number]
        return Step(
            stage=self.stage,
            index=done,
            steps=steps,
            epoch=done / self.batches_per_epoch,
            epochs=steps / self.batches_per_epoch,
            modules=self.modules,
            generator=self.random.generator,
            log=self._log.add,
            again=lambda needs: self.capture.run(batch.inputs, needs, answer_mask=batch.answer_mask),
        )

    def _learning_rate(self) -> float:
        override = self.overrides.get(self.stage.name)
        own = override.lr if override and override.lr is not None else self.stage.lr
        peak = own if own is not None else self.training.lr
        return learning_rate(peak, self.stage_step, self.lengths[self.stage_number], self.training.warmup)

    def _advance(self) -> None:
        """Log where that is due, count the step, and begin the next stage with an optimiser of its own."""
        last = self.stage_step + 1 == self.lengths[self.stage_number]
        if last or (self.position + 1) % self.training.log_every == 0:
            point = LossPoint(
                stage=self.stage.name, step=self.position + 1, lr=self._learning_rate(), terms=self._log.read()
            )
            self.history.append(point)
            self.observe(self, point)
        self.stage_step += 1
        if last and self.stage_number + 1 < len(self.stages):
            self.stage_number, self.stage_step = self.stage_number + 1, 0
            self.optimizer = self._new_optimizer()

    def _new_optimizer(self) -> torch.optim.AdamW:
        return adamw([self.student, self.modules], weight_decay=self.training.weight_decay)

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on as if it had never stopped."""
        return {
            "place": (self.stage_number, self.stage_step),
            "student": self.student.state_dict(),
            "modules": self.modules.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.state_dict(),
            "log": self._log.state_dict(),
            "history": [point.model_dump() for point in self.history],
            "counts": {"tokens": self.tokens, "teacher_reads": self.teacher_reads},
            "seconds": {"student": self.student_seconds, "wall": self.wall_seconds},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.stage_number, self.stage_step = state["place"]
        self.student.load_state_dict(state["student"])
        self.modules.load_state_dict(state["modules"])
        self.optimizer = self._new_optimizer()
        self.optimizer.load_state_dict(state["optimizer"])
        self.random.load_state_dict(state["random"])
        self._log.load_state_dict(state["log"], self.device)
        self.history = [LossPoint.model_validate(point) for point in state["history"]]
        self.tokens = state["counts"]["tokens"]
        self.teacher_reads = state["counts"]["teacher_reads"]
        self._seconds_before = dict(state["seconds"])


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
