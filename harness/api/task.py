"""Tasks: a data set with its splits, columns, metrics and kind of head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # datasets and torch take a second each to import; most commands need only the description
    from datasets import Dataset

    from harness.api.batch import TaskKind

ENTITY_METRIC = "entity_f1"
"""The registered metric of the entities that tags mark. It needs `Task.labels` in IOB2."""


@dataclass(frozen=True)
class Splits:
    """A task's examples before tokenization, in a form that is common to all tasks.

    Columns: ``id`` (str, unique in its split) and

    - classification, multilabel and regression: ``text`` (str), ``text_pair`` (str; only for pairs), ``label`` (a class
      number; multilabel: a list of class numbers, ascending and unique, may be empty; regression: a number);
    - token classification: ``tokens`` (list of str, the words), ``tags`` (list of int, the class number of each word);
    - QA: ``question``, ``context`` (str), ``answers`` (list of {"text": str, "start": int}; several in a validation
      split, none if the question has no answer). The context contains each answer's text at its start.

    The training split may have a column ``group`` (str): rows with equal values are held out together.
    The labels of a validation split with classes may be hidden: it is predicted but not scored. Then every label is -1,
    of a multilabel task [-1], and so is every tag.

    `harness.tasks.data_checks` validates this before training.

    Attributes:
        train: the training split.
        validation: the validation splits by name; a run is scored on all of them.
        selection: the held-out part of the training split, if the suite has `selection` or `tuning`
            (`harness.tasks.holdout`). `Task.load` leaves it None.
        repaired: the number of answers of each split whose start was corrected on loading.
    """

    train: Dataset
    validation: dict[str, Dataset]
    selection: Dataset | None = None
    repaired: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelScale:
    """Mean and standard deviation of the labels of a regression's training examples, in the unit of the labels."""

    mean: float
    deviation: float

    @property
    def unit(self) -> float:
        """The divisor of standardized labels: the standard deviation, or 1 if all labels are equal."""
        return self.deviation or 1.0


@dataclass(frozen=True)
class Task:
    """The description of a task; `load` returns its data.

    Attributes:
        name: the name in suites.
        kind: classification, multilabel, regression, token_classification or qa.
        source: the key of the suite's `sources` that names the data; None for generated data.
        load: loads the splits from a source (hub id or folder; None for generated data). Raises `UserError` with the
            remedy if the source is not available.
        metrics: names of registered metrics to compute; the record has the values of all of them.
        score: the metric value that is the task's score on the board.
        labels: names of the classes; empty for regression and QA. For token classification the names of the tags, for
            entities in IOB2: "O", "B-PER", "I-PER", ...
        label_range: regression: the smallest and largest possible label; None: any finite number.
        standardize: regression: whether models are trained on (label - mean) / standard deviation of the training
            labels. Predictions, scores and stored models are in the unit of the labels all the same.
        label_scale: these two numbers, which the harness sets when the examples are known; None: labels are not
            standardized.
        paired: whether examples are pairs of sentences.
        higher_is_better: False if a lower score is better, as for an error. Ranks, floors, best epoch and tuning
            depend on it.
        percent: whether boards print the score as it is, because it is from 0 to 100, or an error in a unit of its own
            (with `higher_is_better` false); else it is a fraction, which boards multiply by 100. None: True for
            QA and where a lower score is better, else False.
        unanswerable: QA: whether questions may have no answer. Only then can "no answer" be predicted.
        diagnostic: whether the task only diagnoses students of another task: it is on the board but in no average and
            no rank.
        synthetic: whether the examples are generated; shown wherever scores of the task are shown.
        default_source: the hub id of `source` if the suite does not set it.
        class_weights: weights of the classes in the task loss, in their order; ``balanced``: in inverse proportion to
            the number of training examples of each class; None: all equal. See `harness.api.losses.task_loss`.
        files: lists the files that `load` reads from a source; empty for generated data. Then the fingerprints and
            checks of the data are cached until one of these files changes, or the code of the package that defines
            `load`. None, or a function that returns None: `load` is called every time. The same
            holds if `load` is a lambda or captures values: its name does not tell what it does.
        key_parts: further parts of the keys of the task's teachers and runs. The parts of a declared task are all that
            a user may edit, such as names of labels and metrics. A task of a plugin needs none for its fields: kind,
            number of classes, metrics, score, `paired`, `label_range`, `standardize`, `unanswerable` and
            `class_weights` are in the keys if they are not those of a binary classification that is scored by accuracy.
        summary: a line for `harness list tasks`.
    """

    name: str
    kind: TaskKind
    load: Callable[[str | None], Splits]
    metrics: tuple[str, ...]
    score: str
    labels: tuple[str, ...] = ()
    source: str | None = None
    default_source: str | None = None
    label_range: tuple[float, float] | None = None
    standardize: bool = False
    label_scale: LabelScale | None = None
    paired: bool = False
    higher_is_better: bool = True
    percent: bool | None = None
    unanswerable: bool = False
    diagnostic: bool = False
    synthetic: bool = False
    class_weights: tuple[float, ...] | Literal["balanced"] | None = None
    files: Callable[[str | None], Iterable[Path] | None] | None = field(default=None, compare=False)
    key_parts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    summary: str = field(default="", compare=False)

    @property
    def in_percent(self) -> bool:
        """`percent`, or its default for this kind and direction."""
        return (self.kind == "qa" or not self.higher_is_better) if self.percent is None else self.percent

    @property
    def num_labels(self) -> int:
        """Number of outputs of the head: the classes; 1 for regression; 2 (start, end) for QA; 0 for text."""
        return {"regression": 1, "qa": 2, "text": 0}.get(self.kind, len(self.labels))
