"""Runs that see the same batches, trained side by side: the loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from transformers import PreTrainedModel

from harness.api.batch import Batch
from harness.api.model_outputs import ModelOutputs
from harness.config.schema import TrainingSpec
from harness.models.capture import Capture
from harness.training import micro_batching, precision
from harness.training.prefetcher import Prefetcher
from harness.training.run import Run
from harness.training.staged_stream import BatchSource
from harness.training.step_batch import StepBatch, TeacherOutputs, join_groups
from harness.training.stopwatch import Lap
from harness.training.token_alignment import Alignment


class Source(Protocol):
    """Where a teacher's tensors come from."""

    @property
    def reader(self) -> str:
        """Which of the stream's batches it reads."""

    @property
    def passes(self) -> int:
        """Forward passes of a model for one batch."""

    def forward(self, batch: Batch, needs: frozenset[str], training: TrainingSpec) -> ModelOutputs:
        """What `needs` name, on the batch's device, without gradients."""


class Teacher:
    """A frozen model: in eval mode, without gradients. `reader` says which of the stream's batches it reads."""

    passes = 1

    def __init__(self, name: str, model: PreTrainedModel, reader: str, device: torch.device) -> None:
        self.name = name
        self.reader = reader
        self.model = model.to(device).eval().requires_grad_(False)
        self.capture = Capture(model)

        self.micro_batch_size: int | None = None
        """Examples of one forward pass, once memory has not sufficed for a batch."""

    def forward(
        self, batch: Batch, needs: frozenset[str], training: TrainingSpec, *, splits: bool = True
    ) -> ModelOutputs:
        """The tensors of the whole batch; in parts, unless it is not to be split, if memory does not suffice for it.

        Raises:
            InsufficientMemory: it does not suffice for one example either, or for what is not to be split.
        """
        count, device = len(batch.ids), batch.labels.device

        def attempt(size: int) -> ModelOutputs:
            parts = [batch] if size >= count else [batch.part(rows) for rows in micro_batching.parts(count, size)]
            # no_grad, not inference_mode, whose tensors cannot enter a loss.
            with torch.no_grad(), precision.autocast(training, device), precision.matmuls(training, device):
                return ModelOutputs.joined(
                    [self.capture.run(p.inputs, needs, answer_mask=p.answer_mask) for p in parts]
                )

        asked = min(count, self.micro_batch_size or count)
        try:
            tensors, size = micro_batching.fitting(attempt, asked if splits else count, splits=splits)
        except micro_batching.InsufficientMemory as error:
            what = "one example" if splits else f"{count} examples at once"
            raise micro_batching.InsufficientMemory(
                f"memory does not suffice for {what} in teacher {self.name}: lower training.max_length, or take"
                f" training.precision bf16 ({error})"
            ) from None
        if size < asked:
            self.micro_batch_size = size
        return tensors


