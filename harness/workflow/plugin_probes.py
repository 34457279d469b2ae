"""Calls the methods and metrics of third-party plugins once, before a teacher is trained.

A method computes one step with tiny models of the suite's depths. Only faults that cannot be due to their sizes are
errors: the form of its terms and weights, and outputs that it reads without declaring them. `harness check` checks much
more.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.api.errors import Problem, UserError, describe

if TYPE_CHECKING:  # torch
    from harness.api.batch import TaskKind
    from harness.api.metric import MetricFactory
    from harness.api.model_outputs import ModelShape
    from harness.api.task import Task
    from harness.plugin_host.host import Host
    from harness.resolution.suite import Cell, Resolved


def check(resolved: Resolved, host: Host) -> None:
    """Call each method of the suite once for each kind of task, and each metric on two examples.

    Those of kd-harness itself are not called: its tests check them.

    Raises:
        UserError: with all problems.
    """
    problems = [*_metric_problems(resolved, host), *_method_problems(resolved, host)]
    if problems:
        raise UserError(*problems)


def _metric_problems(resolved: Resolved, host: Host) -> Iterator[Problem]:
    tasks = {name: task for task in resolved.suite.tasks for name in task.metrics}
    for name, task in tasks.items():
        if not host.is_shipped("metric", name) and (fault := _metric_fault(name, host.metrics[name], task)):
            yield Problem(fault, host.origin_of("metric", name))


def _metric_fault(name: str, factory: MetricFactory, task: Task) -> str | None:
    """Return what is wrong with a metric; None if nothing is, or if it cannot be found out with two examples."""
    try:
        metric: object = factory()
    except (Exception, SystemExit) as error:
        return f"metric {name!r}: its factory failed: {describe(error)}"
    if inspect.isclass(metric) or not callable(getattr(metric, "compute", None)):
        kind = "the class " + metric.__name__ if inspect.isclass(metric) else f"a {type(metric).__name__}"
        expected = "expected a harness.api.metric.Metric, whose compute(predictions, references) is called"
        return f"metric {name!r}: its factory returned {kind}; {expected}"
    return _values_fault(name, metric, task)


def _values_fault(name: str, metric: Any, task: Task) -> str | None:
    from harness.metrics.task_scores import values_of

    predictions, references = _two_examples(task)
    try:
        values_of(name, metric, predictions, references)
    except UserError as error:
        return str(error)
    except Exception:  # two examples may be too few
        return None
    return None


def _two_examples(task: Task) -> tuple[list[Any], list[Any]]:
    """Return right predictions and their references, as `harness.api.metric.Metric` describes them."""
    first, last = [1, *[0] * (task.num_labels - 1)], [*[0] * (task.num_labels - 1), 1]
    examples: dict[str, list[Any]] = {
        "classification": [0, task.num_labels - 1],
        "multilabel": [first, last],
        "regression": list(task.label_range or (0.0, 1.0)),
        "token_classification": [[tag] for tag in (*task.labels[:1], *task.labels[-1:])],
        "qa": ["a word", "two words"],
    }
    predictions = examples[task.kind]
    return predictions, [[answer] for answer in predictions] if task.kind == "qa" else predictions


def _method_problems(resolved: Resolved, host: Host) -> Iterator[Problem]:
    probed: set[tuple[str, TaskKind]] = set()
    for cell in resolved.cells:
        method, models = cell.variant.method, (cell.student, *cell.variant.teachers)
        known = cell.reason is None and all(name in resolved.shapes for name in models)
        if not known or host.is_shipped("method", method.name) or (cell.variant.label, cell.task.kind) in probed:
            continue
        probed.add((cell.variant.label, cell.task.kind))
        if fault := _method_fault(cell, [resolved.shapes[name] for name in models]):
            yield Problem(fault, host.origin_of("method", method.name))


def _method_fault(cell: Cell, shapes: Sequence[ModelShape]) -> str | None:
    """Return what is wrong with one step of each stage; None if nothing is, or if it cannot be found out."""
    from harness.models.quiet_transformers import quiet_transformers
    from harness.testing.step_sequence import loss_terms
    from harness.testing.term_evaluation import InvalidTerms, bind
    from harness.testing.tiny_models import tiny_batch, tiny_model

    variant, kind, widths = cell.variant, cell.task.kind, _tiny_widths(shapes)
    classes = max(2, cell.task.num_labels)
    try:
        with quiet_transformers():
            student, *teachers = [
                tiny_model(
                    kind=kind,
                    num_labels=classes,
                    layers=shape.layers,
                    hidden=widths[shape.hidden],
                    heads=shape.heads,
                    ffn=2 * widths[shape.hidden],
                    seed=seed,
                )
                for seed, shape in enumerate(shapes)
            ]
            for stage in bind(variant.method, variant.config, kind, student, teachers).stages():
                loss_terms(
                    variant.method,
                    student=student,
                    teachers=teachers,
                    batch=tiny_batch(kind, num_labels=classes),
                    stage=stage.name,
                    config=variant.config.model_dump(),
                )
    except InvalidTerms as error:
        return str(error)
    except KeyError as error:
        return str(error.args[0]) if "was not declared" in str(error) else None
    except Exception:  # the sizes of the tiny models or the batch may be the cause
        return None
    return None


def _tiny_widths(shapes: Sequence[ModelShape]) -> Mapping[int, int]:
    """Real width -> tiny width. Equal widths stay equal and others different; each is a multiple of its heads."""
    widths: dict[int, int] = {}
    for shape in shapes:
        if shape.hidden not in widths:
            heads = math.lcm(*(other.heads for other in shapes if other.hidden == shape.hidden))
            candidates = (heads * factor for factor in range(4, 8 + len(shapes)))
            widths[shape.hidden] = next(width for width in candidates if width not in widths.values())
    return widths
