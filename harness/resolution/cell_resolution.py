"""Decides every cell of a suite's board, as far as it can be told before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError, nearest
from harness.api.method import Method, Stage, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.config.diagnostics import Diagnostics
from harness.config.yaml_tree import KeyPath, Mark, Node, shown
from harness.models import output_names
from harness.plugin_host.discovery import describe
from harness.resolution import augmentation_inputs, length_limits, text_stages, unused_options
from harness.resolution.references import add_student
from harness.resolution.suite import Cell, MethodVariant, Resolved, Suite
from harness.resolution.suite_loader import LoadedSuite

if TYPE_CHECKING:
    from harness.api.task import Task


def resolve(loaded: LoadedSuite, *, online: bool) -> Resolved:
    """Every cell of the suite: to be run, or n/a with its reason.

    Args:
        loaded: what `load` gave.
        online: whether the hub may be asked for the shapes of models; a cell whose shapes are not known is not
            checked, and `Resolved.unchecked` says so.

    Raises:
        UserError: with all problems: students that cannot be built, methods that fit no student, what plugins say.
    """
    suite = loaded.suite
    findings = Diagnostics(suite.tree or Node({}, Mark(shown(suite.path), 0, suite.path.parent)))
    unchecked: list[str] = []
    models = _Models(suite, online, findings, unchecked)
    shapes = _teacher_shapes(suite, models, unchecked)
    shapes |= _student_shapes(suite, models, shapes, findings, unchecked)
    length_limits.note(suite, models.reads, findings)
    cells: list[Cell] = []
    for variant in suite.variants:
        row = [
            Cell(task, own, student, _obstacle(suite, task, own, student, shapes, findings))
            for task in suite.tasks
            for own in [variant.on(task.name)]
            for student in variant.students
        ]
        if all(cell.reason for cell in row):
            reasons = dict.fromkeys(f"{cell.student}: {cell.reason}" for cell in row)
            findings.add(variant.path, f"{variant.label} fits no student of the suite: {'; '.join(reasons)}")
        unused_options.note(suite, variant, [cell for cell in row if not cell.reason], shapes, findings)
        cells += row
    _ask_plugins(loaded, findings)
    findings.stop()
    if not online:
        hub = {source: place for source, place in suite.sources.items() if not Path(place).is_absolute()}
        unchecked += [f"source {source}: whether the hub has {place}" for source, place in hub.items()]
    return Resolved(suite, tuple(cells), shapes, tuple(unchecked))


@dataclass
class _Models:
    """Reads the models that a suite names, each as far as it is on this machine or, `online`, as the hub tells."""

    suite: Suite
    online: bool
    findings: Diagnostics
    unchecked: list[str]
    reads: dict[str, length_limits.Reads] = field(default_factory=dict)

    def shape(self, name: str, path: KeyPath) -> ModelShape | None:
        """Of a teacher's model, or of the one that a student starts from; None where it cannot be told. What is wrong
        with its files is a finding."""
        from harness.models import (  # transformers: a suite without models needs none
            families,
            introspection,
            pretrained,
        )

        model, trust = self.suite.models[name], self.suite.spec.trust_remote_code
        try:
            config = pretrained.read_config(model, online=self.online, trust_remote_code=trust)
            if config is None:
                return None
            shape = families.shape(config, name)
            self.reads[name] = length_limits.Reads(families.most_tokens(config), self._reader(model, path))
            return replace(shape, opaque=introspection.is_opaque(config))
        except UserError as error:
            self.findings.add(path, error.problems[0].message)
            return None

    def _reader(self, model: str, path: KeyPath) -> str | None:
        """The fingerprint of its tokenizer, if its files are here. They are checked."""
        from harness.models import checkpoint_inspection, pretrained

        folder = pretrained.local_path(model)
        if folder is None:
            if not self.online:
                self.unchecked.append(f"weights and tokenizer of {model}, which are on the hub")
            return None
        found = checkpoint_inspection.inspect(folder, trust_remote_code=self.suite.spec.trust_remote_code)
        for problem in found.problems:
            self.findings.add(path, problem)
        return found.tokenizer_fingerprint


def _teacher_shapes(suite: Suite, models: _Models, unchecked: list[str]) -> dict[str, ModelShape]:
    shapes: dict[str, ModelShape] = {}
    for name, spec in suite.spec.teachers.items():
        if spec.architecture is not None:
            shapes[name] = ModelShape(name, **spec.architecture.model_dump(exclude={"dropout"}), model_type="bert")
        elif (shape := models.shape(name, ("teachers", name, "model"))) is not None:
            shapes[name] = shape
        else:
            unchecked.append(f"teacher {name}: the shape of {suite.models[name]}, which is on the hub")
    return shapes


def _student_shapes(
    suite: Suite, models: _Models, teachers: Mapping[str, ModelShape], findings: Diagnostics, unchecked: list[str]
) -> dict[str, ModelShape]:
    """Shapes of the students that are known. What a student does not say is as in the suite's first teacher."""
    from harness.models import students

    first = next(iter(suite.spec.teachers), None)
    teacher = teachers.get(first) if first else None
    shapes: dict[str, ModelShape] = {}
    for name, spec in suite.spec.students.items():
        starts_from_model = name in suite.models
        own = models.shape(name, ("students", name, "init")) if starts_from_model else None
        problems = students.check(spec, name, teacher, own)
        add_student(problems, name, findings)
        # A model that a student starts from has its own numbers: none of them is the teacher's.
        shape = own if starts_from_model and own else students.shape(spec, name, None if starts_from_model else teacher)
        if shape is not None and not problems:
            shapes[name] = shape
        if starts_from_model and own is None:
            unchecked.append(f"student {name}: the shape of {suite.models[name]}, which is on the hub")
        elif not starts_from_model and first and teacher is None:
            unchecked.append(f"student {name}: what it has from teacher {first}")
    return shapes


