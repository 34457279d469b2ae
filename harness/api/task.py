"""What a task is: a data set with its splits, columns, metrics and kind of head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # datasets and torch take a second each to import, and most commands read only a task's description
    from datasets import Dataset

    from harness.api.batch import TaskKind


@dataclass(frozen=True)
class Splits:
    """A task's examples in one form for all tasks, before tokenisation.

    Columns: ``id`` (str, unique in its split) and

    - classification and regression: ``text`` (str), ``text_pair`` (str; only for pairs), ``label`` (int or float); a
      class of -1 throughout a validation split says that its labels are hidden: it is predicted, and not scored;
    - QA: ``question``, ``context`` (str), ``answers`` (list of {"text": str, "start": int}; several in a validation
      split, none where the question has no answer). An answer is what the context has at its start.

    `harness.tasks.data_checks` checks all of this before anything is trained.

    `validation` has one data set for each validation split, by name; what a run scores is all of them. `selection` is
    a part of the training split that is held out from `train` to choose on, if anything is: see
    `harness.tasks.holdout`. What loads a task leaves it out. `repaired` counts the answers of each split whose start
    was corrected on loading.
    """

    train: Dataset
    validation: dict[str, Dataset]
    selection: Dataset | None = None
    repaired: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A task's description. `load` gives its data.

    Attributes:
        name: as suites write it.
        kind: classification, regression or qa.
        source: the key of the suite's `sources` that its data come from; None for generated data.
        load: source (hub id or folder; None for generated data) -> Splits. Raises `UserError` with the remedy when the
            source cannot be had.
        metrics: names of registered metrics to compute, all of them kept in the record.
        score: which of the values those metrics return is the task's score, on the board.
        labels: names of the classes; empty for regression and QA.
        label_range: regression, the least and the greatest label there can be; None: any finite number.
        paired: whether examples are pairs of sentences.
        higher_is_better: of its score; False where less is better, as for an error. Ranks, floors, the best epoch and
            what tuning chooses go by it.
        percent: whether its score is from 0 to 100 as it is; else it is a fraction, and boards show it times 100. None:
            as is usual for its kind, which is percent for QA alone.
        unanswerable: QA, whether questions may have no answer: only then is "there is none" a possible answer.
        diagnostic: whether it only tells something about the students of another task: it is on the board, and no part
            of the average and the rank.
        synthetic: whether the examples are generated; said wherever its scores are shown.
        default_source: what `source` means where the suite does not say; a hub id.
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
    paired: bool = False
    higher_is_better: bool = True
    percent: bool | None = None
    unanswerable: bool = False
    diagnostic: bool = False
    synthetic: bool = False
    summary: str = field(default="", compare=False)

    @property
    def in_percent(self) -> bool:
        """`percent`, decided."""
        return self.kind == "qa" if self.percent is None else self.percent

    @property
    def num_labels(self) -> int:
        """Outputs of the head: classes; 1 for regression; 2 (start, end) for QA; 0 for text, which has no labels."""
        return {"classification": len(self.labels), "regression": 1, "qa": 2, "text": 0}[self.kind]
