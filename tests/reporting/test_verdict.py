"""The verdict of a board: the best row of each student, its lead and how certain that is."""

from harness.analysis.aggregate import summarize
from harness.reporting.board import build
from tests.support.results_factory import SQUAD, SST2, fill, plan, run_key


def verdict(folder, planned=None, **changes):
    return build(summarize(fill(folder, planned, **changes))).verdict


def test_a_sentence_for_each_student_compares_with_the_row_without_a_teacher(tmp_path):
    big, small = verdict(tmp_path, answered=True)
    assert big.startswith("Best of big: kd 81.5 ± 3.2, +5.0 [+")
    assert "] against finetune (p = 0.0" in big
    assert small.startswith("Best of small: kd 74.5 ± ")


def test_one_seed_is_not_tested(tmp_path):
    assert verdict(tmp_path, plan(seeds=1))[0] == "Best of big: kd 80.5, +5.5 against finetune (not tested: one seed)."


def test_a_difference_may_be_insignificant(tmp_path):
    assert "not significant)" in verdict(tmp_path, plan([SST2], seeds=2))[0]


def test_no_complete_row_has_no_best(tmp_path):
    keys = [run_key("squad", label, student, 1) for label in ("kd", "finetune") for student in ("big", "small")]
    assert verdict(tmp_path, leave_out=keys) == ("No row is complete yet: 20 of 24 runs have a result.",)


def test_tasks_in_both_directions_have_no_average(tmp_path):
    (sentence,) = verdict(tmp_path, plan([SST2, SQUAD.model_copy(update={"higher_is_better": False})]))
    assert sentence.startswith("No method is best on average")
