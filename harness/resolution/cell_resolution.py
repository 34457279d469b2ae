"""Decides for each cell of the board whether it can run, before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError, describe, nearest, problem_list
from harness.api.method import Method, Stage, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.api.wording import counted
from harness.config.diagnostics import Diagnostics
from harness.config.yaml_tree import KeyPath, Mark, Node, display_path
from harness.models import available_heads, output_names
from harness.models.parameter_groups import missing_layers
from harness.resolution import (
    augmentation_inputs,
    finetuned_teachers,
    length_limits,
    row_teachers,
    text_stages,
    unused_options,
)
from harness.resolution.references import add_student
from harness.resolution.suite import Cell, MethodVariant, Resolved, Suite
from harness.resolution.suite_loader import LoadedSuite

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from harness.api.task import Task
    from harness.config.student_schema import StudentSpec
    from harness.models.checkpoint_inspection import Inspection


def resolve(loaded: LoadedSuite, *, online: bool, allow_empty_rows: bool = False) -> Resolved:
    """Resolve a suite into the cells of its board: to be run, or n/a with a reason.

    Args:
        loaded: the result of `load`.
        online: whether to fetch model configurations from the hub. A cell with a model of unknown shape is not
            checked; `Resolved.unchecked` lists these models.
        allow_empty_rows: whether a method may fit no student; all cells of its row are then n/a.

    Raises:
        UserError: with all problems: students that cannot be built, methods that fit no student, problems that
            plugins report.
    """
    suite = loaded.suite
    diagnostics = Diagnostics(suite.tree or Node({}, Mark(display_path(suite.path), 0, suite.path.parent)))
    unchecked: list[str] = []
    models = _Models(suite, online, diagnostics, unchecked)
    shapes = _teacher_shapes(suite, models, unchecked)
    shapes |= _student_shapes(suite, models, shapes, diagnostics, unchecked)
    shapes |= _assistant_shapes(suite, shapes, unchecked)
    length_limits.check_lengths(suite, models.limits, diagnostics)
    finetuned_teachers.check(suite, diagnostics)
    reasons: dict[tuple[str, str, str], str | None] = {}
    rows: dict[str, list[Cell]] = {}
    for variant in row_teachers.training_order(suite.variants, suite.rows):
        row = rows[variant.label] = [
            Cell(
                task,
                task_variant,
                student,
                unavailable_assistant(suite, task_variant, task.name, reasons)
                or _obstacle(suite, task, task_variant, student, shapes, diagnostics),
            )
            for task in suite.tasks
            for task_variant in [variant.on(task.name)]
            for student in variant.students
        ]
        reasons |= {(cell.task.name, variant.label, cell.student): cell.reason for cell in row}
        if all(cell.reason for cell in row) and not allow_empty_rows:
            found = dict.fromkeys(f"{cell.student}: {cell.reason}" for cell in row)
            diagnostics.add(variant.path, f"{variant.label} fits no student of the suite: {'; '.join(found)}")
        runnable = [cell for cell in row if not cell.reason]
        unused_options.check_unused_options(suite, variant, runnable, shapes, diagnostics)
    cells = [cell for variant in suite.variants for cell in rows[variant.label]]
    _add_plugin_problems(loaded, diagnostics)
    diagnostics.raise_if_any()
    if not online:
        hub_ids = {source: value for source, value in suite.sources.items() if not Path(value).is_absolute()}
        unchecked += [f"source {source}: whether the hub has {hub_id}" for source, hub_id in hub_ids.items()]
    return Resolved(suite, tuple(cells), shapes, tuple(unchecked))


def unavailable_assistant(
    suite: Suite, variant: MethodVariant, task: str, reasons: Mapping[tuple[str, str, str], str | None]
) -> str | None:
    """Return why a teacher of the row that is itself a row is not trained on the task; None if all are.

    `reasons`: (task, label, student) -> why that cell is n/a.
    """
    for name in variant.teachers:
        assistant = suite.rows.get(name)
        if assistant and (reason := reasons[task, assistant.label, assistant.student]):
            return f"its teacher {name}, row {assistant.label} on {assistant.student}, is n/a: {reason}"
    return None


@dataclass
class _Models:
    """Reads the configurations of the suite's models: local files and, if `online`, files from the hub."""

    suite: Suite
    online: bool
    diagnostics: Diagnostics
    unchecked: list[str]
    limits: dict[str, length_limits.InputLimits] = field(default_factory=dict)
    configs: dict[str, PretrainedConfig] = field(default_factory=dict)

    def shape(self, name: str, path: KeyPath) -> ModelShape | None:
        """Return the shape of a teacher's model or of the model that a student starts from; None if it is unknown.

        Problems of its files are added to `diagnostics`.
        """
        from harness.models import (  # imports transformers, which a suite without models does not need
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
            checked = self._check_files(model, path)
            self.limits[name] = length_limits.InputLimits(families.most_tokens(config), checked.tokenizer_fingerprint)
            if checked.problems:
                return shape
            missing = introspection.missing_outputs(config, name, trust_remote_code=trust)
            self.configs[name] = config
            return replace(shape, missing=missing)
        except UserError as error:
            self.diagnostics.add(path, error.problems[0].message)
            return None

    def student_problems(self, spec: StudentSpec, name: str, teacher: str | None) -> list[Problem]:
        """Return the problem of a student whose architecture, of the teacher's family, fails with these sizes."""
        if teacher not in self.configs:
            return []
        from harness.models import introspection, students  # imports transformers, which is slow

        try:
            config = students.resized_config(spec, self.configs[teacher])
            trust = self.suite.spec.trust_remote_code
            introspection.missing_outputs(config, name, trust_remote_code=trust)
        except UserError as error:
            return [Problem(error.problems[0].message, f"students.{name}")]
        return []

    def _check_files(self, model: str, path: KeyPath) -> Inspection:
        """Check the local files of a model; without local files, nothing is known."""
        from harness.models import checkpoint_inspection, pretrained

        folder = pretrained.local_path(model)
        if folder is None:
            if not self.online:
                self.unchecked.append(f"weights and tokenizer of {model}, which are on the hub")
            return checkpoint_inspection.Inspection()
        inspection = checkpoint_inspection.inspect(folder, trust_remote_code=self.suite.spec.trust_remote_code)
        for problem in inspection.problems:
            self.diagnostics.add(path, problem)
        return inspection


def _teacher_shapes(suite: Suite, models: _Models, unchecked: list[str]) -> dict[str, ModelShape]:
    shapes: dict[str, ModelShape] = {}
    for name, spec in suite.spec.teachers.items():
        if spec.row is not None:
            continue
        if spec.architecture is not None:
            shapes[name] = ModelShape(name, **spec.architecture.model_dump(exclude={"dropout"}), model_type="bert")
        elif (shape := models.shape(name, ("teachers", name, "model"))) is not None:
            shapes[name] = shape
        else:
            unchecked.append(f"teacher {name}: the shape of {suite.models[name]}, which is on the hub")
    return shapes


def _assistant_shapes(suite: Suite, shapes: Mapping[str, ModelShape], unchecked: list[str]) -> dict[str, ModelShape]:
    """Return the known shapes of teachers that are rows of the suite: those of their students."""
    unknown = [name for name, row in suite.rows.items() if row.student not in shapes]
    unchecked += [f"teacher {name}: the shape of student {suite.rows[name].student}" for name in unknown]
    return {name: replace(shapes[row.student], name=name) for name, row in suite.rows.items() if row.student in shapes}


def _student_shapes(
    suite: Suite, models: _Models, teachers: Mapping[str, ModelShape], diagnostics: Diagnostics, unchecked: list[str]
) -> dict[str, ModelShape]:
    """Return the known shapes of students. Sizes that are not set are those of the suite's first teacher."""
    from harness.models import students

    first = suite.spec.first_teacher
    teacher = teachers.get(first) if first else None
    shapes: dict[str, ModelShape] = {}
    for name, spec in suite.spec.students.items():
        starts_from_model = name in suite.models
        init_shape = models.shape(name, ("students", name, "init")) if starts_from_model else None
        problems = students.check(spec, name, teacher, init_shape)
        if not problems and not starts_from_model:
            problems = models.student_problems(spec, name, first)
        add_student(problems, name, diagnostics)
        # A student that starts from a model has the sizes of that model, never those of the teacher.
        shape = init_shape or students.shape(spec, name, None if starts_from_model else teacher)
        if shape is not None and not problems:
            shapes[name] = shape
        if starts_from_model and init_shape is None:
            unchecked.append(f"student {name}: the shape of {suite.models[name]}, which is on the hub")
        elif not starts_from_model and first and teacher is None:
            unchecked.append(f"student {name}: sizes and layers that it takes from teacher {first}")
    return shapes


def _obstacle(
    suite: Suite,
    task: Task,
    variant: MethodVariant,
    student: str,
    shapes: Mapping[str, ModelShape],
    diagnostics: Diagnostics,
) -> str | None:
    """Return why the cell cannot run; None if it can, or if a shape is unknown."""
    if student not in shapes or any(name not in shapes for name in variant.teachers):
        return None
    student_shape, teachers = shapes[student], [shapes[name] for name in variant.teachers]
    info = TaskInfo(task.name, task.kind, task.num_labels)
    stages: Sequence[Stage] = ()
    on_text: Sequence[text_stages.TextStage] = ()
    try:
        method = variant.bind(info, student_shape, teachers, suite.spec.seeds[0])
        problems = problem_list(method.check(info, student_shape, teachers))
        if not problems:
            stages, on_text = list(method.stages()), _text_stages(suite, variant, student_shape, teachers)
            _check_preparation(method, suite, variant)
    except UserError as error:
        problems = error.problems
    except Exception as error:  # a fault of the plugin
        diagnostics.add(variant.path, f"method {variant.method.name!r} failed for {student_shape}: {describe(error)}")
        return None
    if not problems:
        _check_stages(suite, method, variant, stages, on_text, diagnostics)
        problems = [
            problem for model in (student_shape, *teachers) for problem in available_heads.check(model, task.kind)
        ]
        problems += [problem for stage in stages for problem in check_needs(stage, info, student_shape, teachers)]
        problems += [problem for stage in stages for problem in _check_frozen(stage, student_shape)]
        problems += [problem for text_stage in on_text for problem in _check_needs_on_text(text_stage)]
    return "; ".join(dict.fromkeys(problem.message for problem in problems)) or None


def _text_stages(
    suite: Suite, variant: MethodVariant, student: ModelShape, teachers: Sequence[ModelShape]
) -> Sequence[text_stages.TextStage]:
    """Return the text stages of the row; empty if it has none."""
    spec = suite.spec.general
    return text_stages.stages(variant, student, teachers[0], spec.seed) if variant.general and spec else []


def _check_preparation(method: Method, suite: Suite, variant: MethodVariant) -> None:
    """Call the method's preparation hooks and find their inputs. Raises `UserError` if a model or file is missing."""
    if variant.teachers:
        method.cofinetuning()
    if augmentation := method.augmentation():
        augmentation_inputs.model_of(augmentation, suite, variant)
        augmentation_inputs.files_of(augmentation, suite, variant)


def _check_stages(
    suite: Suite,
    method: Method,
    variant: MethodVariant,
    stages: Sequence[Stage],
    on_text: Sequence[text_stages.TextStage],
    diagnostics: Diagnostics,
) -> None:
    """Check the names of the stages, the start of the first one, and that the suite's `stages` overrides fit them."""
    names = [stage.name for stage in stages]
    all_names = [*names, *dict.fromkeys(text_stage.general.stage.name for text_stage in on_text)]
    method_name = variant.method.name
    if not names:
        diagnostics.add(variant.path, f"method {method_name!r} has no stages")
    elif len(set(all_names)) < len(all_names):
        diagnostics.add(variant.path, f"method {method_name!r} has duplicate stage names: {', '.join(all_names)}")
    if stages and stages[0].starts_from == "best":
        message = (
            f"method {method_name!r}, stage {names[0]!r}: starts_from is 'best', but the first stage follows no other"
        )
        diagnostics.add(variant.path, message)
    for name, stage in variant.stages.items():
        path = _stage_path(suite, variant, method.task, name)
        if name not in names:
            diagnostics.add(path, f"the method has no stage {name!r}; {nearest(name, names)}")
        elif stage.data == "augmented" and method.augmentation() is None:
            message = f"with these options the method makes no augmented data for a {method.task.kind} task"
            diagnostics.add((*path, "data"), f"{message}; change its options or remove `data`")


def _check_frozen(stage: Stage, student: ModelShape) -> list[Problem]:
    """Return problems for layers that a stage freezes and the student does not have."""
    if missing := missing_layers(stage.frozen, student.layers):
        names = ", ".join(missing)
        depth = counted(student.layers, "layer")
        return [Problem(f"stage {stage.name!r} freezes {names}, but {student.name} has {depth}")]
    return []


def _stage_path(suite: Suite, variant: MethodVariant, task: TaskInfo, stage: str) -> KeyPath:
    """Return the path of a stage override in the suite: below `per_task`, or below the entry."""
    override = suite.spec.methods[int(variant.path[1])].per_task.get(task.name)
    section = ("per_task", task.name) if override and stage in override.stages else ()
    return (*variant.path, *section, "stages", stage)


def check_needs(stage: Stage, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> list[Problem]:
    """Return problems for the model outputs that a stage needs and its models do not have."""
    requested = stage.needs.teachers
    if len(requested) not in (0, len(teachers)):
        named = counted(len(requested), "teacher")
        return [Problem(f"stage {stage.name!r} needs outputs of {named}, but there are {len(teachers)}")]
    pairs = [(student, stage.needs.student), *zip(teachers, requested, strict=False)]
    return [
        problem
        for model, names in pairs
        for problem in output_names.check(
            names,
            layers=model.layers,
            kind=task.kind,
            who=model.name,
            family=model.model_type,
            missing=model.missing,
        )
    ]


def _check_needs_on_text(stage: text_stages.TextStage) -> list[Problem]:
    problems = [problem for model in (stage.student, stage.teacher) for problem in available_heads.check(model, "text")]
    problems += check_needs(stage.general.stage, text_stages.TASK_INFO, stage.student, [stage.teacher])
    return [Problem(f"{problem.message}; {text_stages.OPT_OUT}") for problem in problems]


def _add_plugin_problems(loaded: LoadedSuite, diagnostics: Diagnostics) -> None:
    diagnostics.extend(loaded.host.validate(loaded.suite))
