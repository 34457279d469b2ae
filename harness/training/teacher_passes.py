"""The teachers' part of a cohort's step: each teacher runs once, for all runs that learn from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch

from harness.api.model_outputs import ModelOutputs
from harness.models.memory_errors import ran_out_of_memory
from harness.training.run import Run
from harness.training.staged_stream import BatchSource
from harness.training.step_batch import StepBatch, TeacherOutputs, join_groups
from harness.training.stopwatch import Lap
from harness.training.teacher import TeacherSource
from harness.training.token_alignment import Alignment


@dataclass
class Readers:
    """The runs that read outputs of one teacher at a step, and the names of all outputs that they read."""

    runs: list[Run] = field(default_factory=list)
    names: frozenset[str] = frozenset()


def readers_by_teacher(runs: Sequence[Run]) -> dict[str, Readers]:
    """The readers of each teacher that is needed at the current step of `runs`. A method that raises fails its run."""
    readers: dict[str, Readers] = {}
    for run in runs:
        for teacher, names in zip(run.teachers, run.needs().teachers, strict=False):
            if names:
                of_teacher = readers.setdefault(teacher, Readers())
                of_teacher.runs.append(run)
                of_teacher.names |= names
    return readers


@dataclass
class TeacherPasses:
    """Computes the teachers' outputs on the batches of `stream`, at the tokens of the students.

    Attributes:
        teachers: by name.
        forwards: forward passes of each teacher.
    """

    stream: BatchSource
    teachers: Mapping[str, TeacherSource]
    device: torch.device
    forwards: Counter[str] = field(default_factory=Counter)

    def outputs(self, position: int, data: StepBatch, runs: Sequence[Run]) -> dict[str, TeacherOutputs]:
        """Run each teacher once on each group of `data`, the batch at `position`, for all that `runs` need.

        A teacher that raises fails its own students only, unless memory does not suffice. Runs share the cost of a
        pass.
        """
        outputs: dict[str, TeacherOutputs] = {}
        alignments = cache(lambda tokenizer_id: self.stream.alignments(position, tokenizer_id, self.device))
        for name, readers in readers_by_teacher(runs).items():
            teacher, lap = self.teachers[name], Lap(self.device)
            try:
                outputs[name] = self._outputs_of(teacher, readers, data, alignments)
            except Exception as error:
                if ran_out_of_memory(error):
                    raise
                for run in readers.runs:
                    run.fail(error)
                continue
            lap.end()
            self.forwards[name] += teacher.passes
            for run in readers.runs:
                run.cost.charge(lap, passes=teacher.passes, among=len(readers.runs))
        return outputs

    def _outputs_of(
        self,
        teacher: TeacherSource,
        readers: Readers,
        data: StepBatch,
        alignments: Callable[[str], list[Alignment]],
    ) -> TeacherOutputs:
        """One teacher's outputs on each group. `alignments` gives those of a tokenizer's tokens with the students'.

        A run that needs the whole batch gets the joined outputs of the groups, so that its inputs do not depend on the
        other runs.
        """
        training, tokenizer_id = readers.runs[0].training, teacher.tokenizer_id
        groups = [teacher.forward(group, readers.names, training) for group in data.groups(tokenizer_id)]
        if tokenizer_id != self.stream.tokenizer_id:
            groups = [alignment.align(group) for alignment, group in zip(alignments(tokenizer_id), groups, strict=True)]
        needs_whole = any(run.stage.batch_dependent for run in readers.runs)
        return TeacherOutputs(groups, self._joined(groups, data) if needs_whole and len(groups) > 1 else None)

    def _joined(self, groups: Sequence[ModelOutputs], data: StepBatch) -> ModelOutputs:
        """The outputs of the groups, joined to those of the whole batch."""
        batch = data.whole(self.stream.tokenizer_id)
        return join_groups(groups, batch.inputs["input_ids"].shape[1], batch.kind)
