"""The section on a grid: the main effect of each of its options, and its best combination."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness import hookimpl
from harness.analysis.paired_effects import Scores, effect, mean
from harness.analysis.summary import Row, Summary
from harness.api.report import Section
from harness.reporting.formatting import format_value
from harness.reporting.sections.comparison import (
    ComparisonLine,
    Scope,
    compare,
    compared_scopes,
    csv_rows,
    format_effect,
    how_to_read,
    incomplete_rows,
    join_names,
    missing_word,
    paired_once,
    table,
)
from harness.storage.records import PlanFile

REFERENCE = "that of the option's first value (or, where that has no results, of the one in italics)"


@hookimpl
def harness_report_sections(results: Summary) -> list[Section]:
    """For each grid, and each student."""
    return [
        section
        for method, labels in _grids(results.plan)
        for student in results.plan.students
        if (section := _section(results, method, labels, student))
    ]


def _grids(plan: PlanFile) -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """(method, label -> what varies: option -> value), of every entry that has several rows."""
    for entry in dict.fromkeys(row.entry for row in plan.rows.values()):
        rows = {label: row for label, row in plan.rows.items() if row.entry == entry}
        options = [{name: format_value(value) for name, value in row.options.items()} for row in rows.values()]
        varied = [name for name in options[0] if len({each[name] for each in options}) > 1]
        if varied:
            labels = zip(rows, options, strict=True)
            method = next(iter(rows.values())).method
            yield method, {label: {name: each[name] for name in varied} for label, each in labels}


@dataclass(frozen=True)
class _Grid:
    """A grid of one student: `rows` and what they vary in, by label."""

    rows: Mapping[str, Row]
    settings: Mapping[str, Mapping[str, str]]
    scopes: Sequence[Scope]

    @property
    def options(self) -> list[str]:
        return list(next(iter(self.settings.values())))

    def crossed(self, option: str) -> dict[str, dict[tuple[str, ...], Row]]:
        """Value of `option` -> values of all others -> row."""
        values: dict[str, dict[tuple[str, ...], Row]] = {}
        for label, row in self.rows.items():
            others = tuple(value for name, value in self.settings[label].items() if name != option)
            values.setdefault(self.settings[label][option], {})[others] = row
        return values


@dataclass(frozen=True)
class _Balanced:
    """What is compared of an option on one scope: value -> its scores in the combinations of the others that are
    complete for every value that is there at all. `of` is how many combinations there are."""

    scores: Mapping[str, list[Scores]]
    used: int
    of: int


def _section(results: Summary, method: str, labels: Mapping[str, Mapping[str, str]], student: str) -> Section | None:
    rows = {row.label: row for row in results.students if row.student == student and row.label in labels}
    rows = {label: rows[label] for label in labels if label in rows}
    scopes = compared_scopes(results, list(rows.values()))
    if not rows or not scopes:
        return None
    grid = _Grid(rows, {label: labels[label] for label in rows}, scopes)
    lines: list[ComparisonLine] = []
    notes: list[str] = []
    for option in grid.options:
        balanced = {scope.name: _balanced(grid.crossed(option), scope) for scope in scopes}
        lines += _lines(grid, option, balanced)
        notes += _note(option, balanced)
    combinations = _combinations(grid)
    text = [
        "### Main effects",
        table(["option", "value"], lines, scopes),
        f"Each value is averaged over the combinations of all other options. {how_to_read(results, scopes, REFERENCE)}",
        *notes,
        "### Best combination",
        *_best(results, grid),
        incomplete_rows(rows, scopes[0]),
    ]
    fixed = {"method": method, "student": student}
    data = csv_rows(fixed, ["option", "value"], [*lines, *combinations], scopes)
    return Section(f"Study of {method}, student {student}", "\n\n".join(filter(None, text)), "study", data)


def _balanced(crossed: Mapping[str, Mapping[tuple[str, ...], Row]], scope: Scope) -> _Balanced:
    known = {
        value: {others: found for others, row in cells.items() if (found := scope.scores(row))}
        for value, cells in crossed.items()
    }
    there = [cells for cells in known.values() if cells]
    all_others = list(dict.fromkeys(others for cells in crossed.values() for others in cells))
    common = [others for others in all_others if there and all(others in cells for cells in there)]
    scores = {value: [cells[others] for others in common] if cells else [] for value, cells in known.items()}
    return _Balanced(scores, len(common), len(all_others))


def _lines(grid: _Grid, option: str, balanced: Mapping[str, _Balanced]) -> Iterator[ComparisonLine]:
    """A line for each value; the first that has scores is what the others are compared with."""
    values = list(grid.crossed(option))
    lead = balanced[grid.scopes[0].name].scores
    first = next((value for value in values if lead[value]), values[0])
    reference = {name: found.scores[first] for name, found in balanced.items()}
    for value in values:
        rows = grid.crossed(option)[value].values()
        words = {scope.name: missing_word(rows, scope) for scope in grid.scopes}
        own = {name: found.scores[value] for name, found in balanced.items()}
        yield compare((option, value), own, None if value == first else reference, words)


def _note(option: str, balanced: Mapping[str, _Balanced]) -> list[str]:
    """What is left out, so that all values are compared over the same combinations."""
    short: dict[str, list[str]] = {}
    for name, found in balanced.items():
        if found.used < found.of:
            short.setdefault(f"{found.used} of {found.of}", []).append(name)
    if not short:
        return []
    counts = "; ".join(f"{count} ({', '.join(names)})" for count, names in short.items())
    return [
        f"`{option}` is compared over {counts} combinations of the other options: those in which every value that is "
        "compared has all its results."
    ]


def _combinations(grid: _Grid) -> list[ComparisonLine]:
    """Each combination against the first."""
    first = next(iter(grid.rows.values()))
    reference = {scope.name: paired_once(scope.scores(first)) for scope in grid.scopes}
    return [
        compare(
            ("combination", label),
            {scope.name: paired_once(scope.scores(row)) for scope in grid.scopes},
            None if row is first else reference,
            {scope.name: missing_word([row], scope) for scope in grid.scopes},
        )
        for label, row in grid.rows.items()
    ]


def _best(results: Summary, grid: _Grid) -> Iterator[str]:
    """By the printed score, as the board ranks."""
    lead = grid.scopes[0]
    scores = {label: found for label, row in grid.rows.items() if (found := lead.scores(row))}
    if not scores:
        yield "No combination has all its results yet."
        return
    sign = 1 if lead.higher_is_better else -1
    means = {label: sign * round(mean(found), 1) for label, found in scores.items()}
    order = sorted(scores, key=lambda label: -means[label])
    best = order[0]
    settings = ", ".join(f"{name}: {value}" for name, value in grid.settings[best].items())
    level = [f"`{label}`" for label in order[1:] if means[label] == means[best]]
    shared = f", level with {join_names(level)}" if level else ""
    yield (
        f"Of {len(scores)} combinations with all results: **{settings}** (`{best}`), {lead.name} "
        f"{sign * means[best]:.1f}{shared}."
    )
    differences = {label: effect([scores[best]], [scores[label]]) for label in order[1:]}
    others = {"the first combination": next(iter(grid.rows)), "the next best": next(iter(differences), best)}
    for label in dict.fromkeys(others.values()):
        if label in differences:
            what = " and ".join(what for what, other in others.items() if other == label)
            yield f"- against {what}, `{label}`: {format_effect(differences[label])}"
    open_ = [f"`{label}`" for label, found in differences.items() if not found.clear]
    if len(results.plan.seeds) < 2:
        yield "With one seed nothing tells how sure this is."
    elif open_:
        yield f"Not told apart from it, since the interval of the difference holds 0: {join_names(open_)}."
    yield "It was chosen for its score among many, so its lead is likely to be smaller with other seeds."