def _obstacle(
    suite: Suite,
    task: Task,
    variant: MethodVariant,
    student: str,
    shapes: Mapping[str, ModelShape],
    findings: Diagnostics,
) -> str | None:
    """Why the cell cannot be; None if it can, or if a shape is not known."""
    if student not in shapes or any(name not in shapes for name in variant.teachers):
        return None
    own, teachers = shapes[student], [shapes[name] for name in variant.teachers]
    info = TaskInfo(task.name, task.kind, task.num_labels)
    stages: Sequence[Stage] = ()
    before: Sequence[text_stages.TextStage] = ()
    try:
        method = variant.method(variant.config, task=info, student=own, teachers=teachers, seed=suite.spec.seeds[0])
        problems = list(method.check(info, own, teachers))
        if not problems:
            stages, before = list(method.stages()), _before(suite, variant, own, teachers)
            _ask_of_preparation(method, suite, variant)
    except UserError as error:
        problems = error.problems
    except Exception as error:  # a plugin's own mistake, told without its traceback
        findings.add(variant.path, f"method {variant.method.name!r} failed for {own}: {describe(error)}")
        return None
    if not problems:
        _check_stages(suite, method, variant, stages, before, findings)
        problems = [problem for stage in stages for problem in check_needs(stage, info, own, teachers)]
        problems += [problem for each in before for problem in _check_needs_on_text(each)]
    return "; ".join(dict.fromkeys(problem.message for problem in problems)) or None


def _before(
    suite: Suite, variant: MethodVariant, student: ModelShape, teachers: Sequence[ModelShape]
) -> Sequence[text_stages.TextStage]:
    """The stages on unlabelled text that the row begins with."""
    spec = suite.spec.general
    return text_stages.stages(variant, student, teachers[0], spec.seed) if variant.general and spec else []


def _ask_of_preparation(method: Method, suite: Suite, variant: MethodVariant) -> None:
    """What the method makes before its runs: asked now, it fails now. Raises `UserError` for what is not there."""
    if variant.teachers:
        method.cofinetuning()
    if asked := method.augmentation():
        augmentation_inputs.model_of(asked, suite, variant)
        augmentation_inputs.files_of(asked, suite, variant)


def _check_stages(
    suite: Suite,
    method: Method,
    variant: MethodVariant,
    stages: Sequence[Stage],
    before: Sequence[text_stages.TextStage],
    findings: Diagnostics,
) -> None:
    names = [stage.name for stage in stages]
    every = [*names, *dict.fromkeys(each.general.stage.name for each in before)]
    if not names or len(set(every)) < len(every):
        has = f"its stages are named {', '.join(every)}" if names else "it has none"
        findings.add(variant.path, f"method {variant.method.name!r} needs stages with names of their own: {has}")
    for name, stage in variant.stages.items():
        where = _where(suite, variant, method.task, name)
        if name not in names:
            findings.add(where, f"the method has no stage {name!r}; {nearest(name, names)}")
        elif stage.data == "augmented" and method.augmentation() is None:
            message = f"with these options the method makes no augmented data for a {method.task.kind} task"
            findings.add((*where, "data"), f"{message}: change its options, or remove `data`")


def _where(suite: Suite, variant: MethodVariant, task: TaskInfo, stage: str) -> KeyPath:
    """Where the suite names that stage of the row's, for the task or for all."""
    on_task = suite.spec.methods[int(variant.path[1])].per_task.get(task.name)
    inner = ("per_task", task.name) if on_task and stage in on_task.stages else ()
    return (*variant.path, *inner, "stages", stage)


def check_needs(stage: Stage, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> list[Problem]:
    """What a stage asks of its models that they cannot give."""
    asked = stage.needs.teachers
    if len(asked) not in (0, len(teachers)):
        return [Problem(f"stage {stage.name!r} asks {len(asked)} teachers for tensors, it has {len(teachers)}")]
    pairs = [(student, stage.needs.student), *zip(teachers, asked, strict=False)]
    return [
        problem
        for model, names in pairs
        for problem in output_names.check(
            names, layers=model.layers, kind=task.kind, who=model.name, opaque=model.opaque
        )
    ]


def _check_needs_on_text(stage: text_stages.TextStage) -> list[Problem]:
    found = check_needs(stage.general.stage, text_stages.INFO, stage.student, [stage.teacher])
    return [Problem(f"{problem.message}; {text_stages.WITHOUT}") for problem in found]


def _ask_plugins(loaded: LoadedSuite, findings: Diagnostics) -> None:
    try:
        for problems in loaded.host.hook.harness_validate_suite(suite=loaded.suite):
            findings.extend(list(problems))
    except Exception as error:  # of a hook, or for what it gives, which is a list of problems
        findings.add((), f"a plugin's harness_validate_suite failed: {describe(error)}")
