"""YAML files of published figures: schema, reading and validation.

Boards show these figures but never rank or average them: the source used its own teacher, data and tuning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from harness.api.errors import Problem, UserError
from harness.api.names import NAME_RULE, Name
from harness.config.diagnostics import Diagnostics
from harness.config.setting_types import Positive
from harness.config.strict_model import Strict
from harness.config.yaml_tree import display_path, read_file

if TYPE_CHECKING:
    from harness.api.model_outputs import ModelShape

Item = TypeVar("Item")

NOT_STATED = "not_stated"
"""Metric name for figures whose source does not state the metric."""

Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\n|`]*$")]
Metric = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Metrics = Annotated[list[Metric], Field(min_length=1)]
Score = Annotated[float, Field(ge=-100, le=100)]
Scores = Annotated[list[Score], Field(min_length=1)]


class Shape(Strict):
    """Size of a published model. `heads: null` (not stated by the source) matches any number of heads."""

    layers: Positive
    hidden: Positive
    heads: Positive | None = None

    def matches(self, shape: ModelShape) -> bool:
        """Whether `shape` is the size of this model."""
        heads_match = self.heads is None or self.heads == shape.heads
        return heads_match and (self.layers, self.hidden) == (shape.layers, shape.hidden)


class PublishedRow(Strict):
    """One model of a table: a student (`method`) or a teacher (`checkpoints`), with scores from 0 to 100."""

    model: Text = Field(description="name of the model in the source")
    method: Text | None = Field(
        None, description="of a student: the name of the plugin, or free text if no plugin is this method"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options with which the plugin is this method")
    checkpoints: list[Text] = Field(
        default_factory=list, description="of a teacher: names of the checkpoint, without the organization"
    )
    shape: Shape
    scores: dict[Name, Score | Scores] = Field(min_length=1, description="task -> score, or one score per metric")
    average: float | None = Field(
        None, description="as printed; it covers the tasks of the source, so boards do not show it"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.method is None) == (not self.checkpoints):
            count = "neither" if self.method is None else "both"
            raise ValueError(f"{self.model}: give `method` (a student) or `checkpoints` (a teacher), found {count}")
        return self


class PublishedTable(Strict):
    """Figures of one split, with the metrics of its tasks."""

    where: Text | None = Field(None, description="location in the source, such as `table 1`")
    split: Text = Field(description="what was scored, such as `GLUE dev`")
    teacher: Text = Field(description="teacher of the students")
    metrics: dict[Name, Metric | Metrics] = Field(
        min_length=1, description=f"task -> metrics of its scores; {NOT_STATED} if the source does not say"
    )
    rows: Annotated[list[PublishedRow], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for row in self.rows:
            for task, score in row.scores.items():
                if task not in self.metrics:
                    raise ValueError(f"{row.model}: the metric of {task} is missing; add it to `metrics`")
                metrics, scores = as_list(self.metrics[task]), as_list(score)
                if len(metrics) != len(scores):
                    raise ValueError(
                        f"{row.model}: {task} has {len(scores)} scores for {len(metrics)} metrics, {', '.join(metrics)}"
                    )
        return self


class Claim(Strict):
    """A figure for a method as a whole. It is not the score of a task, so boards do not show it."""

    method: Text
    text: Text
    value: float


class Source(Strict):
    """A file of published figures, from one paper or web page."""

    title: Text
    url: Text
    tables: list[PublishedTable] = Field(default_factory=list)
    claims: list[Claim] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.tables and not self.claims:
            raise ValueError("give `tables` or `claims`, found neither")
        rows = [(table.split, row) for table in self.tables for row in table.rows]
        for (split, row), (other_split, other) in combinations(rows, 2):
            if split == other_split and _same_model(row, other) and (tasks := row.scores.keys() & other.scores.keys()):
                raise ValueError(f"duplicate score: {row.model} and {other.model} both have {min(tasks)} on {split}")
        return self


@dataclass(frozen=True)
class Published:
    """A source of published figures. Suites select it by `name`, the stem of its file."""

    name: str
    path: Path
    source: Source

    @property
    def methods(self) -> list[str]:
        """Names of the methods with a row or a claim in this source."""
        rows = [row for table in self.source.tables for row in table.rows]
        return list(
            dict.fromkeys([*(row.method for row in rows if row.method), *(c.method for c in self.source.claims)])
        )

    def figures_of(
        self, *, method: str, options: Mapping[str, Any], shape: ModelShape
    ) -> Iterator[tuple[PublishedTable, PublishedRow]]:
        """Yield the rows for a student of that shape, trained with that method and options."""
        for table in self.source.tables:
            for row in table.rows:
                if row.method == method and row.options.items() <= options.items() and row.shape.matches(shape):
                    yield table, row

    def figures_of_teacher(self, model: str, shape: ModelShape) -> Iterator[tuple[PublishedTable, PublishedRow]]:
        """Yield the rows for a teacher fine-tuned from `model`, a hub id or folder."""
        for table in self.source.tables:
            for row in table.rows:
                if Path(model).name in row.checkpoints and row.shape.matches(shape):
                    yield table, row


def read(path: Path) -> Published:
    """Read and validate the file at `path`. Its stem is the name of the source. A file is parsed once.

    Raises:
        UserError: with all problems of the file, each with its line.
    """
    try:
        stat = path.stat()
    except OSError:  # parsing reports the problem
        return _parse(path, None)
    return _parse(path, (stat.st_ino, stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=64)
def _parse(path: Path, version: tuple[int, ...] | None) -> Published:
    """Read the file at `path`. `version` changes when the file does."""
    try:
        TypeAdapter(Name).validate_python(path.stem)
    except ValidationError as error:
        raise UserError(
            Problem(f"invalid file name, which is the name of the source; allowed: {NAME_RULE}", str(path))
        ) from error
    diagnostics = Diagnostics(read_file(path, "a file of published figures"))
    try:
        return Published(path.stem, path, Source.model_validate(diagnostics.root.plain()))
    except ValidationError as error:
        diagnostics.add_validation_error(error, Source)
        diagnostics.raise_if_any()
        raise UserError(Problem("invalid file of published figures", display_path(path))) from error


def as_list(value: Item | list[Item]) -> list[Item]:
    """Return a list unchanged and any other value as a list of one element."""
    return value if isinstance(value, list) else [value]


def _same_model(row: PublishedRow, other: PublishedRow) -> bool:
    """Whether one model can match both rows, so that a board could not choose between them."""
    same_options = all(other.options.get(name, value) == value for name, value in row.options.items())
    heads = {row.shape.heads, other.shape.heads} - {None}
    same_shape = (row.shape.layers, row.shape.hidden) == (other.shape.layers, other.shape.hidden) and len(heads) < 2
    same_name = row.method == other.method and (row.method is not None or set(row.checkpoints) & set(other.checkpoints))
    return bool(same_options and same_shape and same_name)
