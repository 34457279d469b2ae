"""The line above the title of the page: date of the results, version, and a link to the documentation."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata

from harness.analysis.summary import Summary
from harness.reporting.page.markup import Safe, el

DISTRIBUTION = "kd-harness"


def page_facts(summary: Summary) -> Safe:
    """Return date and version of the results, which do not change with the time of the report."""
    ends = [result.provenance.ended[:10] for result in summary.results]
    versions = sorted({result.provenance.packages.get("harness", "") for result in summary.results} - {""})
    date = el("span", "results of ", el("time", max(ends), datetime=max(ends))) if ends else None
    docs = documentation()
    return el(
        "p",
        el("span", "Leaderboard"),
        date,
        el("span", f"{DISTRIBUTION} {', '.join(versions)}".strip()),
        el("a", "Documentation", href=docs) if docs else el("a", "How to read it", href="#about"),
        class_="facts-line",
    )


def documentation() -> str | None:
    """Return the address of the documentation, from the metadata of the installed package; None if it has none."""
    try:
        urls = metadata(DISTRIBUTION).get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    by_name = dict(url.split(", ", 1) for url in urls if ", " in url)
    return by_name.get("Documentation")
