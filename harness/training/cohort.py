"""The training loop of a cohort: runs that share batches and teachers and train in lockstep."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch

from harness.api.batch import Batch
from harness.api.model_outputs import ModelOutputs
from harness.config.training_schema import TrainingSpec
from harness.models.capture import Capture
from harness.training import micro_batching, precision
from harness.training.fused_execution import FusedExecution
from harness.training.prefetcher import Prefetcher
from harness.training.run import Run
from harness.training.shared_tensors import SharedTensors, SharedTensorsChanged
from harness.training.staged_stream import BatchSource
from harness.training.step_batch import StepBatch, TeacherOutputs, join_groups
from harness.training.step_execution import SequentialExecution, StepExecution, StepInputs
from harness.training.stopwatch import Lap
from harness.training.token_alignment import Alignment

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TeacherSource(Protocol):
    """Gives a teacher's outputs: a model (`Teacher`), or cached outputs (`CachedTeacher`)."""

    @property
    def tokenizer_id(self) -> str:
        """Which of the stream's tokenizations the teacher takes."""

    @property
    def passes(self) -> int:
        """Forward passes of a model per batch."""

    def forward(self, batch: Batch, needs: frozenset[str], training: TrainingSpec) -> ModelOutputs:
        """The outputs named in `needs`, on the batch's device, without gradients."""


class Teacher:
    """A frozen model in eval mode. `tokenizer_id` says which of the stream's tokenizations it takes."""

    passes = 1

    def __init__(self, name: str, model: PreTrainedModel, tokenizer_id: str, device: torch.device) -> None:
        self.name = name
        self.tokenizer_id = tokenizer_id
        self.model = model.to(device).eval().requires_grad_(False)
        self.capture = Capture(model)

        self.micro_batch_size: int | None = None
        """Examples per forward pass, once a whole batch has not fitted in memory; None: all."""

    def forward(
        self, batch: Batch, needs: frozenset[str], training: TrainingSpec, *, can_split: bool = True
    ) -> ModelOutputs:
        """The outputs of the whole batch, computed in micro-batches if it does not fit in memory.

        Raises:
            InsufficientMemory: memory does not suffice for one example, or for the batch if `can_split` is false.
        """
        count = len(batch.ids)
        requested = min(count, self.micro_batch_size or count)
        retry = micro_batching.MemoryRetry(requested if can_split else count, can_split=can_split)
        try:
            for size in retry:
                with retry:
                    outputs = self._forward(batch, needs, training, size)
        except micro_batching.InsufficientMemory as error:
            examples = "one example" if can_split else f"{count} examples at once"
            raise micro_batching.InsufficientMemory(
                f"memory does not suffice for {examples} in teacher {self.name}: lower training.max_length, or set"
                f" training.precision to bf16 ({error})"
            ) from None
        if retry.size < requested:
            self.micro_batch_size = retry.size
        return outputs

    def _forward(self, batch: Batch, needs: frozenset[str], training: TrainingSpec, size: int) -> ModelOutputs:
        """The outputs of the batch, from forward passes over at most `size` examples."""
        count, device = len(batch.ids), batch.labels.device
        parts = [batch] if size >= count else [batch.part(rows) for rows in micro_batching.slices(count, size)]
        # no_grad, not inference_mode: inference tensors cannot take part in a loss.
        with torch.no_grad(), precision.autocast(training, device), precision.matmuls(training, device):
            return ModelOutputs.joined(
                [self.capture.run(part.inputs, needs, answer_mask=part.answer_mask) for part in parts]
            )


