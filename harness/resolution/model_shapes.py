"""What is known of a suite's models before any training: shapes, input limits, and problems of their files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError
from harness.api.model_outputs import ModelShape
from harness.config.diagnostics import Diagnostics
from harness.config.yaml_tree import KeyPath
from harness.resolution.length_limits import InputLimits
from harness.resolution.references import add_student
from harness.resolution.suite import Suite

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from harness.config.student_schema import StudentSpec
    from harness.models.checkpoint_inspection import Inspection


@dataclass(frozen=True)
class KnownModels:
    """What is known of the models of a suite.

    Attributes:
        shapes: of teachers and students, by name; without those whose configuration is on the hub.
        limits: input limits of the teachers and students whose configuration could be read, by name.
        unchecked: what is not known, for people to read.
    """

    shapes: Mapping[str, ModelShape]
    limits: Mapping[str, InputLimits]
    unchecked: tuple[str, ...]


def read_models(suite: Suite, diagnostics: Diagnostics, *, online: bool) -> KnownModels:
    """Read the models of a suite: local files and, if `online`, configurations from the hub.

    Problems of the files, and students that cannot be built, are added to `diagnostics`.
    """
    reader = _Reader(suite, online, diagnostics)
    shapes = dict(reader.teachers())
    shapes |= dict(reader.students(shapes))
    shapes |= dict(reader.assistants(shapes))
    return KnownModels(shapes, reader.limits, tuple(reader.unchecked))


@dataclass
class _Reader:
    """Reads the models of one suite; the methods yield names with known shapes."""

    suite: Suite
    online: bool
    diagnostics: Diagnostics
    unchecked: list[str] = field(default_factory=list)
    limits: dict[str, InputLimits] = field(default_factory=dict)
    configs: dict[str, PretrainedConfig] = field(default_factory=dict)

    def teachers(self) -> Iterator[tuple[str, ModelShape]]:
        """Yield the teachers that are not rows of the suite."""
        for name, spec in self.suite.spec.teachers.items():
            if spec.row is not None:
                continue
            if spec.architecture is not None:
                sizes = spec.architecture.model_dump(exclude={"dropout"})
                yield name, ModelShape(name, **sizes, model_type="bert")
            elif (shape := self._shape(name, ("teachers", name, "model"))) is not None:
                yield name, shape
            else:
                self.unchecked.append(f"teacher {name}: the shape of {self.suite.models[name]}, which is on the hub")

    def students(self, teachers: Mapping[str, ModelShape]) -> Iterator[tuple[str, ModelShape]]:
        """Yield the students. Sizes that are not set are those of the suite's first teacher."""
        from harness.models import students

        first = self.suite.spec.first_teacher
        teacher = teachers.get(first) if first else None
        for name, spec in self.suite.spec.students.items():
            starts_from_model = name in self.suite.models
            init_shape = self._shape(name, ("students", name, "init")) if starts_from_model else None
            problems = students.check(spec, name, teacher, init_shape)
            if not problems and not starts_from_model:
                problems = self._problems_of_resized(spec, name, first)
            add_student(problems, name, self.diagnostics)
            # A student that starts from a model has the sizes of that model, never those of the teacher.
            shape = init_shape or students.shape(spec, name, None if starts_from_model else teacher)
            if shape is not None and not problems:
                yield name, shape
            if starts_from_model and init_shape is None:
                self.unchecked.append(f"student {name}: the shape of {self.suite.models[name]}, which is on the hub")
            elif not starts_from_model and first and teacher is None:
                self.unchecked.append(f"student {name}: sizes and layers that it takes from teacher {first}")

    def assistants(self, shapes: Mapping[str, ModelShape]) -> Iterator[tuple[str, ModelShape]]:
        """Yield the teachers that are rows of the suite, with the shapes of their students."""
        for name, row in self.suite.rows.items():
            if row.student in shapes:
                yield name, replace(shapes[row.student], name=name)
            else:
                self.unchecked.append(f"teacher {name}: the shape of student {row.student}")

    def _shape(self, name: str, path: KeyPath) -> ModelShape | None:
        """Return the shape of a teacher's model or of the model that a student starts from; None if it is unknown."""
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
            self.limits[name] = InputLimits(families.most_tokens(config), checked.tokenizer_fingerprint)
            if checked.problems:
                return shape
            missing = introspection.missing_outputs(config, name, trust_remote_code=trust)
            self.configs[name] = config
            return replace(shape, missing=missing)
        except UserError as error:
            self.diagnostics.add(path, error.problems[0].message)
            return None

    def _problems_of_resized(self, spec: StudentSpec, name: str, teacher: str | None) -> list[Problem]:
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
