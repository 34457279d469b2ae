"""Runs that see the same batches, trained side by side: the loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from harness.batch import Batch
from harness.models.capture import Capture
from harness.tensors import Tensors
from harness.training.alignment import Alignment
from harness.training.data import Stream
from harness.training.run import Run
from harness.training.stopwatch import Stopwatch


class Teacher:
    """A frozen model: in eval mode, without gradients. `reader` says which of the stream's batches it reads."""

    def __init__(self, name: str, model: PreTrainedModel, reader: str, device: torch.device) -> None:
        self.name = name
        self.reader = reader
        self.model = model.to(device).eval().requires_grad_(False)
        self.capture = Capture(model)

    def forward(self, batch: Batch, needs: frozenset[str], *, autocast: bool) -> Tensors:
        # no_grad, not inference_mode, whose tensors cannot enter a loss.
        with torch.no_grad(), torch.autocast(batch.labels.device.type, torch.bfloat16, enabled=autocast):
            return self.capture.run(batch.inputs, needs, answer_mask=batch.answer_mask)


@dataclass
class Cohort:
    """Runs that share a stream of batches, and the teachers that they name. All students read with `stream.reader`."""

    stream: Stream
    teachers: Mapping[str, Teacher]
    runs: Sequence[Run]
    device: torch.device
    forwards: Counter[str] = field(default_factory=Counter)
    """Forward passes of each teacher."""

    def __post_init__(self) -> None:
        self.watch = Stopwatch(self.device)

    @property
    def teacher_forwards(self) -> int:
        return sum(self.forwards.values())

    def teacher_seconds(self, run: Run) -> float:
        """The run's part of the teachers' time: each forward's is shared evenly among the runs that read it."""
        return self.watch.seconds() * run.teacher_reads / max(1, self.teacher_forwards)

    def train(self, *, stop: Callable[[], bool], checkpoint: Callable[[Run], None]) -> Iterator[Run]:
        """Train to the end, and yield each run as it ends, finished or failed.

        A run that was resumed further on waits until the stream gets there. When `stop` says so, the step is finished,
        the unfinished runs are given to `checkpoint`, and the iteration ends.
        """
        yield from [run for run in self.runs if run.ended]  # failed before its first step
        waiting = [run for run in self.runs if not run.ended]
        while waiting and not stop():
            position = min(run.position for run in waiting)
            due = [run for run in waiting if run.position == position]
            batches, tokens = self.stream.at(position, self.device)
            teachers = self._teach(position, batches, due)
            for run in due:
                before = _versions(batches, teachers)
                run.step(batches[self.stream.reader], teachers)
                run.tokens += tokens
                if _versions(batches, teachers) != before:
                    run.fail(TypeError("the method changed in place what it shares with other runs: batch or teacher"))
                    batches, _ = self.stream.at(position, self.device)
                    teachers = self._teach(position, batches, due)
                if run.ended:
                    waiting.remove(run)
                    yield run
                elif run.training.checkpoint_every and run.position % run.training.checkpoint_every == 0:
                    checkpoint(run)
        for run in waiting:
            checkpoint(run)

    def _teach(self, position: int, batches: Mapping[str, Batch], due: Sequence[Run]) -> dict[str, Tensors]:
        """Each teacher once, for all that any of the runs needs of it; in the students' tokens."""
        readers: dict[str, list[Run]] = {}
        needs: dict[str, frozenset[str]] = {}
        for run in due:
            for name, names in zip(run.teachers, run.stage.needs.teachers, strict=False):
                readers.setdefault(name, []).append(run)
                needs[name] = needs.get(name, frozenset()) | names
        tensors: dict[str, Tensors] = {}
        alignments: dict[str, Alignment] = {}
        for name, names in needs.items():
            teacher = self.teachers[name]
            autocast = readers[name][0].training.precision == "bf16"
            with self.watch.running():
                tensors[name] = teacher.forward(batches[teacher.reader], names, autocast=autocast)
                if teacher.reader != self.stream.reader:
                    if teacher.reader not in alignments:
                        alignments[teacher.reader] = self.stream.alignment(position, teacher.reader, self.device)
                    tensors[name] = alignments[teacher.reader].carry(tensors[name])
            self.forwards[name] += 1
            for run in readers[name]:
                run.teacher_reads += 1 / len(readers[name])
        return tensors


def _versions(batches: Mapping[str, Batch], teachers: Mapping[str, Tensors]) -> list[int]:
    """Torch counts the changes in place of every tensor: whoever made one shows."""
    shared: list[Batch | Tensors] = [*batches.values(), *teachers.values()]
    return [tensor._version for each in shared for tensor in each.every()]
