"""Boards of tasks that are scored by an error: mean squared and mean absolute error, in any unit."""

import pytest

from harness.analysis.aggregate import summarize
from harness.reporting import report
from tests.support.error_scores import priced


@pytest.mark.parametrize("unit", [0.02, 1000.0])
def test_a_report_of_errors_of_any_size(tmp_path, unit):
    """An error has no greatest value, so that its interval is symmetric, and every file of the report is written."""
    store = priced(tmp_path, unit)
    report(tmp_path)
    for row in summarize(store).rows:
        score = row.cells["price"].score
        assert score.over == ("examples" if row.role == "teacher" else "seeds and examples")
        assert 0 < score.high - score.mean == pytest.approx(score.mean - score.low)
        assert row.average == score
