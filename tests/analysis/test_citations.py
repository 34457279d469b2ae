"""BibTeX entries of the methods on a board, and where a report prints them."""

import html
import json
import re

from harness.analysis.citations import bibtex, entries
from harness.reporting import report
from tests.support.results_factory import fill, plan

HINTON = "@article{hinton2015distilling,\n  title = {Distilling <b>the</b> Knowledge & more},\n  year = {2015}\n}"
TWO = f"{HINTON}\n@inproceedings{{sun2019patient,\n  title = {{Patient `KD`}}\n}}"


def test_an_entry_cited_by_several_methods_occurs_once():
    parsed = entries({"kd": HINTON, "pkd": TWO})
    assert [(entry.key, entry.methods) for entry in parsed] == [
        ("hinton2015distilling", ("kd", "pkd")),
        ("sun2019patient", ("pkd",)),
    ]
    assert parsed[0].text == HINTON
    assert "".join(entry.text for entry in parsed).count("@") == 2


def test_of_entries_with_a_duplicate_key_the_first_is_used():
    (entry,) = entries({"a": "@misc{one, title = {A}}", "b": "  @misc{one, title = {B}}\n"})
    assert entry.text == "@misc{one, title = {A}}"
    assert entry.methods == ("a", "b")


def test_an_at_sign_inside_an_entry_does_not_start_an_entry():
    (entry,) = entries({"a": "@misc{one,\n  note = {mail a@b.org}\n}"})
    assert entry.text.endswith("}\n}")


def test_text_other_than_bibtex_has_no_key():
    (entry,) = entries({"a": "An unpublished note, 2024"})
    assert (entry.key, entry.text) == ("", "An unpublished note, 2024")


def test_a_report_prints_the_entries_of_the_methods_on_its_board(tmp_path):
    fill(tmp_path, plan(citations={"kd": HINTON, "pkd": TWO}))
    written = report(tmp_path)
    expected = bibtex(written.board.citations)
    assert expected.startswith(f"% kd, pkd\n{HINTON}\n\n% pkd\n@inproceedings")
    assert (tmp_path / "leaderboard.bib").read_text() == f"{expected}\n"
    section = written.markdown.partition("\n## Citations\n\n")[2]
    assert section.startswith("<details>\n<summary>")
    assert section.endswith(f"\n```bibtex\n{expected}\n```\n\n</details>\n")
    page = (tmp_path / "index.html").read_text()
    assert html.unescape(re.search(r"<pre>(.*?)</pre>", page, re.DOTALL)[1]) == expected
    assert "<b>the</b>" not in page
    tex = (tmp_path / "leaderboard.tex").read_text()
    assert "% Cite kd, pkd with \\cite{hinton2015distilling}, from leaderboard.bib\n" in tex
    assert json.loads((tmp_path / "leaderboard.json").read_text())["citations"] == {"kd": HINTON, "pkd": TWO}


def test_a_fence_is_longer_than_any_in_an_entry(tmp_path):
    fill(tmp_path, plan(citations={"kd": "@misc{one, note = {\n```\n}}"}))
    assert "\n````bibtex\n" in report(tmp_path).markdown


def test_a_board_without_citations_has_a_bib_file_with_a_comment(tmp_path):
    fill(tmp_path)
    written = report(tmp_path)
    assert "Citations" not in written.markdown
    assert "Citations" not in (tmp_path / "index.html").read_text()
    assert (tmp_path / "leaderboard.bib").read_text() == "% No method on this board has a citation.\n"
