"""Create the text stages that a suite's runs start from. Tasks and seeds with equal requests share a stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from harness.api.method import Method
from harness.api.model_outputs import ModelShape
from harness.config.student_schema import StudentSpec
from harness.config.text_stage_schema import GeneralSpec
from harness.config.training_schema import Limit, TrainingSpec
from harness.models import pretrained as checkpoints
from harness.planning import keys
from harness.planning.job_inputs import TokenizerRef
from harness.planning.jobs import TeacherJob, TextStageJob
from harness.resolution import text_stages as on_text
from harness.resolution.suite import Cell, Resolved
from harness.storage.hashing import key
from harness.tasks.corpus import TextCorpus, load_text


@dataclass(frozen=True)
class StudentInit:
    """The initialization of a student before any text stage: from `checkpoint`, or else from `source`."""

    tokenizer_ref: TokenizerRef
    checkpoint: Path | None
    source: TeacherJob | None


@dataclass(frozen=True)
class _StageRequest:
    """A cell that requests a text stage, the initialization of its student, and its pretrained teacher."""

    cell: Cell
    beginning: StudentInit
    teacher: TeacherJob


class TextStageJobs:
    """The text stages of a plan."""

    def __init__(self, resolved: Resolved, device: str) -> None:
        self.resolved = resolved
        self.device = device
        self._jobs: dict[tuple[str, str, str, str, str], TextStageJob | None] = {}

    @property
    def spec(self) -> GeneralSpec:
        spec = self.resolved.suite.spec.general
        assert spec is not None  # rows request a text stage only if the suite has one
        return spec

    @cached_property
    def text(self) -> TextCorpus:
        """The unlabelled text, loaded on first use."""
        source = self.resolved.suite.text
        assert source is not None  # the suite was validated
        return load_text(self.spec, source)

    @cached_property
    def settings(self) -> TrainingSpec:
        names = {"batch_size", "lr", "schedule", "warmup_ratio", "max_length"}
        overrides = self.spec.model_dump(include=names, exclude_none=True)
        return self.resolved.suite.spec.training.model_copy(
            update={**overrides, "token_budget": None, "limit": Limit()}
        )

    def obstacle(self, cell: Cell, beginning: StudentInit, teacher: TeacherJob) -> str | None:
        """Return why the cell cannot start with its text stage, None if it can."""
        spec = self.resolved.suite.spec.students[cell.student]
        remedy = on_text.OPT_OUT
        for model in (teacher, *([beginning.source] if beginning.source and beginning.checkpoint is None else [])):
            if model.run is not None:
                return (
                    f"teacher {model.row} is a row of the suite, and a stage on text comes before all tasks; {remedy}"
                )
            if model.checkpoint is None:
                return f"teacher {model.row} is trained from scratch, and knows nothing before the tasks; {remedy}"
            if not model.spec.finetune:
                return (
                    f"teacher {model.row} is fine-tuned on a task already (finetune: false), and a stage on text comes"
                    f" before all tasks; {remedy}"
                )
        if teacher.tokenizer_ref.fingerprint != beginning.tokenizer_ref.fingerprint:
            return f"teacher {teacher.row} reads text with another tokenizer than the student; {remedy}"
        if spec.init_from == "teacher" and spec.init != "random" and beginning.checkpoint is None:
            return f"init_from: teacher begins with weights of one task, a stage on text comes before all; {remedy}"
        if not beginning.tokenizer_ref.has_mask:
            return f"the tokenizer of teacher {teacher.row} has no mask token; {remedy}"
        return None

    def job(self, cell: Cell, beginning: StudentInit, teacher: TeacherJob) -> TextStageJob | None:
        """Return the text stage that the cell's student starts from, None if its method has none with these options."""
        options = cell.variant.config.model_dump_json()  # they may differ by task
        job_id = cell.variant.label, cell.student, teacher.row, beginning.tokenizer_ref.fingerprint, options
        if job_id not in self._jobs:
            self._jobs[job_id] = self._chain(_StageRequest(cell, beginning, teacher))
        return self._jobs[job_id]

    def _chain(self, request: _StageRequest) -> TextStageJob | None:
        """Create the student's text stage, preceded by that of an assistant if the method requests one."""
        shapes, name = self.resolved.shapes, request.cell.student
        student, teacher = shapes[name], shapes[request.teacher.row]
        spec = self.resolved.suite.spec.students[name]
        general = self._method(request, student, teacher).general()
        if general is None or general.assistant is None:
            return self._job(request, spec, student, teacher) if general else None
        assistant_shape = on_text.assistant_shape(general, student)
        sizes = {number: getattr(assistant_shape, number) for number in ("layers", "hidden", "heads", "ffn")}
        without_checkpoint = replace(request, beginning=replace(request.beginning, checkpoint=None))
        assistant = self._job(without_checkpoint, StudentSpec(**sizes), assistant_shape, teacher)
        return self._job(request, spec, student, assistant_shape, assistant)

    def _method(self, request: _StageRequest, student: ModelShape, teacher: ModelShape) -> Method:
        return on_text.bind_method(request.cell.variant, student, teacher, self.spec.seed)

    def _job(
        self,
        request: _StageRequest,
        spec: StudentSpec,
        student: ModelShape,
        teacher: ModelShape,
        assistant: TextStageJob | None = None,
    ) -> TextStageJob:
        method = self._method(request, student, teacher)
        general, init, pretrained = method.general(), request.beginning, request.teacher.checkpoint
        assert general is not None  # the method has a text stage for shapes of any size
        assert pretrained is not None  # otherwise `obstacle` rejected the cell
        source = init.source.checkpoint if init.source else None
        student_parts = keys.student(
            spec,
            student,
            checkpoint=_fingerprint(init.checkpoint),
            source=init.source,
            pretrained=_fingerprint(source),
        )
        parts = keys.general(
            general,
            method,
            student=student_parts,
            teacher=assistant.key if assistant else _fingerprint(pretrained),
            text=self.text,
            tokenizer_ref=init.tokenizer_ref,
            spec=self.spec,
            settings=self.settings,
            device=self.device,
        )
        return TextStageJob(
            label=request.cell.variant.label,
            student=student.name,
            method=method,
            general=general,
            spec=spec,
            checkpoint=init.checkpoint,
            source=None if init.checkpoint else source or pretrained,
            teacher=pretrained,
            assistant=assistant,
            tokenizer_ref=init.tokenizer_ref,
            data=self.spec.data,
            text=self.text,
            training=self.settings,
            steps=self.spec.steps,
            seed=self.spec.seed,
            parts=parts,
            key=key(parts),
        )


def _fingerprint(checkpoint: Path | None) -> str | None:
    return checkpoints.fingerprint(checkpoint) if checkpoint is not None else None
