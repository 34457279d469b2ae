"""The printed board: at most 30 lines that fit into the terminal, Markdown without images in a pipe."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli.board_view import MAX_LINES, draw, print_report
from harness.cli.output_streams import HANDLER
from harness.reporting.board import Board, Column, Line
from harness.reporting.written_report import Report

BOARD = Board(
    title="quick: leaderboard (SYNTHETIC)",
    marks=(("SYNTHETIC", "the examples are generated"),),
    columns=(
        Column(("rank",)),
        Column(("method",), "left"),
        Column(("student",), "left"),
        Column(("mood", "accuracy"), kind="score"),
    ),
    lines=(
        Line("teacher", "", ("teacher", "base", "–", "97.5"), frozenset()),
        Line("student", "small", ("1", "tinybert[/]", "small", "91.5 ± 0.3"), frozenset({3})),
        Line("student", "small", ("–", "pkd", "small", "n/a (a)"), frozenset()),
    ),
    notes=(("a", "widths differ"),),
    reading=("A score is a mean.",),
    provenance=(("Command", "`harness run`"),),
    verdict=("Best of small: tinybert[/] 91.5 ± 0.3.",),
)


NUMBER = re.compile(r"\d+\.\d ± \d+\.\d|\d\.\d×|\(p = 0\.012\)|\[\+0\.3, \+2\.1\]")


def printed(board, width, files=(), encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=HANDLER)
    draw(Console(file=stream, width=width, markup=False, no_color=True), board, files)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def large_board(rows=40, tasks=8, notes=10):
    """Two students with many rows, many tasks and notes: more than a terminal shows."""
    columns = [
        Column(("rank",)),
        Column(("method",), "left"),
        Column(("student",), "left"),
        *(Column((f"synthetic_task_{n}", "accuracy"), kind="score") for n in range(tasks)),
        Column(("average",), kind="average"),
        Column(("params", "(M)"), kind="size"),
        Column(("speed-up", "cpu"), kind="speed-up"),
    ]
    lines = [
        Line(
            "student",
            student,
            (f"{n} ●", f"tinybert-{'x' * 30}-{n}", student, *["91.5 ± 0.3"] * (tasks + 1), "0.138", "1.3× [1.2, 1.9]"),
        )
        for student in ("large", "small")
        for n in range(1, rows + 1)
    ]
    return replace(
        BOARD,
        columns=tuple(columns),
        lines=(Line("teacher", "", ("teacher", "base", *["–"] * (len(columns) - 2))), *lines),
        notes=tuple(
            (f"n{n}", f"the widths of student and teacher differ on task {n} (and more)") for n in range(notes)
        ),
        verdict=tuple(
            f"Best of {student}: tinybert 91.5 ± 0.3, +1.2 [+0.3, +2.1] against finetune (p = 0.012), 1.3× as fast as "
            "base."
            for student in ("large", "small")
        ),
    )


def test_a_small_board_is_complete():
    output = printed(BOARD, 80)
    for text in ("SYNTHETIC", "tinybert[/]", "91.5 ± 0.3", "(a) widths differ", "Best of small", "accuracy"):
        assert text in output
    assert "A score is a mean." not in output


def test_the_best_score_is_bold():
    console = Console(file=io.StringIO(), width=100, force_terminal=True, markup=False)
    draw(console, BOARD)
    output = console.file.getvalue()
    bold_green = output.index("\x1b[1;32m")
    assert output[bold_green:].startswith("\x1b[1;32m91.5 ± 0.3")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [80, 110])
def test_a_large_board_fits_and_ends_with_the_verdict(width, encoding):
    files = [Path("results/large") / name for name in ("leaderboard.md", "leaderboard.csv", "index.html")]
    board = large_board()
    output = printed(board, width, files, encoding)
    lines = output.splitlines()
    assert len(lines) <= MAX_LINES
    assert max(map(len, lines)) <= width
    ending = " ".join(output[output.index("Best of large") :].split())
    assert re.search(r"Best of large: .*Best of small: .* Open \S+index.html \(as text: leaderboard.md", ending)
    assert re.search(r"Left out for lack of space: \d+ rows and \d columns", output)
    whole = output if encoding == "utf-8" else output.replace("+/-", "±").replace("1.3x", "1.3×")
    verdict = whole[whole.index("Best of large") :]
    for number in NUMBER.findall(" ".join(board.verdict)):
        assert number in verdict
    assert not any(line.endswith(("±", "+/-", "[", "=")) for line in lines)


def test_a_narrow_terminal_shows_speed_ups_without_intervals_rather_than_fewer_columns():
    assert "1.3× [1.2, 1.9]" in printed(large_board(2, 1), 120).split("Best of")[0]
    narrow = printed(large_board(2, 1), 80).split("Best of")[0]
    assert "1.3×" in narrow
    assert "1.3× [" not in narrow


def test_the_interval_of_a_score_is_never_left_out():
    board = large_board(rows=1, tasks=2)
    skewed = tuple(
        replace(line, cells=tuple("99.4 [79.8, 99.9]" if cell == "91.5 ± 0.3" else cell for cell in line.cells))
        for line in board.lines
    )
    text = printed(replace(board, lines=skewed), 110)
    assert "1.3×" in text
    assert "[1.2, 1.9]" not in text
    assert len(re.findall(r"99\.4", text)) == text.count("99.4 [79.8, 99.9]") > 0


def test_every_student_keeps_its_best_rows():
    output = printed(large_board(rows=40), 110)
    kept = {
        student: re.findall(rf"^ +(\d+) ● +tinybert\S+ +{student} ", output, re.M) for student in ("large", "small")
    }
    assert kept["large"] == [str(n) for n in range(1, len(kept["large"]) + 1)]
    assert len(kept["small"]) in (len(kept["large"]), len(kept["large"]) - 1)
    assert kept["small"]


def test_piped_board_is_markdown_without_images(capsys, tmp_path):
    files = (tmp_path / "leaderboard.md", tmp_path / "index.html", tmp_path / "plots" / "tasks.png")
    print_report(Report(BOARD, "![tasks](plots/tasks.png)", files))
    output = capsys.readouterr().out
    assert output.startswith("# quick: leaderboard (SYNTHETIC)\n\n- **SYNTHETIC**: the examples are generated\n\n|")
    assert "![" not in output
    assert output.endswith(
        "- Best of small: tinybert[/] 91.5 ± 0.3.\n\n"
        f"Open {tmp_path}/index.html (as text: leaderboard.md, in the same folder)\n"
    )
