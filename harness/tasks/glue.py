"""The tasks of GLUE (Wang et al., 2019), with the columns, labels and splits that they have on the hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from harness import hookimpl
from harness.api.task import Splits, Task
from harness.tasks.data_checks import Columns, refuse_invalid_split

if TYPE_CHECKING:
    from datasets import Dataset

SOURCE = "nyu-mll/glue"

SENTENCE, PAIR, INFERENCE = ("sentence",), ("sentence1", "sentence2"), ("premise", "hypothesis")
VALIDATION = ("validation",)
MATCHED_AND_MISMATCHED = ("validation_matched", "validation_mismatched")

NLI = ("entailment", "neutral", "contradiction")
"""In the hub's order; GLUE's own files have them in another."""

STSB_RANGE = (0.0, 5.0)
"""Of the similarity of two sentences."""


def _task(
    name: str,
    columns: tuple[str, ...],
    labels: tuple[str, ...],
    metrics: tuple[str, ...],
    score: str,
    summary: str,
    splits: Sequence[str] = VALIDATION,
) -> Task:
    """A task of GLUE; `columns` hold its sentence or its two, and no `labels` mean regression."""
    return Task(
        name=name,
        kind="classification" if labels else "regression",
        load=partial(_load, name, columns, labels, splits),
        metrics=metrics,
        score=score,
        labels=labels,
        label_range=None if labels else STSB_RANGE,
        source="glue",
        default_source=SOURCE,
        paired=len(columns) == 2,
        summary=summary,
    )


def _load(
    name: str, columns: Sequence[str], labels: Sequence[str], splits: Sequence[str], source: str | None
) -> Splits:
    parts = _read(source or SOURCE, name, columns, labels, ["train", *splits])
    return Splits(train=parts.pop("train"), validation=parts)


def _load_ax(source: str | None) -> Splits:
    """MNLI's training set, and the diagnostic set to be scored, whose labels the hub hides."""
    where = source or SOURCE
    train = _read(where, "mnli", INFERENCE, NLI, ["train"])
    return Splits(train["train"], _read(where, "ax", INFERENCE, NLI, ["test"], may_hide=True))


def _read(
    source: str,
    config: str,
    columns: Sequence[str],
    labels: Sequence[str],
    splits: Sequence[str],
    *,
    may_hide: bool = False,
) -> dict[str, Dataset]:
    """Splits of one of GLUE's data sets by name; `may_hide`: they may be without labels."""
    from harness.tasks.data_sources import get_split, load_source

    data = load_source(source, config)
    title = f"data set {source!r}, config {config!r}"
    parts = {}
    for split in splits:
        rows = get_split(data, split, [*columns, "label", "idx"], title)
        parts[split] = _examples(rows, columns, labels, f"{title}, split {split!r}", may_hide=may_hide)
    return parts


def _examples(rows: Dataset, columns: Sequence[str], labels: Sequence[str], where: str, *, may_hide: bool) -> Dataset:
    """GLUE's columns under the names that all tasks share, checked."""
    import datasets

    names = dict(zip(("text", "text_pair"), columns, strict=False)) | {"label": "label", "id": "idx"}
    examples = rows.select_columns(list(names.values())).rename_columns({old: new for new, old in names.items()})
    if str(getattr(examples.features["id"], "dtype", "")).startswith(("int", "uint")):
        examples = examples.cast_column("id", datasets.Value("string"))
    paired = len(columns) == 2
    label_range = None if labels else STSB_RANGE
    refuse_invalid_split(
        Columns("classification" if labels else "regression", len(labels), label_range, paired, names=names),
        examples,
        where,
        may_hide=may_hide,
    )
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            **{name: datasets.Value("string") for name in names if name.startswith("text")},
            "label": datasets.Value("int64" if labels else "float32"),
        }
    )
    content = {name: examples[name][:] for name in features}
    return datasets.Dataset.from_dict(content | {"label": _in_order(rows, labels)}, features=features)


def _in_order(rows: Dataset, labels: Sequence[str]) -> list[float]:
    """The labels; where the column names the same classes in another order (as GLUE's own files have MNLI's), those of
    that name."""
    found: list[float] = rows["label"][:]
    names = [name.lower() for name in getattr(rows.features["label"], "names", ())]
    if sorted(names) != sorted(labels) or not labels:
        return found
    return [labels.index(names[int(label)]) if label >= 0 else label for label in found]


ACCURACY, ACCURACY_AND_F1, MATTHEWS = ("accuracy",), ("accuracy", "f1"), ("matthews_correlation",)

AX = Task(
    name="ax",
    kind="classification",
    load=_load_ax,
    metrics=MATTHEWS,
    score="matthews_correlation",
    labels=NLI,
    source="glue",
    default_source=SOURCE,
    paired=True,
    diagnostic=True,
    summary="GLUE's diagnostic set, put to students that learn mnli",
)

TASKS = (
    _task("cola", SENTENCE, ("unacceptable", "acceptable"), MATTHEWS, MATTHEWS[0], "is a sentence grammatical"),
    _task("sst2", SENTENCE, ("negative", "positive"), ACCURACY, "accuracy", "sentiment of film reviews"),
    _task("mrpc", PAIR, ("not_equivalent", "equivalent"), ACCURACY_AND_F1, "f1", "do two sentences say the same"),
    _task("stsb", PAIR, (), ("pearson_spearman",), "pearson", "how alike two sentences are, from 0 to 5"),
    _task(
        "qqp",
        ("question1", "question2"),
        ("not_duplicate", "duplicate"),
        ACCURACY_AND_F1,
        "f1",
        "do two questions ask the same",
    ),
    _task(
        "mnli",
        INFERENCE,
        NLI,
        ACCURACY,
        "accuracy",
        "does a sentence follow from another, contradict it, or neither",
        MATCHED_AND_MISMATCHED,
    ),
    _task(
        "qnli",
        ("question", "sentence"),
        ("entailment", "not_entailment"),
        ACCURACY,
        "accuracy",
        "does a sentence answer a question",
    ),
    _task("rte", PAIR, ("entailment", "not_entailment"), ACCURACY, "accuracy", "does a sentence follow from another"),
    _task("wnli", PAIR, ("not_entailment", "entailment"), ACCURACY, "accuracy", "what does a pronoun stand for"),
    AX,
)


@hookimpl
def harness_register_tasks(register: Callable[[Task], None]) -> None:
    for task in TASKS:
        register(task)
