"""The metric values that a declared task can name, by kind of task, and the registered metrics that return them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.api.errors import Problem, UserError, nearest
from harness.api.task import ENTITY_METRIC
from harness.metrics.builtin_metrics import METRICS

VALUES: Mapping[str, Mapping[str, str]] = {
    "classification": {name: name for name in ("accuracy", "f1", "f1_macro", "f1_micro", "matthews_correlation")},
    "multilabel": {name: name for name in ("f1_micro", "f1_macro", "subset_accuracy")},
    "regression": {"pearson": "pearson_spearman", "spearmanr": "pearson_spearman", "mse": "errors", "mae": "errors"},
    "token_classification": {
        **dict.fromkeys(("entity_f1", "entity_precision", "entity_recall"), ENTITY_METRIC),
        "token_accuracy": "token_accuracy",
    },
    "qa": {"f1": "squad", "exact": "squad"},
}
"""Kind of task -> value -> name of the registered metric that returns it."""

DEFAULTS: Mapping[str, Sequence[str]] = {
    "classification": ("accuracy", "f1_macro"),
    "multilabel": ("f1_micro", "f1_macro"),
    "token_classification": ("entity_f1",),
    "regression": ("pearson", "spearmanr", "mse"),
    "qa": ("f1", "exact"),
}
"""Kind of task -> the values that are computed if the declaration names none; the first one is the score."""


def values_of(metrics: Collection[str]) -> frozenset[str] | None:
    """Return the values that built-in metrics return; None if they depend on the examples, as those for QA do."""
    if not {"squad", "squad_v2"}.isdisjoint(metrics):
        return None
    return frozenset(value for kind in VALUES.values() for value, metric in kind.items() if metric in metrics)


ERRORS = frozenset({"mse", "mae"})
"""Values of which less is better. They are no shares, and boards show them as they are."""


_PART = re.compile("(HasAns|NoAns)_")
"""Start of the name of a value that SQuAD 2.0's metric returns for a part of the questions."""


def factor(kind: str, value: str) -> int | None:
    """By what a value of a built-in metric is multiplied to be in percent; None: an error, or a value of a plugin."""
    if kind == "qa":
        return 1 if _PART.sub("", value) in VALUES["qa"] else None
    return 100 if value in VALUES.get(kind, {}) and value not in ERRORS else None


def has_entities(metrics: Sequence[str] | None, score: str | None) -> bool:
    """Whether a token classification that declares these values computes any of entities."""
    named = [*(metrics or DEFAULTS["token_classification"]), score]
    return any(VALUES["token_classification"].get(name or "") == ENTITY_METRIC for name in named)


@dataclass(frozen=True)
class TaskMetrics:
    """The metrics of a declared task: names of registered metrics, the value that is its score, and its direction."""

    names: tuple[str, ...]
    score: str
    higher_is_better: bool


def choose(
    kind: str,
    classes: int,
    metrics: Sequence[str] | None,
    score: str | None,
    *,
    higher_is_better: bool | None = None,
    percent: bool | None = None,
    unanswerable: bool = False,
    registered: Collection[str] | None = None,
) -> TaskMetrics:
    """Return the metrics of a task of that kind.

    Args:
        kind: kind of the task.
        classes: number of its classes.
        metrics: names of values, or of metrics of plugins; None: the default ones.
        score: the value that is the score; None: the first of `metrics`.
        higher_is_better: the direction of a score that a plugin's metric returns, which must be given: an error would
            be ranked upside down. None for built-in values, whose direction is known.
        percent: `Task.percent` of that score; None for built-in values.
        unanswerable: QA: whether questions may have no answer.
        registered: names of all registered metrics; those of plugins return a value of their own name. None: any name
            that no built-in metric has is allowed, for the suite to check.

    Raises:
        UserError: a name is unknown or does not suit the task, or the other arguments do not suit the score.
    """
    values = VALUES.get(kind, {})
    chosen = list(metrics or DEFAULTS[kind])
    if score is not None and score not in chosen:
        chosen.append(score)
    for name in chosen:
        _refuse_unknown(name, kind, registered, "metrics" if metrics and name in metrics else "score")
    if kind == "classification" and classes != 2 and "f1" in chosen:
        message = f"f1 is that of the second of two classes, found {classes} classes; use f1_macro"
        raise UserError(Problem(message, "metrics"))
    names = dict.fromkeys(values.get(name, name) for name in chosen)
    if unanswerable:
        names = {"squad_v2" if name == "squad" else name: None for name in names}
    score = score or chosen[0]
    if score in values:
        _refuse_for_built_in(score, {"higher_is_better": higher_is_better, "percent": percent})
        higher_is_better = score not in ERRORS
    elif higher_is_better is None:
        message = f"the score {score!r} is a metric of a plugin: say whether a higher one is better, true or false"
        raise UserError(Problem(message, "higher_is_better"))
    return TaskMetrics(tuple(names), score, higher_is_better)


def _refuse_unknown(name: str, kind: str, registered: Collection[str] | None, where: str) -> None:
    values = VALUES.get(kind, {})
    if name not in values and (name in METRICS or (registered is not None and name not in registered)):
        raise UserError(Problem(f"no metric {name!r} for a task of kind {kind}; {nearest(name, values)}", where))


def _refuse_for_built_in(score: str, settings: Mapping[str, bool | None]) -> None:
    for name, value in settings.items():
        if value is not None:
            raise UserError(Problem(f"only for scores of plugins; that of {score!r} is known; leave the key out", name))
