"""Files with what the page shows when two rows are compared: differences, answers, and the examples of a task.

A file for each row has its differences from all other rows and its answers; a file for each task has the examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from harness.analysis.cell_results import RowName
from harness.analysis.contrasts import EXAMPLES_PER_SIDE, Contrasts, PairContrast
from harness.analysis.ranking import averaged_tasks
from harness.analysis.score_format import difference
from harness.analysis.summary import BoardRow, Summary
from harness.analysis.top_groups import Comparison
from harness.reporting.formatting import probability
from harness.reporting.page.html_tables import measured_rows
from harness.reporting.page.markup import details_call, embedded
from harness.reporting.page.shown_texts import ExampleTexts
from harness.storage.hashing import key

AVERAGE = ""
"""Stands for the average among the tasks."""


class CompareFiles:
    """The files of rows and tasks that can be compared. Each text is built on request."""

    def __init__(self, summary: Summary, texts: ExampleTexts) -> None:
        self.summary, self.texts = summary, texts
        names = set(summary.contrasts.rows) if summary.contrasts else set()
        self.contrasts: Mapping[str, Contrasts] = summary.contrasts.by_task if summary.contrasts else {}
        known = [(place, row) for place, row in enumerate(measured_rows(summary)) if row.name in names]
        rows = {place: row for place, row in known if any(cell.sample for cell in row.cells.values())}
        self.rows: Mapping[int, BoardRow] = rows if len(rows) > 1 else {}
        self.places = {row.name: place for place, row in self.rows.items()}

    def of_row(self, place: int) -> str | None:
        """Return the name of a row's file; None if the row cannot be compared."""
        row = self.rows.get(place)
        return None if row is None else key({"compare": list(row.name)})

    def of_task(self, task: str) -> str | None:
        """Return the name of the file with the examples of a task; None if they are not known."""
        return key({"contrasts": task}) if task in self.contrasts and self.rows else None

    @cached_property
    def texts_by_name(self) -> Mapping[str, Callable[[], str]]:
        """Name of a file -> function that returns its content."""
        rows = {name: partial(self._row, name, place) for place in self.rows if (name := self.of_row(place))}
        tasks = {name: partial(self._task, name, task) for task in self.contrasts if (name := self.of_task(task))}
        return {**rows, **tasks}

    def _row(self, name: str, place: int) -> str:
        row = self.rows[place].name
        data = {
            "differences": {scope: dict(self._of_row(self.rows[place], scope)) for scope in self._scopes},
            "contrasts": {task: dict(self._contrasts(row, found)) for task, found in self.contrasts.items()},
            "answers": {task: found.answers[row] for task, found in self.contrasts.items() if row in found.answers},
        }
        return details_call(name, embedded(data))

    @cached_property
    def _scopes(self) -> Mapping[str, Sequence[str]]:
        """Task -> the task alone; `AVERAGE` -> the tasks of the average."""
        plan = self.summary.plan
        return {**{task.name: [task.name] for task in plan.tasks}, AVERAGE: averaged_tasks(plan)}

    @cached_property
    def _comparisons(self) -> Mapping[frozenset[RowName], Comparison]:
        return {
            frozenset(("student", label, pair.student) for label in pair.labels): pair
            for pair in self.summary.comparisons
        }

    def _of_row(self, row: BoardRow, scope: str) -> Iterator[tuple[int, list[Any]]]:
        """Yield (place of another row, row minus other as [text, mean, low, high, p, what the interval covers]).

        The last is empty if it covers seeds and examples.
        """
        decimals = self.summary.decimals(scope or None)
        for place, other in self.rows.items():
            if other is row or (scope == AVERAGE and not (row.average and other.average)):
                continue
            found = self.summary.differences.of(self._scopes[scope], row.name, other.name)
            if found is not None:
                pair = self._comparisons.get(frozenset((row.name, other.name))) if scope == AVERAGE else None
                p = probability(pair.p) if pair and pair.p is not None else None
                over = "" if found.over in (None, "seeds and examples") else f"over {found.over} only"
                numbers = (_short(end, decimals) for end in (found.mean, found.low, found.high))
                yield place, [difference(found, decimals), *numbers, p, over]

    def _contrasts(self, row: RowName, found: Contrasts) -> Iterator[tuple[int, list[Any]]]:
        """Yield (place of another row, [better, worse, indices of examples]), seen from `row`."""
        for other, place in self.places.items():
            pair = found.pairs.get((row, other)) or _reversed(found.pairs.get((other, row)))
            if pair is not None:
                yield place, [pair.better, pair.worse, pair.examples]

    def _task(self, name: str, task: str) -> str:
        found = self.contrasts[task]
        examples = [
            {"id": example.id, "gold": example.gold, "texts": self.texts.of(found.fingerprint, example)}
            for example in found.examples
        ]
        return details_call(name, embedded({"scored": found.scored, "examples": examples}))


def _reversed(pair: PairContrast | None) -> PairContrast | None:
    if pair is None:
        return None
    better = min(pair.better, EXAMPLES_PER_SIDE)
    return PairContrast(pair.worse, pair.better, (*pair.examples[better:], *pair.examples[:better]))


def _short(value: float | None, decimals: int) -> float | None:
    """Round to what a drawing needs: two decimals more than are printed."""
    return None if value is None else round(value, decimals + 2)
