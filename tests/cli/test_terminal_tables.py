"""Tables: complete in a pipe, drawn in a terminal, cells as plain text."""

import io
import re
import sys

from harness.cli.output_streams import HANDLER
from harness.cli.terminal_tables import print_table


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


def terminal(monkeypatch, width, encoding="utf-8"):
    """A terminal of that width as stdout; returns what is printed to it."""
    printed = io.BytesIO()
    stream = io.TextIOWrapper(printed, encoding=encoding, errors=HANDLER, write_through=True)
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    return lambda: re.sub(r"\x1b\[[\d;]*m", "", printed.getvalue().decode(encoding))


def test_numbers_and_units_stay_on_one_line_in_a_terminal(monkeypatch):
    output = terminal(monkeypatch, 40)
    print_table(["run", "cost", "why"], [["a" * 12, "12.3 min", "the learning rate differs by 0.5 %, and more"]])
    lines = output().splitlines()
    assert max(map(len, lines)) <= 40
    assert any("12.3 min" in line for line in lines)
    assert any("0.5 %" in line for line in lines)


def test_a_table_that_does_not_fit_is_a_list(monkeypatch):
    output = terminal(monkeypatch, 40)
    print_table(["name", "reads", "about"], [["kd", "t" * 30, "soft targets"], ["pkd", "", "hidden " * 8]])
    lines = output().splitlines()
    assert lines[:3] == ["kd", f"  reads: {'t' * 30}", "  about: soft targets"]
    assert lines[3] == "pkd"
    assert not any("reads" in line for line in lines[4:])


def test_control_characters_and_missing_characters_are_replaced(monkeypatch):
    output = terminal(monkeypatch, 80, "ascii")
    print_table(["name"], [["\x1b[2J ± 3 ✓"]])
    assert "\\x1b[2J +/- 3 \\u2713" in output()