@dataclass
class Cohort:
    """Runs that share a stream of batches, and the teachers that they name. All students read with `stream.reader`."""

    stream: BatchSource
    teachers: Mapping[str, Source]
    runs: Sequence[Run]
    device: torch.device
    forwards: Counter[str] = field(default_factory=Counter)
    """Forward passes of each teacher."""
    apart: list[Run] = field(default_factory=list)
    """Runs for which memory did not suffice beside the others: given to `checkpoint`, to go on from there by
    themselves. They hold nothing any more."""

    @property
    def teacher_forwards(self) -> int:
        return sum(self.forwards.values())

    def train(self, *, stop: Callable[[], bool], checkpoint: Callable[[Run], None]) -> Iterator[Run]:
        """Train to the end, and yield each run as it ends, finished or failed.

        A run that was resumed further on waits until the stream gets there. When `stop` says so, the step is finished,
        the unfinished runs are given to `checkpoint`, and the iteration ends. Those for which memory does not suffice
        beside others are set `apart`.
        """
        yield from [run for run in self.runs if run.ended]  # failed before its first step
        waiting = [run for run in self.runs if not run.ended]
        with Prefetcher(self.stream, self.device) as ahead:
            yield from self._steps(ahead.at, waiting, stop, checkpoint)
        for run in waiting:
            checkpoint(run)

    def _steps(
        self,
        batch_at: Callable[[int], StepBatch],
        waiting: list[Run],
        stop: Callable[[], bool],
        checkpoint: Callable[[Run], None],
    ) -> Iterator[Run]:
        """Until nobody is `waiting` any more, or `stop` says so. Gives those that end, who wait no longer."""
        while waiting and not stop():
            position = min(run.position for run in waiting)
            due = [run for run in waiting if run.position == position]
            try:
                with micro_batching.told():
                    data = batch_at(position)
                    teachers = self._teach(position, data, due)
            except micro_batching.InsufficientMemory as error:
                yield from self._make_room(waiting, waiting[(len(waiting) + 1) // 2 :], str(error), checkpoint)
                continue
            for run in due:
                before = _versions(data, teachers)
                if run.error is None:  # its teachers have not failed it
                    try:
                        self._step(run, data, teachers)
                    except micro_batching.InsufficientMemory as error:
                        yield from self._make_room(waiting, [run], str(error), checkpoint)
                        continue
                meddled = _versions(data, teachers) != before
                if meddled:
                    run.fail(TypeError("the method changed in place what it shares with other runs: batch or teacher"))
                if run.ended:
                    waiting.remove(run)
                    yield run
                elif run.training.checkpoint_every and run.position % run.training.checkpoint_every == 0:
                    checkpoint(run)
                if meddled:
                    break  # the others, who still stand at this place, are given new ones
            del teachers  # before the next ones are made

    def _make_room(
        self, waiting: list[Run], runs: Sequence[Run], reason: str, checkpoint: Callable[[Run], None]
    ) -> Iterator[Run]:
        """Set `runs` apart, with a checkpoint. One that has the memory to itself already has failed."""
        if len(waiting) == 1:
            run = waiting.pop()
            run.fail(micro_batching.InsufficientMemory(reason))
            yield run
            return
        for run in runs:
            checkpoint(run)
            run.release()
            waiting.remove(run)
            self.apart.append(run)

    def _step(self, run: Run, data: StepBatch, teachers: Mapping[str, TeacherOutputs]) -> None:
        """One step of the run: group by group, or on the whole batch if its stage compares examples with each other."""
        reader = self.stream.reader
        if run.stage.batch_dependent and len(data.cuts[reader]) > 1:
            whole = {name: [outputs.whole] for name, outputs in teachers.items() if outputs.whole is not None}
            batches, seen = [data.whole(reader)], whole
        else:
            batches, seen = data.groups(reader), {name: outputs.groups for name, outputs in teachers.items()}
        run.step(batches, seen)
        run.tokens += data.tokens
        run.padded_tokens += sum(batch.inputs["input_ids"].numel() for batch in batches)

    def _teach(self, position: int, data: StepBatch, due: Sequence[Run]) -> dict[str, TeacherOutputs]:
        """Each teacher once on each group, for all that any of the runs needs of it; in the students' tokens. One that
        fails takes those that read it along, and no other.

        A run that needs the whole batch reads the joined outputs of the groups: so what it sees does not depend on
        the other runs.
        """
        readers: dict[str, list[Run]] = {}
        needs: dict[str, frozenset[str]] = {}
        for run in due:
            for name, names in zip(run.teachers, run.stage.needs.teachers, strict=False):
                if names:
                    readers.setdefault(name, []).append(run)
                    needs[name] = needs.get(name, frozenset()) | names
        outputs: dict[str, TeacherOutputs] = {}
        alignments: dict[str, list[Alignment]] = {}
        for name, names in needs.items():
            teacher = self.teachers[name]
            lap = Lap(self.device)
            try:
                training = readers[name][0].training
                groups = [teacher.forward(group, names, training) for group in data.groups(teacher.reader)]
                if teacher.reader != self.stream.reader:
                    if teacher.reader not in alignments:
                        alignments[teacher.reader] = self.stream.alignments(position, teacher.reader, self.device)
                    own = alignments[teacher.reader]
                    groups = [alignment.carry(group) for alignment, group in zip(own, groups, strict=True)]
                outputs[name] = self._outputs(
                    groups, data, whole=any(run.stage.batch_dependent for run in readers[name])
                )
            except Exception as error:
                if micro_batching.ran_out_of_memory(error):
                    raise
                for run in readers[name]:
                    run.fail(error)
                continue
            lap.end()
            self.forwards[name] += teacher.passes
            for run in readers[name]:
                run.spent.charge(lap, among=len(readers[name]))
            for run in due:
                run.spent.teacher_forwards += teacher.passes
        return outputs

    def _outputs(self, groups: list[ModelOutputs], data: StepBatch, *, whole: bool) -> TeacherOutputs:
        """`whole`: some run needs the whole batch."""
        if not whole or len(groups) == 1:
            return TeacherOutputs(groups)
        batch = data.whole(self.stream.reader)
        return TeacherOutputs(groups, join_groups(groups, batch.inputs["input_ids"].shape[1], batch.kind))


def _versions(data: StepBatch, teachers: Mapping[str, TeacherOutputs]) -> list[int]:
    """The number of in-place changes of every tensor that runs share. A view counts with the tensor it is a view of."""
    shared: list[Batch | TeacherOutputs] = [*data.batches.values(), *teachers.values()]
    return [tensor._version for each in shared for tensor in each.tensors()]
