"""Tasks made of a declaration: their classes, metrics and splits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from harness.api.errors import Problem, UserError, nearest
from harness.api.task import Splits, Task
from harness.config.task_schema import TaskSpec
from harness.metrics import task_metrics
from harness.tasks.data_sources import source_files
from harness.tasks.row_sampling import GROUP, held_out_rows
from harness.tasks.tabular.class_names import ClassNames, value_text
from harness.tasks.tabular.examples import KINDS_WITH_CLASSES, classes_of, read_examples
from harness.tasks.tabular.hub_tables import read_split
from harness.tasks.tabular.table import Table
from harness.tasks.tabular.table_files import FileOptions, list_files, read_tables, refuse_unused

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

MAX_SHOWN = 10
"""Maximum number of classes in a summary."""

Part = Literal["train", "validation"]
PARTS: tuple[Part, ...] = ("train", "validation")
"""The keys of a declaration that name examples."""


@dataclass(frozen=True)
class Declaration:
    """A declared task with its files.

    Attributes:
        name: name of the task.
        spec: its declaration.
        paths: ``train``, ``validation`` -> absolute file, pattern or folder; empty if `spec.data` is set.
        classes: its classes; None if its kind has none.
    """

    name: str
    spec: TaskSpec
    paths: Mapping[str, str]
    classes: ClassNames | None = None

    @property
    def options(self) -> FileOptions:
        """How its files are read."""
        spec = self.spec
        return FileOptions(
            spec.format,
            spec.encoding,
            spec.delimiter,
            spec.quoting,
            spec.tokens,
            spec.tags,
            text_is_conll=spec.kind == "token_classification",
        )

    def tables(self, part: Part, source: str | None) -> list[Table]:
        """Read the files, or the split of `source`, of one part.

        Raises:
            UserError: they cannot be read; messages name the task.
        """
        spec = self.spec
        with_names = f"task {self.name!r}: "
        try:
            if spec.data is not None:
                split = getattr(spec, part)
                return [read_split(source or spec.data, spec.config, spec.revision, split)]
            return read_tables(self.paths[part], self.options)
        except UserError as error:
            raise _with_prefix(error, with_names) from error

    def files(self, source: str | None) -> list[Path] | None:
        """List the files of all parts; None if they are on the hub."""
        if self.spec.data is not None:
            return source_files(source or self.spec.data)
        return [file for path in self.paths.values() for file in list_files(path, self.options)]

    def examples(self, part: Part, source: str | None) -> tuple[Dataset, int]:
        """Return the examples of one part, and the number of its answers whose start was corrected."""
        tables = self.tables(part, source)
        spec = self.spec if part == "train" else self.spec.model_copy(update={"group": None})
        try:
            return read_examples(tables, spec, self.classes)
        except UserError as error:
            raise _with_prefix(error, f"task {self.name!r}: ") from error


def _with_prefix(error: UserError, prefix: str) -> UserError:
    return UserError(*(Problem(f"{prefix}{problem.message}", problem.where) for problem in error.problems))


def declared_task(
    name: str,
    spec: TaskSpec,
    locate: Callable[[str, str], str],
    *,
    metrics: Collection[str] | None = None,
) -> Task:
    """Return the task that a declaration describes.

    The training files are read if they are needed to know the classes.

    Args:
        name: name of the task.
        spec: the declaration.
        locate: returns the absolute path of a file, pattern or folder, or the hub id or absolute folder of `data`, from
            its key and its value. Raises `UserError` if there is none.
        metrics: names of all registered metrics; None: they are not known yet.

    Raises:
        UserError: the declaration does not fit its files, or files are missing; it holds all problems.
    """
    source = locate("data", spec.data) if spec.data is not None else None
    declaration = Declaration(name, spec, {} if source else _paths(spec, locate))
    if declaration.options.given:
        refuse_unused(declaration.files(source) or (), declaration.options)
    is_on_hub = source is not None and not Path(source).is_absolute()
    if is_on_hub and spec.labels is None and spec.kind in KINDS_WITH_CLASSES:
        raise UserError(Problem("give the labels of a data set on the hub, in the order of the classes", "labels"))
    classes = classes_of(spec, lambda: declaration.tables("train", source))
    declaration = replace(declaration, classes=classes)
    names = classes.names if classes else ()
    chosen = task_metrics.choose(
        spec.kind,
        len(names),
        spec.metrics,
        spec.score,
        higher_is_better=spec.higher_is_better,
        percent=spec.percent,
        unanswerable=spec.unanswerable,
        registered=metrics,
    )
    return Task(
        name=name,
        kind=spec.kind,
        load=partial(_load, declaration),
        metrics=chosen.names,
        score=chosen.score,
        labels=names,
        source=f"tasks.{name}.data" if source else None,
        default_source=source,
        files=declaration.files,
        label_range=cast("tuple[float, float] | None", tuple(spec.label_range) if spec.label_range else None),
        standardize=spec.standardize,
        paired=spec.text_pair is not None,
        higher_is_better=chosen.higher_is_better,
        percent=spec.percent,
        unanswerable=spec.unanswerable,
        class_weights=_class_weights(spec, names),
        key_parts=_key_parts(spec, names, chosen),
        summary=_summary(spec, classes),
    )


def _paths(spec: TaskSpec, locate: Callable[[str, str], str]) -> dict[str, str]:
    """Return the absolute paths of the parts. Raises `UserError` with all that are missing."""
    paths: dict[str, str] = {}
    problems: list[Problem] = []
    for part in PARTS:
        value = getattr(spec, part)
        if isinstance(value, str):
            try:
                paths[part] = locate(part, value)
            except UserError as error:
                problems += [Problem(problem.message, part) for problem in error.problems]
    if problems:
        raise UserError(*problems)
    return paths


def _key_parts(spec: TaskSpec, names: Sequence[str], chosen: task_metrics.TaskMetrics) -> dict[str, object]:
    """Return the parts of keys that the fingerprints of the examples do not cover."""
    resolved = {"labels": list(names), "metrics": list(chosen.names), "score": chosen.score}
    return {name: value for name, value in {**spec.key_fields(), **resolved}.items() if value not in (None, [], False)}


def _class_weights(spec: TaskSpec, names: Sequence[str]) -> tuple[float, ...] | Literal["balanced"] | None:
    """Return the weights in the order of the classes; the weight of a class that has none is 1."""
    if not isinstance(spec.class_weights, dict):
        return spec.class_weights
    weights = {value_text(name) if name not in names else name: value for name, value in spec.class_weights.items()}
    if unknown := [name for name in weights if name not in names]:
        raise UserError(Problem(f"no class {unknown[0]!r}; {nearest(unknown[0], names)}", "class_weights"))
    return tuple(weights.get(name, 1.0) for name in names)


def _summary(spec: TaskSpec, classes: ClassNames | None) -> str:
    if classes is None:
        return f"{spec.kind}, standardized labels" if spec.standardize else spec.kind
    shown = ", ".join(classes.names[:MAX_SHOWN]) + (", ..." if len(classes.names) > MAX_SHOWN else "")
    how = " (the sorted values of the training examples)" if classes.sorted_values else ""
    return f"{spec.kind}, {len(classes.names)} classes: {shown}{how}"


def _load(declaration: Declaration, source: str | None) -> Splits:
    """Load, check and split the examples."""
    spec = declaration.spec
    problems: list[Problem] = []
    parts: dict[str, tuple[Dataset, int]] = {}
    for part in PARTS:
        if isinstance(getattr(spec, part), str):
            try:
                parts[part] = declaration.examples(part, source)
            except UserError as error:
                problems += error.problems
    if problems:
        raise UserError(*dict.fromkeys(problems))  # a file may be two parts
    train, repaired = parts["train"]
    counts = {"train": repaired}
    if "validation" in parts:
        validation, counts["validation"] = parts["validation"]
    else:
        train, validation = split_validation(declaration.name, spec, train)
    _check_seen(declaration, train, validation)
    return Splits(train, {"validation": validation}, repaired=counts)


def split_validation(name: str, spec: TaskSpec, examples: Dataset) -> tuple[Dataset, Dataset]:
    """Split off `spec.validation`, a share of the examples, with `spec.seed`. Both parts keep their order.

    Rows are sampled as for a held-out split (`harness.tasks.row_sampling`).

    Raises:
        UserError: there are too few examples or groups.
    """
    share = float(spec.validation)
    count = round(share * len(examples))
    held_out = held_out_rows(spec.kind, examples, count, spec.seed)
    if not held_out.any() or held_out.all():
        what = "groups" if spec.group else "contexts" if spec.kind == "qa" else "examples"
        raise UserError(
            f"task {name!r}: a share of {share:g} of {len(examples)} examples cannot be held out as validation: there"
            f" are too few {what}; raise the share, or give a validation file"
        )
    train, validation = (examples.select(np.flatnonzero(mask)) for mask in (~held_out, held_out))
    return train, validation.remove_columns([GROUP]) if GROUP in validation.column_names else validation


def _check_seen(declaration: Declaration, train: Dataset, validation: Dataset) -> None:
    """Check that the training examples have all classes that are scored.

    Raises:
        UserError: a classification has validation examples of a class without training examples.
    """
    kind, classes = declaration.spec.kind, declaration.classes
    if classes is None:
        return
    column = "tags" if kind == "token_classification" else "label"
    seen, scored = (_distinct(part[column][:]) for part in (train, validation))
    where = f"task {declaration.name!r}"
    if unseen := sorted(scored - seen):
        names = ", ".join(repr(classes.names[number]) for number in unseen[:MAX_SHOWN])
        message = f"{where}: the validation examples have {names}, of which there is no training example"
        if kind == "classification":
            raise UserError(f"{message}; add training examples, or remove these rows and labels")
        log.warning("%s", message)
    if unused := [name for number, name in enumerate(classes.names) if number not in seen | scored]:
        log.warning("%s: no example has label %s", where, ", ".join(map(repr, unused[:MAX_SHOWN])))


def _distinct(labels: Sequence[int | list[int]]) -> set[int]:
    return {label for row in labels for label in (row if isinstance(row, list) else [row])}
