"""Pydantic model of a task that a suite declares: where its examples are, and what their columns mean."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from harness.config.strict_model import Strict

Kind = Literal["classification", "multilabel", "regression", "token_classification", "qa"]
"""Kinds of declared tasks."""

Format = Literal["csv", "tsv", "json", "jsonl", "parquet", "conll"]

MAX_CLASSES = 1000

LabelValue = str | int | float | bool
Share = Annotated[float, Field(gt=0, lt=1)]
Weight = Annotated[float, Field(gt=0, le=1e6)]
Cells = Annotated[str, Field(min_length=1)]
Number = Annotated[int, Field(ge=0, lt=2**32)]


def _column_text(value: object) -> object:
    """The number of a column as text; other values as they are."""
    return str(value) if type(value) is int and value >= 0 else value


NumberedCells = Annotated[
    str,
    Field(min_length=1),
    BeforeValidator(_column_text),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}]}),
]
"""A column by its name, or by its number in files without names of columns."""

_KINDS_OF = {
    "text_pair": ("classification", "multilabel", "regression"),
    "separator": ("multilabel",),
    "labels": ("classification", "multilabel", "token_classification"),
    "label_range": ("regression",),
    "standardize": ("regression",),
    "class_weights": ("classification", "multilabel", "token_classification"),
    "question": ("qa",),
    "context": ("qa",),
    "answers": ("qa",),
    "unanswerable": ("qa",),
    "tokens": ("token_classification",),
    "tags": ("token_classification",),
    "text": ("classification", "multilabel", "regression"),
    "label": ("classification", "multilabel", "regression"),
}
"""Field -> the kinds of task that have it."""

_ROLES = ("text", "text_pair", "question", "context", "tokens", "label", "answers", "tags")
"""The fields that name columns of inputs, then those of labels. Each kind of task has one of labels."""

_IN_EXAMPLES = "the fingerprints of the examples are part of the key"
_RESOLVED = "part of the key as resolved for the task"


class TaskSpec(Strict):
    """A task declared in a suite: files or a data set of the hub, and their columns."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "data": _IN_EXAMPLES,
        "config": _IN_EXAMPLES,
        "revision": _IN_EXAMPLES,
        "train": _IN_EXAMPLES,
        "validation": _IN_EXAMPLES,
        "format": _IN_EXAMPLES,
        "encoding": _IN_EXAMPLES,
        "delimiter": _IN_EXAMPLES,
        "quoting": _IN_EXAMPLES,
        "id": _IN_EXAMPLES,
        "text": _IN_EXAMPLES,
        "text_pair": _IN_EXAMPLES,
        "label": _IN_EXAMPLES,
        "separator": _IN_EXAMPLES,
        "question": _IN_EXAMPLES,
        "context": _IN_EXAMPLES,
        "answers": _IN_EXAMPLES,
        "tokens": _IN_EXAMPLES,
        "tags": _IN_EXAMPLES,
        "group": _IN_EXAMPLES,
        "seed": _IN_EXAMPLES,
        "labels": _RESOLVED,
        "metrics": _RESOLVED,
        "score": _RESOLVED,
        "higher_is_better": "in the keys of runs that choose an epoch or settings by the score; others do not use it",
        "percent": "how boards print the score",
    }

    kind: Kind = Field(description="what is predicted for an example")
    data: str | None = Field(
        None,
        description="hub id, or local folder in the hub's layout; `train` and `validation` are then its splits",
    )
    config: str | None = Field(None, description="config of `data`; default: its only config")
    revision: str | None = Field(None, description="branch, tag or commit of `data` on the hub; default: main")
    train: str = Field("train", description="file, pattern or folder of the training examples; with `data`: a split")
    validation: str | Share = Field(
        "validation",
        description="scored examples: a file, pattern or folder; with `data`: a split; a number: a share of `train`",
    )
    format: Format | None = Field(None, description="format of the files; default: by their suffix")
    encoding: str = Field("utf-8", description="encoding of text files, such as latin-1 or cp1252")
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        None, description="character between cells of csv and tsv files; default: comma, tab"
    )
    quoting: bool = Field(True, description='whether "..." encloses cells of csv and tsv files that span several lines')
    id: Cells | None = Field(None, description="column of unique ids; default: the number of the row")
    text: Cells = Field("text", description="column of the text")
    text_pair: Cells | None = Field(None, description="column of the second text of a pair")
    label: Cells | list[Cells] = Field(
        "label", description="column of the label; multilabel: also a list of columns, one for each class"
    )
    separator: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="multilabel: text between the labels of a cell; default: the cell is a list"
    )
    labels: Annotated[list[LabelValue] | dict[str, str], Field(min_length=1)] | None = Field(
        None,
        description="values of the label in the order of the classes, or value -> name of its class; default: the"
        " sorted values of the training files",
    )
    label_range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        None, description="regression: smallest and largest label; default: any finite number"
    )
    standardize: bool = Field(
        False,
        description="regression: whether models are trained on (label - mean) / standard deviation of the training"
        " labels; predictions, scores and models stay in the unit of the labels",
    )
    question: Cells = Field("question", description="qa: column of the question")
    context: Cells = Field("context", description="qa: column of the text that has the answer")
    answers: Cells = Field("answers", description="qa: column of the answers: texts, with or without their starts")
    unanswerable: bool = Field(False, description="qa: whether questions may have no answer")
    tokens: NumberedCells = Field(
        "tokens", description="token classification: column of the words; conll: its number, from 0"
    )
    tags: NumberedCells = Field(
        "tags", description="token classification: column of the tags; conll: its number, or `last`"
    )
    group: Cells | None = Field(
        None, description="column whose equal values stay together when a share of `train` is held out"
    )
    seed: Number = Field(1, description="of the share of `train` that is held out as validation")
    class_weights: Literal["balanced"] | dict[str, Weight] | None = Field(
        None, description="weights of the classes in the task loss: balanced, or class -> weight (default 1)"
    )
    metrics: Annotated[list[Cells], Field(min_length=1)] | None = Field(
        None, description="metrics to compute; default: the usual ones of the kind"
    )
    score: Cells | None = Field(None, description="the metric on the board; default: the first of `metrics`")
    higher_is_better: bool | None = Field(
        None, description="whether a higher score is better; required if the score is a metric of a plugin"
    )
    percent: bool | None = Field(
        None,
        description="score of a plugin's metric: whether boards print it as it is, because it is from 0 to 100 or an"
        " error in a unit of its own; else they multiply it by 100; default: if lower is better",
    )

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        for name in sorted(_KINDS_OF.keys() & self.model_fields_set):
            if self.kind not in _KINDS_OF[name]:
                raise ValueError(f"`{name}` is for {' and '.join(_KINDS_OF[name])}, found kind {self.kind}")
        if isinstance(self.label, list) and self.kind != "multilabel":
            raise ValueError("`label` is a list of columns, which only multilabel tasks have; give one column")
        if self.kind == "token_classification" and isinstance(self.labels, dict):
            raise ValueError("`labels` of token_classification is a list of tags, or of types of entities")
        if isinstance(self.label, list) and self.separator is not None:
            raise ValueError("`separator` splits one column of labels, but `label` lists one column for each class")
        return self

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.data is None:
            if found := sorted({"config", "revision"} & self.model_fields_set):
                raise ValueError(f"`{found[0]}` belongs to `data`, a hub id or a folder in the hub's layout")
            if missing := sorted({"train", "validation"} - self.model_fields_set):
                what = "a file, or a share of `train` such as 0.1" if missing == ["validation"] else "files, or `data`"
                raise ValueError(f"{' and '.join(f'`{name}`' for name in missing)} missing: give {what}")
        elif found := sorted({"format", "encoding", "delimiter", "quoting"} & self.model_fields_set):
            raise ValueError(f"`{found[0]}` is for files of your own; `data` has the hub's layout")
        if self.group is not None and self.kind == "qa":
            raise ValueError("`group` is not for qa: all questions about a context stay together")
        return self

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        if isinstance(self.label_range, list) and self.label_range[0] >= self.label_range[1]:
            raise ValueError(f"label_range: expected the smallest and the largest label, found {self.label_range}")
        if self.metrics and len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics: duplicate value in {', '.join(self.metrics)}")
        return self

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        """Check that no column is two of the inputs and the label, or the label and an id or group.

        A text may be the id of its row, and equal texts may be a group.
        """
        *inputs, label = (name for name in _ROLES if self.kind in _KINDS_OF[name])
        for name, other in [*combinations((*inputs, label), 2), (label, "id"), (label, "group")]:
            if same := self._columns(name) & self._columns(other):
                raise ValueError(f"`{name}` and `{other}` name the same column, {min(same)!r}")
        return self

    def _columns(self, name: str) -> set[str]:
        """The columns that a field names."""
        value = getattr(self, name)
        return {value} if isinstance(value, str) else set(value or ())
