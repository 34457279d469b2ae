"""Writes index.html and the files in details/ that it loads when a run, a loss curve or a comparison is shown.

Tables and charts are rendered in Python, so they work without JavaScript and without the other files. The scripts in
this folder sort and filter the tables, compare rows, and show loss curves and single runs. All numbers are computed in
Python.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from string import Template

from harness.analysis import interval_coverage
from harness.analysis.citations import bibtex
from harness.api.report import Content
from harness.reporting.page import forest_plot, html_tables, run_details, tradeoff_chart
from harness.reporting.page.facts import page_facts
from harness.reporting.page.markdown_html import prose
from harness.reporting.page.markup import Safe, code, el, embedded, join
from harness.reporting.page.run_details import Cell, DetailFiles
from harness.storage.store import Store

SCRIPTS = ("dom.js", "address.js", "runs.js", "charts.js", "table.js", "curves.js", "run.js", "compare.js", "main.js")
"""Files that are joined to one script, in this order."""


FOLDER = "details"
"""Folder of the files with the details of runs, relative to the results."""


def page(content: Content, store: Store) -> tuple[str, DetailFiles]:
    """Return the text of index.html, and the files in `FOLDER`. Both depend on the results only.

    Raises:
        UserError: a file of the store cannot be read.
    """
    cells = run_details.cells_of(run_details.runs_on_page(content.summary))
    details = DetailFiles(content.summary, store, cells)
    return _index(content, cells, details), details


def _index(content: Content, cells: Sequence[Cell], details: DetailFiles) -> str:
    summary, board = content.summary, content.board
    style = _file("page.css")
    script = "\n".join(_file(name) for name in SCRIPTS)
    return Template(_file("template.html")).substitute(
        policy=el("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        title=join(board.title),
        style=style,
        script=script,
        facts=page_facts(summary),
        heading=el("h1", summary.plan.suite),
        marks=_marks(content),
        leaderboard=html_tables.leaderboard(summary, board, run_details.first_run_ids(cells)),
        notes=el("ul", [el("li", f"{mark} ", code(text)) for mark, text in board.footnotes], class_="notes"),
        further="".join(html_tables.secondary_tables(board.tables)),
        tradeoff="".join(tradeoff_chart.plots(summary)),
        forest=forest_plot.panels(summary),
        given=el("span", interval_coverage.teacher_condition(summary.plan)),
        sections=_sections(content),
        reading=el("ul", [el("li", code(text)) for text in board.reading]),
        provenance=el("dl", [[el("dt", name), el("dd", code(text))] for name, text in board.provenance]),
        citations=_citations(content),
        data=embedded(run_details.page_data(summary, details)),
    )


def _file(name: str) -> str:
    return (files(__name__) / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return a Content-Security-Policy that allows only this style, this script, and scripts that this script loads.

    'strict-dynamic' is the only source that allows scripts next to a page which was opened from disk.
    """
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}' 'strict-dynamic'; "
        "img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _marks(content: Content) -> Safe | str:
    marks = content.board.marks
    if not marks:
        return ""
    words = el("summary", [[el("b", word), " "] for word, _ in marks], el("span", "limitations of this board"))
    texts = el("ul", [el("li", el("b", word), " ", code(text)) for word, text in marks])
    return el("details", words, texts, class_="marks", open=True)


def _sections(content: Content) -> str:
    return "".join(
        el("section", el("h2", section.title), prose(section.text), class_="prose") for section in content.sections
    )


def _citations(content: Content) -> Safe | str:
    citations = content.board.citations
    if not citations:
        return ""
    details = el("details", el("summary", "BibTeX of the methods"), el("pre", bibtex(citations)), class_="citations")
    return join([el("h2", "Citations"), details])
