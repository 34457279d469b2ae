"""The line above the title of the page: date of the results, version, and a link to the explanations."""

from __future__ import annotations

from harness.analysis.summary import Summary
from harness.reporting.page.markup import Safe, el

DISTRIBUTION = "kd-harness"


def page_facts(summary: Summary) -> Safe:
    """Return date and version of the results, which do not change with the time of the report."""
    ends = [result.provenance.ended[:10] for result in summary.results]
    versions = sorted({result.provenance.packages.get("harness", "") for result in summary.results} - {""})
    date = el("span", "results of ", el("time", max(ends), datetime=max(ends))) if ends else None
    return el(
        "p",
        el("span", "Leaderboard"),
        date,
        el("span", f"{DISTRIBUTION} {', '.join(versions)}".strip()),
        el("a", "How to read it", href="#about"),
        class_="facts-line",
    )
