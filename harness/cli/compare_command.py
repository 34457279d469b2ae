"""`harness compare`: print what differs between two results folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.wording import counted
from harness.cli.terminal_tables import print_table

if TYPE_CHECKING:
    from harness.analysis.folder_comparison import FolderComparison, OwnRow, SettingDifference
    from harness.analysis.folder_scores import ScoreDifference

MAX_NAMED = 3
"""Maximum number of rows that a note names."""

MAX_ROWS = 20
"""Number of different results that the text lists; the JSON has all."""


def compare(first: Path, second: Path, *, as_json: bool) -> None:
    """Compare two results folders and print the differences.

    Raises:
        UserError: a folder has no results, or a file is damaged.
    """
    from harness.analysis.aggregate import summarize
    from harness.analysis.folder_comparison import compare_folders
    from harness.storage.store import Store

    one, other = Store.existing(first), Store.existing(second)
    found = compare_folders(summarize(one), summarize(other), (one.folder_of, other.folder_of))
    folders = [str(one.folder), str(other.folder)]
    if as_json:
        print(json.dumps(_document(found, folders), indent=1))
    else:
        _print_text(found, folders)


def _document(found: FolderComparison, folders: Sequence[str]) -> dict[str, Any]:
    """The comparison as plain values, unrounded."""
    pairs = zip(folders, (found.first, found.second), strict=True)
    return {
        "folders": [
            {"folder": folder, "suite": summary.plan.suite, "command": summary.plan.command}
            for folder, summary in pairs
        ],
        "settings": [asdict(setting) for setting in found.settings],
        "environment": [_without_results(setting) for setting in found.environment],
        "own_rows": [asdict(row) for row in found.own_rows],
        "equal_keys": found.equal_keys,
        "different_results": [asdict(result) for result in found.different],
        "scores": [_score(difference) for difference in found.scores],
    }


def _without_results(setting: SettingDifference) -> dict[str, Any]:
    return {"name": setting.name, "first": setting.first, "second": setting.second}


def _score(score: ScoreDifference) -> dict[str, Any]:
    from harness.reporting.export_rows import exact, significant

    return {
        "scope": score.scope,
        "tasks": list(score.tasks),
        "role": score.role,
        "label": score.label,
        "student": score.student,
        "first": exact(score.first),
        "second": exact(score.second),
        "difference": exact(score.difference.mean),
        "low": exact(score.difference.low),
        "high": exact(score.difference.high),
        "over": score.difference.over,
        "paired": not score.unpaired,
        "unpaired_because": score.unpaired or None,
        "p": significant(score.p),
        "p_holm": significant(score.p_holm),
        "significant": score.distinguished,
    }


def _print_text(found: FolderComparison, folders: Sequence[str]) -> None:
    for name, folder, summary in zip(("first", "second"), folders, (found.first, found.second), strict=True):
        results = counted(len(summary.results), "result")
        print(f"{name}: {folder} ({summary.plan.suite}, {results}; {summary.plan.command})")
    _print_settings("Settings", found.settings)
    _print_settings("Versions and machines", found.environment)
    if found.own_rows:
        print("\nRows in one folder only")
        rows = [(row.folder, _named(row), row.student) for row in found.own_rows]
        print_table(["folder", "row", "student"], rows)
    _print_equal_keys(found)
    if found.scores:
        _print_scores(found.scores)
    else:
        print("\nNo row is complete in both folders on a task with the same metric: there are no scores to compare.")


def _named(row: OwnRow | ScoreDifference) -> str:
    return f"teacher {row.label}" if row.role == "teacher" else row.label


def _print_settings(title: str, settings: Sequence[SettingDifference]) -> None:
    if not settings:
        print(f"\n{title}: no difference")
        return
    print(f"\n{title} that differ")
    has_counts = any(setting.results for setting in settings)
    headers = ["name", "first", "second", *(["results"] if has_counts else [])]
    print_table(
        headers,
        (
            (setting.name, setting.first, setting.second, *([setting.results or ""] if has_counts else []))
            for setting in settings
        ),
    )


def _print_equal_keys(found: FolderComparison) -> None:
    if not found.equal_keys:
        return
    if not found.different:
        print(f"\n{counted(found.equal_keys, 'result')} with the same key in both folders: no difference.")
        return
    print(
        f"\n{len(found.different)} of {found.equal_keys} results with the same key differ: nothing that the suite sets"
        " explains it, but versions or machines may."
    )
    rows = [(result.name, result.difference, result.key) for result in found.different]
    print_table(["result", "difference", "key"], rows[:MAX_ROWS])
    if len(rows) > MAX_ROWS:
        print(f"and {len(rows) - MAX_ROWS} more; --json lists all")


def _print_scores(scores: Sequence[ScoreDifference]) -> None:
    from harness.analysis import score_format
    from harness.reporting import formatting

    print("\nScores, and the second minus the first with its 95 % interval")
    rows = [
        (
            score.scope,
            _named(score),
            score.student,
            f"{score.first:.{score.decimals}f}",
            f"{score.second:.{score.decimals}f}",
            score_format.difference(score.difference, score.decimals),
            "" if score.p_holm is None else formatting.probability(score.p_holm),
            score.unpaired or "paired",
        )
        for score in scores
    ]
    print_table(["task", "row", "student", "first", "second", "difference", "p (Holm)", "pairing"], rows)
    print("\n".join(_notes(scores)))


def _notes(scores: Sequence[ScoreDifference]) -> Iterable[str]:
    from harness.analysis.folder_scores import AVERAGE

    average = next((score for score in scores if score.scope == AVERAGE), None)
    if average:
        yield f"average: over {', '.join(average.tasks)}, the tasks that both boards average."
    if any(not score.unpaired for score in scores):
        yield "paired: by example and seed, as between the rows of a board."
    if any(score.unpaired for score in scores):
        yield "other examples, other seeds: not paired; the interval treats the two scores as independent."
    if rows := dict.fromkeys(f"{_named(s)} {s.student}".strip() for s in scores if s.difference.over == "seeds"):
        named = ", ".join(list(rows)[:MAX_NAMED]) + " and others" * (len(rows) > MAX_NAMED)
        yield f"Intervals and p of {named} cover seeds only: examples could not be resampled in both folders."
    if any(score.p_holm is not None for score in scores):
        yield "p is corrected for the rows of the same task or average; intervals are not corrected."
    if any(score.p_holm is None for score in scores):
        yield "One seed: the interval covers the examples alone, and there is no p-value."
