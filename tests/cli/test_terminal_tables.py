"""Tables and the board: complete in a pipe, drawn in a terminal, cells as plain text."""

import io

from rich.console import Console

from harness.cli.board_view import draw, print_report
from harness.cli.terminal_tables import print_table
from harness.reporting.board import Board, Column, Line
from harness.reporting.report_files import Report

BOARD = Board(
    title="quick: leaderboard (SYNTHETIC)",
    marks=(("SYNTHETIC", "the examples are generated"),),
    columns=(
        Column(("rank",)),
        Column(("method",), "left"),
        Column(("student",), "left"),
        Column(("mood", "accuracy")),
    ),
    lines=(
        Line("teacher", "", ("teacher", "base", "–", "97.5"), frozenset()),
        Line("student", "small", ("1", "tinybert[/]", "small", "91.5 ± 0.3"), frozenset({3})),
        Line("student", "small", ("–", "pkd", "small", "n/a (a)"), frozenset()),
    ),
    notes=(("a", "widths differ"),),
    reading=("A score is a mean.",),
    provenance=(("Command", "`harness run`"),),
)


def test_piped_table_is_plain_and_not_truncated(capsys):
    print_table(["name", "score"], [["a" * 200, 1.50], ["[bold]b[/]", None]])
    header, _, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "score"]
    assert first.split() == ["a" * 200, "1.5"]
    assert second.split() == ["[bold]b[/]"]


def test_table_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    print_table(["name"], [["[bold]b[/] :smile:"]])
    assert "[bold]b[/] :smile:" in capsys.readouterr().out


def test_board_in_a_terminal():
    console = Console(file=io.StringIO(), width=100, force_terminal=True, markup=False)
    draw(console, BOARD)
    output = console.file.getvalue()
    for text in ("SYNTHETIC", "tinybert[/]", "91.5 ± 0.3", "(a) widths differ", "A score is a mean.", "accuracy"):
        assert text in output
    bold_green = output.index("\x1b[1;32m")
    assert output[bold_green:].startswith("\x1b[1;32m91.5 ± 0.3")


def test_piped_board_is_markdown_and_the_paths_of_its_files(capsys, tmp_path):
    print_report(Report(BOARD, "# quick\n\n| a |\n", (tmp_path / "leaderboard.md",)))
    assert capsys.readouterr().out == f"# quick\n\n| a |\n\nFiles:\n  {tmp_path / 'leaderboard.md'}\n"
