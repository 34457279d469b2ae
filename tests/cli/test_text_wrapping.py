"""Wrapped sentences keep numbers together with units, signs and intervals; titles break at underscores."""

import pytest

from harness.cli.text_wrapping import longest_piece, longest_word, title_lines, wrap

TOGETHER = ["91.5 ± 0.3", "+1.2 [+0.3, +2.1]", "p = 0.012", "p < 0.001", "1.3× [1.2, 1.9]", "12.3 min", "63 % [51, 74]"]


@pytest.mark.parametrize("part", TOGETHER)
def test_no_line_ends_inside_a_number(part):
    for before in range(60):
        lines = wrap(f"{'a' * before} {part} and more", 40)
        assert any(part in line for line in lines), lines
    assert longest_word(f"x {part} y") == len(part)


def test_the_last_of_too_many_lines_ends_with_an_ellipsis():
    lines = wrap("word " * 40, 40, most=2, indent="  ")
    assert len(lines) == 2
    assert lines[1].startswith("  word")
    assert lines[1].endswith(" ...")


def test_titles_break_where_they_have_to():
    assert list(title_lines("synthetic_sentiment", 10)) == ["synthetic_", "sentiment"]
    assert list(title_lines("speed-up", 8)) == ["speed-up"]
    assert longest_piece("synthetic_sentiment") == 10
