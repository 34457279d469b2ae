"""Boards of tasks that are scored by an error: mean squared and mean absolute error, in any unit."""

import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.printed_decimals import decimals
from harness.analysis.summary import Statistic
from harness.reporting import report
from harness.reporting.board import build
from tests.support.error_scores import PRICE, priced
from tests.support.results_factory import SST2, fill, plan


@pytest.mark.parametrize("unit", [0.02, 1000.0])
def test_a_report_of_errors_of_any_size(tmp_path, unit):
    """An error has no greatest value, so that its interval is symmetric, and every file of the report is written."""
    store = priced(tmp_path, unit)
    report(tmp_path)
    summary = summarize(store)
    for row in (*summary.teachers, *summary.students):
        score = row.cells["price"].score
        assert score.over == ("examples" if row.role == "teacher" else "seeds and examples")
        assert 0 < score.high - score.mean == pytest.approx(score.mean - score.low)
        assert row.average == score


@pytest.mark.parametrize(
    ("means", "margin", "wanted"),
    [
        ([0.021, 0.04], 0.0031, 4),  # 0.0210 ± 0.0031
        ([957.3, 1204.0], 91.3, 0),  # 957 ± 91
        ([2.5, 3.0], 0.52, 2),
        ([0.021, 0.04], None, 4),  # 0.0210
        ([1234.5, 0.5], 1e-9, 2),  # six digits of the largest
        ([0.1, 0.2], 2e-17, 3),  # equal seeds: the margin is a rounding error
        ([0.0, 0.0], 0.0, 1),
    ],
)
def test_decimals_of_an_error(means, margin, wanted):
    ends = [(None, None) if margin is None else (mean - margin, mean + margin) for mean in means]
    assert decimals([Statistic(mean, 0.1, 3, *pair) for mean, pair in zip(means, ends, strict=True)]) == wanted


def test_small_errors_are_printed_and_ranked_by_what_differs(tmp_path):
    """With one decimal, every row would be 0.0 ± 0.0, rank 1 and bold."""
    summary = summarize(priced(tmp_path, 0.02))
    board = build(summary)
    lines = [line for line in board.lines if line.role == "student"]
    assert [(line.cells[0].split()[0], line.cells[1], line.cells[2]) for line in lines] == [
        ("1", "kd", "big"),
        ("3", "finetune", "big"),
        ("2", "kd", "small"),
        ("4", "finetune", "small"),
    ]
    assert [bool(line.best) for line in lines] == [True, False, True, False]
    scores = [row.cells["price"].score for row in summary.students]
    assert lines[0].cells[3] == f"{scores[0].mean:.4f} ± {scores[0].margin:.4f}" == lines[0].cells[4]
    best, other = board.verdict[0].split(" against ")[0].split(", ", 1)
    assert best == f"Best of big: kd {lines[0].cells[3]}"
    assert other.startswith(f"-{scores[1].mean - scores[0].mean:.4f} [-0.0")
    assert board.reading[0].startswith("A score is the mean over 3 seeds, as reported. ±")
    spread = next(table for table in board.tables if table.title == "Standard deviation over seeds")
    assert spread.lines[0].cells[2] == f"{scores[0].std:.4f}"


@pytest.mark.parametrize("percent", [True, False], ids=["another error", "a share of which less is better"])
def test_an_error_among_several_tasks_has_no_average(tmp_path, percent):
    """The task with the largest numbers would decide: of a mean of 600 euros and 0.4 stars, the stars are lost."""
    tasks = [SST2.model_copy(update={"higher_is_better": False, "percent": percent}), _named("squad")]
    summary = summarize(fill(tmp_path, plan(tasks)))
    assert {(row.average, row.rank, row.top, row.iqm) for row in summary.students} == {(None,) * 4}
    assert not summary.comparisons
    board = build(summary)
    (verdict,) = board.verdict
    errors = "sst2 and of squad" if percent else "squad"
    assert verdict == f"No method is best on average: the score of {errors} is an error, in a unit of its own."
    assert any(
        f"of {errors} is an error, in a unit of its own, so there is no average" in text for text in board.reading
    )
    assert all(line.cells[5] == "–" for line in board.lines)


def test_an_error_and_a_diagnostic_task_have_an_average(tmp_path):
    """It is that of the error alone."""
    diagnostic = SST2.model_copy(update={"higher_is_better": False, "diagnostic": True})
    for row in summarize(fill(tmp_path, plan([diagnostic, _named("squad")]))).students:
        assert row.average.mean == row.cells["squad"].score.mean


def _named(name):
    return PRICE.model_copy(update={"name": name})


@pytest.mark.parametrize("unit", [0.02, 1000.0])
def test_errors_no_smaller_than_that_of_a_constant_are_marked(tmp_path, unit):
    board = build(summarize(priced(tmp_path, unit, spread=1.4)))
    cells = {line.cells[1:3]: line.cells[3] for line in board.lines}
    assert [row for row, cell in cells.items() if "†" in cell] == [("finetune", "small")]
    constant = cells["constant answer", "–"]
    assert float(cells["finetune", "big"].split()[0]) < float(constant) < float(cells["finetune", "small"].split()[0])
    assert len(constant) == len(cells["finetune", "big"].split()[0]), "it has the decimals of the column"
