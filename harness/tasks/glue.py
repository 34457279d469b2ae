"""The tasks of GLUE (Wang et al., 2019), with the columns, labels and splits of the hub's data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from harness import hookimpl
from harness.api.errors import UserError
from harness.api.task import Splits, Task
from harness.tasks.data_checks import Columns, refuse_invalid_split
from harness.tasks.data_sources import source_files

if TYPE_CHECKING:
    from datasets import Dataset

SOURCE = "nyu-mll/glue"

SENTENCE, PAIR, INFERENCE = ("sentence",), ("sentence1", "sentence2"), ("premise", "hypothesis")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "cola": SENTENCE,
    "sst2": SENTENCE,
    "mrpc": PAIR,
    "stsb": PAIR,
    "qqp": ("question1", "question2"),
    "mnli": INFERENCE,
    "qnli": ("question", "sentence"),
    "rte": PAIR,
    "wnli": PAIR,
    "ax": INFERENCE,
}
"""The text columns of each data set, in the order in which models read them."""

VALIDATION = ("validation",)
MATCHED_AND_MISMATCHED = ("validation_matched", "validation_mismatched")

NLI = ("entailment", "neutral", "contradiction")
"""In the hub's order, which differs from the order in GLUE's own files."""

STSB_RANGE = (0.0, 5.0)
"""Minimum and maximum similarity of two sentences."""


def _task(
    name: str,
    labels: tuple[str, ...],
    metrics: tuple[str, ...],
    score: str,
    summary: str,
    splits: Sequence[str] = VALIDATION,
) -> Task:
    """Return a task of GLUE; without `labels` it is a regression."""
    columns = COLUMNS[name]
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
        files=source_files,
        paired=len(columns) == 2,
        summary=summary,
    )


def _load(
    name: str, columns: Sequence[str], labels: Sequence[str], splits: Sequence[str], source: str | None
) -> Splits:
    loaded = _load_splits(source or SOURCE, name, columns, labels, ["train", *splits])
    return Splits(train=loaded.pop("train"), validation=loaded)


def _load_ax(source: str | None) -> Splits:
    """Return MNLI's training split and the diagnostic set, whose labels are hidden on the hub."""
    where = source or SOURCE
    train = _load_splits(where, "mnli", INFERENCE, NLI, ["train"])
    return Splits(train["train"], _load_splits(where, "ax", INFERENCE, NLI, ["test"], may_hide=True))


def load_test_texts(config: str, split: str, source: str | None) -> list[list[str]]:
    """Return the texts of a test split, one list for each text column, in the order of the data set.

    Raises:
        UserError: the data set, the split or a column does not exist, or a text is missing.
    """
    from harness.tasks.data_sources import get_split, load_source

    where = source or SOURCE
    title = f"data set {where!r}, config {config!r}"
    rows = get_split(load_source(where, config), split, COLUMNS[config], title)
    texts = [rows[name][:] for name in COLUMNS[config]]
    for name, values in zip(COLUMNS[config], texts, strict=True):
        missing = [number for number, value in enumerate(values) if not isinstance(value, str)]
        if missing:
            raise UserError(f"{title}, split {split!r}, column {name!r}: row {missing[0]} has no text")
    return texts


def _load_splits(
    source: str,
    config: str,
    columns: Sequence[str],
    labels: Sequence[str],
    splits: Sequence[str],
    *,
    may_hide: bool = False,
) -> dict[str, Dataset]:
    """Return splits of one of GLUE's data sets by name. `may_hide`: their labels may be hidden."""
    from harness.tasks.data_sources import get_split, load_source

    data = load_source(source, config)
    title = f"data set {source!r}, config {config!r}"
    examples = {}
    for split in splits:
        rows = get_split(data, split, [*columns, "label", "idx"], title)
        examples[split] = _examples(rows, columns, labels, f"{title}, split {split!r}", may_hide=may_hide)
    return examples


def _examples(rows: Dataset, columns: Sequence[str], labels: Sequence[str], where: str, *, may_hide: bool) -> Dataset:
    """Rename GLUE's columns to those of `Splits`, and validate and convert their values."""
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
    """Return the labels as indices of `labels`.

    Where the column has the same class names in another order, as MNLI in GLUE's own files, they are mapped by name.
    """
    values: list[float] = rows["label"][:]
    names = [name.lower() for name in getattr(rows.features["label"], "names", ())]
    if sorted(names) != sorted(labels) or not labels:
        return values
    return [labels.index(names[int(value)]) if value >= 0 else value for value in values]


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
    files=source_files,
    paired=True,
    diagnostic=True,
    summary="GLUE's diagnostic set, scored with students trained on mnli",
)

TASKS = (
    _task("cola", ("unacceptable", "acceptable"), MATTHEWS, MATTHEWS[0], "is a sentence grammatical"),
    _task("sst2", ("negative", "positive"), ACCURACY, "accuracy", "sentiment of film reviews"),
    _task("mrpc", ("not_equivalent", "equivalent"), ACCURACY_AND_F1, "f1", "do two sentences say the same"),
    _task("stsb", (), ("pearson_spearman",), "pearson", "how alike two sentences are, from 0 to 5"),
    _task("qqp", ("not_duplicate", "duplicate"), ACCURACY_AND_F1, "f1", "do two questions ask the same"),
    _task(
        "mnli",
        NLI,
        ACCURACY,
        "accuracy",
        "does a sentence follow from another, contradict it, or neither",
        MATCHED_AND_MISMATCHED,
    ),
    _task("qnli", ("entailment", "not_entailment"), ACCURACY, "accuracy", "does a sentence answer a question"),
    _task("rte", ("entailment", "not_entailment"), ACCURACY, "accuracy", "does a sentence follow from another"),
    _task("wnli", ("not_entailment", "entailment"), ACCURACY, "accuracy", "what does a pronoun stand for"),
    AX,
)


@hookimpl
def harness_register_tasks(register: Callable[[Task], None]) -> None:
    for task in TASKS:
        register(task)
