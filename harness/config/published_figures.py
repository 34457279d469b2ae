"""The YAML files of published figures: their schema, reading and validation.

They are never ranked and in no average: teacher, data and tuning were their source's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from harness.api.errors import Problem, UserError
from harness.api.names import Name
from harness.config.diagnostics import Diagnostics
from harness.config.schema import Positive, Strict
from harness.config.yaml_tree import display_path, read_file

if TYPE_CHECKING:
    from harness.api.model_outputs import ModelShape
    from harness.plugin_host.host import Host

Item = TypeVar("Item")

NOT_STATED = "not_stated"
"""The metric of a figure whose source does not name it."""

Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\n|`]*$")]
Metric = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Metrics = Annotated[list[Metric], Field(min_length=1)]
Score = Annotated[float, Field(ge=-100, le=100)]
Scores = Annotated[list[Score], Field(min_length=1)]


class Shape(Strict):
    """The numbers of a printed model. Heads that a source does not tell match any."""

    layers: Positive
    hidden: Positive
    heads: Positive | None = None

    def matches(self, shape: ModelShape) -> bool:
        """Whether a model of ours is of this shape."""
        heads = self.heads is None or self.heads == shape.heads
        return heads and (self.layers, self.hidden) == (shape.layers, shape.hidden)


class PublishedRow(Strict):
    """A model of a table: a student (`method`) or a teacher (`checkpoints`), and its scores from 0 to 100."""

    model: Text = Field(description="as its source prints it")
    method: Text | None = Field(None, description="of a student: the name of the plugin, or free text where none is it")
    options: dict[str, Any] = Field(default_factory=dict, description="options that make the plugin this method")
    checkpoints: list[Text] = Field(
        default_factory=list, description="of a teacher: names of the checkpoint, without the organisation"
    )
    shape: Shape
    scores: dict[Name, Score | Scores] = Field(min_length=1, description="task -> number, or one for each metric")
    average: float | None = Field(None, description="as printed; it is over the source's tasks, so on no board of ours")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.method is None) == (not self.checkpoints):
            found = "neither" if self.method is None else "both"
            raise ValueError(f"{self.model}: a student has `method`, a teacher `checkpoints`, found {found}")
        return self


class Table(Strict):
    """Figures of one split, with the metrics of its tasks."""

    where: Text | None = Field(None, description="its place in the source, such as `table 1`")
    split: Text = Field(description="what was scored, such as `GLUE dev`")
    teacher: Text = Field(description="who taught the students")
    metrics: dict[Name, Metric | Metrics] = Field(
        min_length=1, description=f"task -> what its numbers are; {NOT_STATED} where the source does not say"
    )
    rows: Annotated[list[PublishedRow], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for row in self.rows:
            for task, score in row.scores.items():
                if task not in self.metrics:
                    raise ValueError(f"{row.model}: no metric is named for {task}; add it to `metrics`")
                names, numbers = as_list(self.metrics[task]), as_list(score)
                if len(names) != len(numbers):
                    raise ValueError(
                        f"{row.model}: {task} has {len(numbers)} numbers for {len(names)} metrics, {', '.join(names)}"
                    )
        return self


class Claim(Strict):
    """What a source says of a method as a whole: no score of a task, so on no board."""

    method: Text
    text: Text
    value: float


class Source(Strict):
    """A file of published figures: one paper, or one page."""

    title: Text
    url: Text
    tables: list[Table] = Field(default_factory=list)
    claims: list[Claim] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.tables and not self.claims:
            raise ValueError("a source has `tables` or `claims`, found neither")
        rows = [(table.split, row) for table in self.tables for row in table.rows]
        for (split, one), (other_split, other) in combinations(rows, 2):
            if split == other_split and _alike(one, other) and (twice := one.scores.keys() & other.scores.keys()):
                raise ValueError(f"{one.model} and {other.model} are one model: both have {min(twice)} on {split}")
        return self


@dataclass(frozen=True)
class Published:
    """A source by the name of its file, which suites choose it by."""

    name: str
    path: Path
    source: Source

    @property
    def methods(self) -> list[str]:
        """The methods that it has something of."""
        rows = [row for table in self.source.tables for row in table.rows]
        return list(
            dict.fromkeys([*(row.method for row in rows if row.method), *(c.method for c in self.source.claims)])
        )

    def figures_of(
        self, *, method: str, options: Mapping[str, Any], shape: ModelShape
    ) -> Iterator[tuple[Table, PublishedRow]]:
        """What it prints for a student of that shape, trained with that method under those options."""
        for table in self.source.tables:
            for row in table.rows:
                if row.method == method and row.options.items() <= options.items() and row.shape.matches(shape):
                    yield table, row

    def figures_of_teacher(self, model: str, shape: ModelShape) -> Iterator[tuple[Table, PublishedRow]]:
        """What it prints for a teacher that was fine-tuned from `model`, a hub id or folder."""
        for table in self.source.tables:
            for row in table.rows:
                if Path(model).name in row.checkpoints and row.shape.matches(shape):
                    yield table, row


def read(path: Path) -> Published:
    """The file at `path`, whose stem is its name.

    Raises:
        UserError: with everything that is wrong with it, each with its line.
    """
    try:
        TypeAdapter(Name).validate_python(path.stem)
    except ValidationError as error:
        raise UserError(
            Problem("the file's name is the source's: letters, digits and any of ._+-", str(path))
        ) from error
    diagnostics = Diagnostics(read_file(path, "a source of figures"))
    try:
        return Published(path.stem, path, Source.model_validate(diagnostics.root.plain()))
    except ValidationError as error:
        diagnostics.add_validation_error(error, Source)
        diagnostics.raise_if_any()
        raise UserError(Problem("is not a file of published figures", display_path(path))) from error


def read_registered(name: str, host: Host) -> Published:
    """The source of that name, read from the file that a plugin registered.

    Raises:
        UserError: with everything that is wrong with the file; each problem names the plugin, too.
    """
    try:
        return read(host.published[name])
    except UserError as error:
        by = f"(registered by {host.origin_of('published source', name)})"
        raise UserError(*(Problem(f"{each.message} {by}", each.where) for each in error.problems)) from error


def as_list(value: Item | list[Item]) -> list[Item]:
    """The value as a list of one, unless it is a list."""
    return value if isinstance(value, list) else [value]


def _alike(one: PublishedRow, other: PublishedRow) -> bool:
    """Whether a model of ours may be both."""
    settled = all(other.options.get(name, value) == value for name, value in one.options.items())
    heads = {one.shape.heads, other.shape.heads} - {None}
    same_shape = (one.shape.layers, one.shape.hidden) == (other.shape.layers, other.shape.hidden) and len(heads) < 2
    same = one.method == other.method and (one.method is not None or set(one.checkpoints) & set(other.checkpoints))
    return bool(settled and same_shape and same)