@dataclass
class Cohort:
    """Runs that share a stream of batches, with their teachers by name. All students take `stream.tokenizer_id`."""

    stream: BatchSource
    teachers: Mapping[str, TeacherSource]
    runs: Sequence[Run]
    device: torch.device
    forwards: Counter[str] = field(default_factory=Counter)
    """Forward passes of each teacher."""
    deferred: list[Run] = field(default_factory=list)
    """Runs that did not fit in memory together with the others. They were checkpointed and released; train them again,
    in a cohort of their own."""

    def __post_init__(self) -> None:
        self._execution = execution_of(self.runs)
        self._alone_at: int | None = None
        """The position at which a run that stepped together with others changed shared tensors."""

    def train(self, *, stop: Callable[[], bool], checkpoint: Callable[[Run], None]) -> Iterator[Run]:
        """Train all runs, and yield each one when it ends, finished or failed.

        A run that resumes at a later step waits until the stream gets there. Once `stop` returns true, the current
        step is finished, every unfinished run is passed to `checkpoint`, and the iteration ends. Runs that do not fit
        in memory together with the others are moved to `deferred`.
        """
        yield from [run for run in self.runs if run.ended]  # failed before its first step
        active = [run for run in self.runs if not run.ended]
        with Prefetcher(self.stream, self.device) as prefetcher:
            while active and not stop():
                yield from self._train_step(prefetcher, active, checkpoint)
        for run in active:
            checkpoint(run)

    def _train_step(
        self, prefetcher: Prefetcher, active: list[Run], checkpoint: Callable[[Run], None]
    ) -> Iterator[Run]:
        """Take the earliest batch that a run waits for: teachers first, then a step of each run at that position.

        Runs that end are removed from `active` and yielded.
        """
        position = min(run.position for run in active)
        due = [run for run in active if run.position == position]
        try:
            with micro_batching.convert_memory_errors():
                data = prefetcher.at(position)
                teachers = self._teacher_outputs(position, data, due)
                failed = [run for run in due if run.ended]  # a teacher of it has failed
                groups = self._groups(position, [run for run in due if not run.ended])
        except micro_batching.InsufficientMemory as error:
            yield from self._defer(active, active[(len(active) + 1) // 2 :], str(error), checkpoint)
            return
        for run in failed:
            yield self._end(active, run)
        inputs, waiting = partial(self._inputs, data=data, teachers=teachers), deque(groups)
        while waiting:
            runs, shared = waiting.popleft(), SharedTensors(data, teachers)
            try:
                apart = self._execution.step(runs, inputs, shared)
            except SharedTensorsChanged:
                self._alone_at = position
                return
            except micro_batching.InsufficientMemory as error:
                if len(runs) == 1:
                    yield from self._defer(active, runs, str(error), checkpoint)
                waiting.extendleft([part for part in (runs[len(runs) // 2 :], runs[: len(runs) // 2]) if len(runs) > 1])
                continue
            waiting.extend([run] for run in apart)
            for run in runs:
                if run in apart:
                    continue
                padded = sum(batch.inputs["input_ids"].numel() for batch in inputs(run).batches)
                run.cost.add_tokens(data.tokens, padded)
                if run.ended:
                    yield self._end(active, run)
                elif run.training.checkpoint_every and run.position % run.training.checkpoint_every == 0:
                    checkpoint(run)
            if shared.modified:
                return  # the runs that have not taken this step get a new batch and new outputs

    def _groups(self, position: int, due: Sequence[Run]) -> list[list[Run]]:
        """The runs in the groups that step together; each alone where a run of such a group changed shared tensors."""
        return [[run] for run in due] if position == self._alone_at else self._execution.groups(due)

    def _end(self, active: list[Run], run: Run) -> Run:
        """Remove a run that has ended."""
        active.remove(run)
        self._execution.leave(run)
        return run

    def _defer(
        self, active: list[Run], runs: Sequence[Run], reason: str, checkpoint: Callable[[Run], None]
    ) -> Iterator[Run]:
        """Checkpoint and release `runs` for lack of memory. A run that is alone has failed, and is yielded."""
        if len(active) == 1:
            active[0].fail(micro_batching.InsufficientMemory(reason))
            yield self._end(active, active[0])
            return
        for run in runs:
            checkpoint(run)
            self._end(active, run).release()
            self.deferred.append(run)

    def _inputs(self, run: Run, data: StepBatch, teachers: Mapping[str, TeacherOutputs]) -> StepInputs:
        """What `run` steps on: the groups, or the whole batch if terms of its stage are batch-dependent."""
        tokenizer_id = self.stream.tokenizer_id
        if run.stage.batch_dependent and len(data.group_slices[tokenizer_id]) > 1:
            batches = [data.whole(tokenizer_id)]
            outputs = {name: [output.whole] for name, output in teachers.items() if output.whole is not None}
        else:
            batches = data.groups(tokenizer_id)
            outputs = {name: output.groups for name, output in teachers.items()}
        return StepInputs(batches, outputs, self._live_teachers(run))

    def _live_teachers(self, run: Run) -> list[Capture]:
        """The teachers that the method of `run` may run in its present stage."""
        teachers = [self.teachers[name] for name in run.teachers] if run.stage.live else []
        return [teacher.capture for teacher in teachers if isinstance(teacher, Teacher)]

    def _teacher_outputs(self, position: int, data: StepBatch, due: Sequence[Run]) -> dict[str, TeacherOutputs]:
        """Run each teacher once on each group, for the union of what its students need at this step.

        Outputs are aligned to the students' tokens. A teacher that fails fails its own students only. A run that needs
        the whole batch gets the joined outputs of the groups, so its inputs do not depend on the other runs.
        """
        students: dict[str, list[Run]] = {}
        needs: dict[str, frozenset[str]] = {}
        for run in due:
            for name, names in zip(run.teachers, run.needs().teachers, strict=False):
                if names:
                    students.setdefault(name, []).append(run)
                    needs[name] = needs.get(name, frozenset()) | names
        outputs: dict[str, TeacherOutputs] = {}
        alignments: dict[str, list[Alignment]] = {}
        for name, names in needs.items():
            teacher, lap = self.teachers[name], Lap(self.device)
            try:
                groups = self._forward(teacher, names, students[name][0].training, position, data, alignments)
                needs_whole = any(run.stage.batch_dependent for run in students[name])
                outputs[name] = self._with_whole(groups, data) if needs_whole else TeacherOutputs(groups)
            except Exception as error:
                if micro_batching.ran_out_of_memory(error):
                    raise
                for run in students[name]:
                    run.fail(error)
                continue
            lap.end()
            self.forwards[name] += teacher.passes
            for run in students[name]:
                run.cost.charge(lap, passes=teacher.passes, among=len(students[name]))
        return outputs

    def _forward(
        self,
        teacher: TeacherSource,
        needs: frozenset[str],
        training: TrainingSpec,
        position: int,
        data: StepBatch,
        alignments: dict[str, list[Alignment]],
    ) -> list[ModelOutputs]:
        """One teacher's outputs on each group, at the students' tokens. `alignments` caches those of this step."""
        tokenizer_id = teacher.tokenizer_id
        groups = [teacher.forward(group, needs, training) for group in data.groups(tokenizer_id)]
        if tokenizer_id == self.stream.tokenizer_id:
            return groups
        if tokenizer_id not in alignments:
            alignments[tokenizer_id] = self.stream.alignments(position, tokenizer_id, self.device)
        return [alignment.align(group) for alignment, group in zip(alignments[tokenizer_id], groups, strict=True)]

    def _with_whole(self, groups: list[ModelOutputs], data: StepBatch) -> TeacherOutputs:
        """The outputs of the groups, and joined to those of the whole batch if there are several groups."""
        if len(groups) == 1:
            return TeacherOutputs(groups)
        batch = data.whole(self.stream.tokenizer_id)
        return TeacherOutputs(groups, join_groups(groups, batch.inputs["input_ids"].shape[1], batch.kind))


def execution_of(runs: Sequence[Run]) -> StepExecution:
    """The execution that the suite sets for a cohort."""
    fused = bool(runs) and runs[0].training.execution == "fused"
    return FusedExecution() if fused else SequentialExecution()
