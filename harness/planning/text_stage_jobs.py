"""The stages on unlabelled text that a suite's runs begin with: one for all tasks and seeds that ask for the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from harness.api.method import Method
from harness.api.model_outputs import ModelShape
from harness.config.schema import GeneralSpec, Limit, StudentSpec, TrainingSpec
from harness.models import pretrained as checkpoints
from harness.planning import keys
from harness.planning.jobs import GeneralJob, TeacherJob, TokenizerRef
from harness.resolution import text_stages as on_text
from harness.resolution.suite import Cell, Resolved
from harness.storage.hashing import key
from harness.tasks.corpus import TextCorpus, load_text


@dataclass(frozen=True)
class StudentInit:
    """What a run's student begins with where the suite has no general stage: `checkpoint`, or layers of `source`."""

    reader: TokenizerRef
    checkpoint: Path | None
    source: TeacherJob | None


@dataclass(frozen=True)
class _Asked:
    """Which cell asks, what its student begins with before that stage, and its pretrained teacher."""

    cell: Cell
    beginning: StudentInit
    teacher: TeacherJob


class TextStageJobs:
    """The general stages of a plan."""

    def __init__(self, resolved: Resolved, device: str) -> None:
        self.resolved = resolved
        self.device = device
        self._jobs: dict[tuple[str, str, str, str, str], GeneralJob | None] = {}

    @property
    def spec(self) -> GeneralSpec:
        spec = self.resolved.suite.spec.general
        assert spec is not None  # or no row of the board asks for it
        return spec

    @cached_property
    def text(self) -> TextCorpus:
        """Read once, by the first row of the board that asks for it."""
        place = self.resolved.suite.text
        assert place is not None  # the suite was checked
        return load_text(self.spec, place)

    @cached_property
    def settings(self) -> TrainingSpec:
        names = {"batch_size", "lr", "schedule", "warmup_ratio", "max_length"}
        own = self.spec.model_dump(include=names, exclude_none=True)
        return self.resolved.suite.spec.training.model_copy(update={**own, "token_budget": None, "limit": Limit()})

    def obstacle(self, cell: Cell, beginning: StudentInit, teacher: TeacherJob) -> str | None:
        """Why the cell cannot begin with its general stage."""
        spec = self.resolved.suite.spec.students[cell.student]
        without = on_text.OPT_OUT
        for each in (teacher, *([beginning.source] if beginning.source and beginning.checkpoint is None else [])):
            if each.checkpoint is None:
                return f"teacher {each.row} is trained from scratch, and knows nothing before the tasks; {without}"
        if teacher.reader.fingerprint != beginning.reader.fingerprint:
            return f"teacher {teacher.row} reads text with another tokenizer than the student; {without}"
        if spec.init_from == "teacher" and spec.init != "random" and beginning.checkpoint is None:
            return f"init_from: teacher begins with weights of one task, a stage on text comes before all; {without}"
        if getattr(beginning.reader.tokenizer, "mask_token_id", None) is None:
            return f"the tokenizer of teacher {teacher.row} has no mask token; {without}"
        return None

    def job(self, cell: Cell, beginning: StudentInit, teacher: TeacherJob) -> GeneralJob | None:
        """The stage that the cell's student begins with; None for a method that has none with these options."""
        options = cell.variant.config.model_dump_json()  # which may differ by task
        place = cell.variant.label, cell.student, teacher.row, beginning.reader.fingerprint, options
        if place not in self._jobs:
            self._jobs[place] = self._chain(_Asked(cell, beginning, teacher))
        return self._jobs[place]

    def _chain(self, asked: _Asked) -> GeneralJob | None:
        """The student's stage, and before it that of the assistant, if the method wants one."""
        shapes, name = self.resolved.shapes, asked.cell.student
        student, teacher = shapes[name], shapes[asked.teacher.row]
        spec = self.resolved.suite.spec.students[name]
        general = self._method(asked, student, teacher).general()
        if general is None or general.assistant is None:
            return self._job(asked, spec, student, teacher) if general else None
        between = on_text.assistant_shape(general, student)
        sizes = {number: getattr(between, number) for number in ("layers", "hidden", "heads", "ffn")}
        from_nothing = replace(asked, beginning=replace(asked.beginning, checkpoint=None))
        assistant = self._job(from_nothing, StudentSpec(**sizes), between, teacher)
        return self._job(asked, spec, student, between, assistant)

    def _method(self, asked: _Asked, student: ModelShape, teacher: ModelShape) -> Method:
        return on_text.bind_method(asked.cell.variant, student, teacher, self.spec.seed)

    def _job(
        self,
        asked: _Asked,
        spec: StudentSpec,
        student: ModelShape,
        teacher: ModelShape,
        assistant: GeneralJob | None = None,
    ) -> GeneralJob:
        method = self._method(asked, student, teacher)
        general, start, pretrained = method.general(), asked.beginning, asked.teacher.checkpoint
        assert general is not None  # as it was before, whatever its sizes
        assert pretrained is not None  # or there was an obstacle
        source = start.source.checkpoint if start.source else None
        begins = keys.student(spec, student, _mark(start.checkpoint), start.source, _mark(source))
        taught_by = assistant.key if assistant else _mark(pretrained)
        parts = keys.general(
            general, method, begins, taught_by, self.text, start.reader, self.spec, self.settings, self.device
        )
        return GeneralJob(
            label=asked.cell.variant.label,
            student=student.name,
            method=method,
            general=general,
            spec=spec,
            checkpoint=start.checkpoint,
            source=None if start.checkpoint else source or pretrained,
            teacher=pretrained,
            assistant=assistant,
            reader=start.reader,
            data=self.spec.data,
            text=self.text,
            training=self.settings,
            steps=self.spec.steps,
            seed=self.spec.seed,
            parts=parts,
            key=key(parts),
        )


def _mark(checkpoint: Path | None) -> str | None:
    return checkpoints.fingerprint(checkpoint) if checkpoint is not None else None
