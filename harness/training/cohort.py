"""The training loop of a cohort: runs that share batches and teachers and train in lockstep."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from harness.models.capture import Capture
from harness.training import micro_batching
from harness.training.fused_execution import FusedExecution
from harness.training.prefetcher import Prefetcher
from harness.training.run import Run
from harness.training.shared_tensors import SharedTensors, SharedTensorsChanged
from harness.training.staged_stream import BatchSource
from harness.training.step_batch import StepBatch, TeacherOutputs
from harness.training.step_execution import SequentialExecution, StepExecution, StepInputs
from harness.training.teacher import Teacher, TeacherSource
from harness.training.teacher_passes import TeacherPasses

Checkpoint = Callable[[Run], None]
"""Saves a run that has not ended."""


@dataclass
class Cohort:
    """Runs that share a stream of batches, with their teachers by name. All students take `stream.tokenizer_id`."""

    stream: BatchSource
    teachers: Mapping[str, TeacherSource]
    runs: Sequence[Run]
    device: torch.device
    deferred: list[Run] = field(default_factory=list)
    """Runs that did not fit in memory together with the others. They were checkpointed and released; train them again,
    in a cohort of their own."""

    def __post_init__(self) -> None:
        self.teacher_passes = TeacherPasses(self.stream, self.teachers, self.device)
        self._execution = execution_of(self.runs)
        self._active: list[Run] = []
        self._alone_at: int | None = None
        """The position at which a run that stepped together with others changed shared tensors."""

    def train(self, *, stop: Callable[[], bool], checkpoint: Checkpoint) -> Iterator[Run]:
        """Train all runs, and yield each one when it ends, finished or failed.

        A run that resumes at a later step waits until the stream gets there. Once `stop` returns true, the current
        step is finished, every unfinished run is passed to `checkpoint`, and the iteration ends. Runs that do not fit
        in memory together with the others are moved to `deferred`.
        """
        yield from [run for run in self.runs if run.ended]  # failed before its first step
        self._active = [run for run in self.runs if not run.ended]
        with Prefetcher(self.stream, self.device) as prefetcher:
            while self._active and not stop():
                yield from self._train_step(prefetcher, checkpoint)
        for run in self._active:
            checkpoint(run)

    def _train_step(self, prefetcher: Prefetcher, checkpoint: Checkpoint) -> Iterator[Run]:
        """Take the earliest batch that a run waits for: teachers first, then a step of each run at that position.

        Yields the runs that end.
        """
        position = min(run.position for run in self._active)
        due = [run for run in self._active if run.position == position]
        try:
            with micro_batching.convert_memory_errors():
                data = prefetcher.at(position)
                teachers = self.teacher_passes.outputs(position, data, due)
                failed = [run for run in due if run.ended]  # as a teacher or the method raised
                groups = self._groups(position, [run for run in due if not run.ended])
        except micro_batching.InsufficientMemory as error:
            yield from self._defer(self._active[(len(self._active) + 1) // 2 :], str(error), checkpoint)
            return
        for run in failed:
            yield self._end(run)
        yield from self._step_groups(position, groups, data, teachers, checkpoint)

    def _groups(self, position: int, due: Sequence[Run]) -> list[list[Run]]:
        """The runs in the groups that step together; each alone where a run of such a group changed shared tensors."""
        return [[run] for run in due] if position == self._alone_at else self._execution.groups(due)

    def _step_groups(
        self,
        position: int,
        groups: Sequence[list[Run]],
        data: StepBatch,
        teachers: Mapping[str, TeacherOutputs],
        checkpoint: Checkpoint,
    ) -> Iterator[Run]:
        """Let the groups step one after another; a group that does not fit in memory is halved. Yields runs that end.

        Stops when a method has changed shared tensors: the runs that have not taken this step get a new batch and new
        outputs.
        """
        waiting = deque(groups)
        while waiting:
            runs, shared = waiting.popleft(), SharedTensors(data, teachers)
            inputs = {run: self.inputs_of(run, data, teachers) for run in runs}
            try:
                apart = self._execution.step(inputs, shared)
            except SharedTensorsChanged:
                self._alone_at = position
                return
            except micro_batching.InsufficientMemory as error:
                if len(runs) == 1:
                    yield from self._defer(runs, str(error), checkpoint)
                else:
                    middle = len(runs) // 2
                    waiting.extendleft([runs[middle:], runs[:middle]])  # the first half is the next
                continue
            waiting.extend([run] for run in apart)
            for run in runs:
                if run not in apart:
                    run.cost.add_tokens(data.tokens, inputs[run].padded_tokens)
                    yield from self._after_step(run, checkpoint)
            if shared.modified:
                return

    def _after_step(self, run: Run, checkpoint: Checkpoint) -> Iterator[Run]:
        """Yield a run that has ended with the step; checkpoint one that has to be."""
        every = run.training.checkpoint_every
        if run.ended:
            yield self._end(run)
        elif every and run.position % every == 0:
            checkpoint(run)

    def _end(self, run: Run) -> Run:
        """Remove a run that has ended or leaves the cohort."""
        self._active.remove(run)
        self._execution.leave(run)
        return run

    def _defer(self, runs: Sequence[Run], reason: str, checkpoint: Checkpoint) -> Iterator[Run]:
        """Checkpoint and release `runs` for lack of memory. A run that is alone has failed, and is yielded."""
        if len(self._active) == 1:
            run = self._active[0]
            run.fail(micro_batching.InsufficientMemory(reason))
            yield self._end(run)
            return
        for run in runs:
            checkpoint(run)
            self._end(run).release()
            self.deferred.append(run)

    def inputs_of(self, run: Run, data: StepBatch, teachers: Mapping[str, TeacherOutputs]) -> StepInputs:
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


def execution_of(runs: Sequence[Run]) -> StepExecution:
    """The execution that the suite sets for a cohort."""
    fused = bool(runs) and runs[0].training.execution == "fused"
    return FusedExecution() if fused else SequentialExecution()
