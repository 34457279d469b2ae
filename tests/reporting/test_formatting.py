from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.inference import Estimate, Variances
from harness.analysis.score_format import NOTHING, difference, score
from harness.analysis.summary import Statistic
from harness.reporting import captions
from harness.reporting.formatting import duration
from tests.support.results_factory import fill


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.42, "0.4 s"),
        (59.94, "59.9 s"),
        (59.96, "1.0 min"),
        (125, "2.1 min"),
        (3590, "59.8 min"),
        (3598, "1.0 h"),
        (3780, "1.1 h"),
    ],
)
def test_duration_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("mean", "low", "high", "text"),
    [
        (85.3, 84.9, 85.6, "85.3 ± 0.4"),
        (99.4, 79.8, 99.9, "99.4 [79.8, 99.9]"),
        (0.8, 0.1, 9.0, "0.8 [0.1, 9.0]"),
        (100.0, 99.3, 100.0, "100.0 ± 0.7"),  # skewed, but by less than a point
        (90.0, 86.0, 92.0, "90.0 ± 4.0"),  # one side twice as long
        (90.0, None, None, "90.0"),
    ],
)
def test_a_skewed_interval_is_printed_with_both_ends(mean, low, high, text):
    assert score(Statistic(mean, None, 3, low, high)) == text


@pytest.mark.parametrize(
    ("mean", "error", "decimals", "text"),
    [
        (-0.03, 0.005, 1, "-0.03 [-0.04, -0.02]"),
        (0.3, 0.1, 0, "+0.3 [+0.1, +0.5]"),
        (0.03, 0.02, 1, "0.0 [0.0, +0.1]"),  # its interval includes 0
        (0.0, 0.0, 1, "0.0 [0.0, 0.0]"),
        (0.4, 0.1, 1, "+0.4 [+0.2, +0.6]"),
    ],
)
def test_a_difference_that_is_not_chance_is_not_printed_as_0(mean, error, decimals, text):
    estimate = Estimate(mean, Variances(np.array(error**2), np.array(0.0), np.array(0.0)), 1e6, 1e6, "seeds")
    assert difference(estimate, decimals) == text


def test_texts_say_when_both_ends_are_printed(tmp_path):
    rule = "more than twice as long as the other, and by more than one point, "
    documents = (Path(__file__).parents[2] / name for name in ("README.md", "docs/results.md"))
    assert all(rule in " ".join(path.read_text(encoding="utf-8").split()) for path in documents)
    summary = summarize(fill(tmp_path))
    assert rule not in " ".join(captions.reading(summary))
    students = tuple(replace(row, average=Statistic(99.4, 0.5, 3, 79.8, 99.9)) for row in summary.students)
    assert rule in " ".join(captions.reading(replace(summary, students=students)))


def test_no_score():
    assert score(None) == NOTHING
