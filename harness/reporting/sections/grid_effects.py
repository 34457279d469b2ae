"""Report section on a grid: the main effect of each option, and the best combination."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness import hookimpl
from harness.analysis.inference import Estimate
from harness.analysis.paired_effects import mean
from harness.analysis.score_format import difference
from harness.analysis.summary import BoardRow, Summary
from harness.analysis.top_groups import REPEATED
from harness.api.report import Section
from harness.reporting.formatting import format_value
from harness.reporting.sections.comparison import (
    ComparisonLine,
    Scope,
    compare,
    compare_row,
    compared_scopes,
    csv_rows,
    how_to_read,
    incomplete_rows,
    join_names,
    missing_word,
    table,
)
from harness.storage.plan_file import PlanFile

SEVERAL_NOTE = (
    "A mean over several combinations is no difference of two rows: its variance over seeds is not moderated."
)

REFERENCE = "that of the option's first value (or, if that has no results, of the value in italics)"


@hookimpl
def harness_report_sections(results: Summary) -> list[Section]:
    """Return a section for each grid and student."""
    return [
        section
        for method, labels in _grids(results.plan)
        for student in results.plan.students
        if (section := _section(results, method, labels, student))
    ]


def _grids(plan: PlanFile) -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """Yield (method, label -> the varied options and their values) of every entry with several rows."""
    for entry in dict.fromkeys(row.entry for row in plan.rows.values()):
        rows = {label: row for label, row in plan.rows.items() if row.entry == entry}
        options = [{name: format_value(value) for name, value in row.options.items()} for row in rows.values()]
        varied = [name for name in options[0] if len({values[name] for values in options}) > 1]
        if varied:
            labels = zip(rows, options, strict=True)
            method = next(iter(rows.values())).method
            yield method, {label: {name: values[name] for name in varied} for label, values in labels}


@dataclass(frozen=True)
class _Grid:
    """A grid of one student: its `rows`, and their `settings` of the varied options, by label."""

    rows: Mapping[str, BoardRow]
    settings: Mapping[str, Mapping[str, str]]
    scopes: Sequence[Scope]

    @property
    def options(self) -> list[str]:
        return list(next(iter(self.settings.values())))

    def crossed(self, option: str) -> dict[str, dict[tuple[str, ...], BoardRow]]:
        """Return value of `option` -> values of all other options -> row."""
        values: dict[str, dict[tuple[str, ...], BoardRow]] = {}
        for label, row in self.rows.items():
            others = tuple(value for name, value in self.settings[label].items() if name != option)
            values.setdefault(self.settings[label][option], {})[others] = row
        return values


@dataclass(frozen=True)
class _Balanced:
    """Balanced scores of an option on one scope.

    Attributes:
        rows: value -> its rows, over the combinations of the other options that are complete for every value that
            has any results.
        used: number of these combinations.
        total: number of all combinations.
    """

    rows: Mapping[str, list[BoardRow]]
    used: int
    total: int


def _section(results: Summary, method: str, labels: Mapping[str, Mapping[str, str]], student: str) -> Section | None:
    rows = {row.label: row for row in results.students if row.student == student and row.label in labels}
    rows = {label: rows[label] for label in labels if label in rows}
    scopes = compared_scopes(results, list(rows.values()))
    if not rows or not scopes:
        return None
    grid = _Grid(rows, {label: labels[label] for label in rows}, scopes)
    lines: list[ComparisonLine] = []
    notes: list[str] = []
    several = False
    for option in grid.options:
        balanced = {scope.name: _balanced(grid.crossed(option), scope) for scope in scopes}
        lines += _lines(results, grid, option, balanced)
        notes += _note(option, balanced)
        several |= any(scope.used > 1 for scope in balanced.values())
    combinations = _combinations(results, grid)
    text = [
        "### Main effects",
        table(["option", "value"], lines, scopes),
        f"Each value is averaged over the combinations of all other options. {how_to_read(results, scopes, REFERENCE)}",
        SEVERAL_NOTE if several and len(results.plan.seeds) > 1 else "",
        *notes,
        "### Best combination",
        *_best(results, grid),
        incomplete_rows(rows, scopes[0]),
    ]
    fixed = {"method": method, "student": student}
    data = csv_rows(results, fixed, ["option", "value"], [*lines, *combinations], scopes)
    return Section(f"Study of {method}, student {student}", "\n\n".join(filter(None, text)), "study", data)


def _balanced(crossed: Mapping[str, Mapping[tuple[str, ...], BoardRow]], scope: Scope) -> _Balanced:
    known = {
        value: {others: row for others, row in cells.items() if scope.scores(row)} for value, cells in crossed.items()
    }
    with_results = [cells for cells in known.values() if cells]
    all_others = list(dict.fromkeys(others for cells in crossed.values() for others in cells))
    common = [others for others in all_others if with_results and all(others in cells for cells in with_results)]
    rows = {value: [cells[others] for others in common] if cells else [] for value, cells in known.items()}
    return _Balanced(rows, len(common), len(all_others))


def _lines(results: Summary, grid: _Grid, option: str, balanced: Mapping[str, _Balanced]) -> Iterator[ComparisonLine]:
    """Yield a line for each value; the first value with scores is the reference."""
    values = list(grid.crossed(option))
    lead = balanced[grid.scopes[0].name].rows
    first = next((value for value in values if lead[value]), values[0])
    reference = {name: scope.rows[first] for name, scope in balanced.items()}
    for value in values:
        words = {scope.name: missing_word(grid.crossed(option)[value].values(), scope) for scope in grid.scopes}
        rows = {name: scope.rows[value] for name, scope in balanced.items()}
        yield compare(results, grid.scopes, (option, value), rows, None if value == first else reference, words)


def _note(option: str, balanced: Mapping[str, _Balanced]) -> list[str]:
    """Say how many combinations are left out so that all values are compared over the same ones."""
    reduced: dict[str, list[str]] = {}
    for name, scope in balanced.items():
        if scope.used < scope.total:
            reduced.setdefault(f"{scope.used} of {scope.total}", []).append(name)
    if not reduced:
        return []
    counts = "; ".join(f"{count} ({', '.join(names)})" for count, names in reduced.items())
    return [
        f"`{option}` is compared over {counts} combinations of the other options: those that are complete for every "
        "compared value."
    ]


def _combinations(results: Summary, grid: _Grid) -> list[ComparisonLine]:
    """Compare each combination with the first."""
    first = next(iter(grid.rows.values()))
    return [compare_row(results, grid.scopes, ("combination", label), row, first) for label, row in grid.rows.items()]


def _best(results: Summary, grid: _Grid) -> Iterator[str]:
    """Describe the combination with the best printed score, by which the board ranks too."""
    lead = grid.scopes[0]
    scores = {label: row_scores for label, row in grid.rows.items() if (row_scores := lead.scores(row))}
    if not scores:
        yield "No combination is complete yet."
        return
    sign = 1 if lead.higher_is_better else -1
    means = {label: sign * round(mean(row_scores), lead.decimals) for label, row_scores in scores.items()}
    best, *others = sorted(scores, key=lambda label: -means[label])
    settings = ", ".join(f"{name}: {value}" for name, value in grid.settings[best].items())
    tied = [f"`{label}`" for label in others if means[label] == means[best]]
    shared = f", tied with {join_names(tied)}" if tied else ""
    yield (
        f"Of {len(scores)} complete combinations: **{settings}** (`{best}`), {lead.name} "
        f"{sign * means[best]:.{lead.decimals}f}{shared}."
    )
    of = results.differences.of
    pairs = {label: of(lead.tasks, grid.rows[best].name, grid.rows[label].name) for label in others}
    differences = {label: found for label, found in pairs.items() if found}
    compared = {"the first combination": next(iter(grid.rows)), "the next best": next(iter(differences), best)}
    for label in dict.fromkeys(compared.values()):
        if label in differences:
            roles = " and ".join(role for role, other in compared.items() if other == label)
            yield f"- against {roles}, `{label}`: {difference(differences[label], lead.decimals)}"
    if len(results.plan.seeds) < 2:
        yield "One seed does not show how certain this is."
    else:
        yield from _not_distinguished(differences)
    yield "It was selected by its score, so its lead is likely to be smaller with other seeds."


def _not_distinguished(differences: Mapping[str, Estimate]) -> Iterator[str]:
    """List the combinations from which the best does not differ significantly, or with which it is not compared."""
    similar, untested, repeated = [], [], []
    for label, found in differences.items():
        if found.repeated:
            repeated.append(f"`{label}`")
        elif found.low is None:
            untested.append(f"`{label}`")
        elif not found.clear:
            similar.append(f"`{label}`")
    if similar:
        names = join_names(similar)
        yield f"Not significantly different from it, because the interval of the difference includes 0: {names}."
    if untested:
        yield f"Not compared with it, because usable predictions are missing: {join_names(untested)}."
    if repeated:
        yield f"Not compared with it, because {REPEATED}: {join_names(repeated)}."
