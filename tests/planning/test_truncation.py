"""What a plan says of texts that are longer than `max_length`."""

from dataclasses import replace

import pytest

from harness.analysis.data_notes import truncation, warnings
from harness.planning import truncation as counting
from harness.planning.truncation import truncated_texts
from harness.storage.plan_file import TruncatedTexts
from harness.tasks.tokenization import encode


def entry(longer, examined=100, students=("small",)):
    counts = {"train": examined, "validation_matched": examined}
    return TruncatedTexts(
        students=list(students), max_length=64, examined=counts, longer={"train": longer, "validation_matched": 0}
    )


@pytest.mark.parametrize("max_length", [8, 9, 512])
def test_the_counts_are_those_of_the_tokenizer(small, max_length):
    plan = small.plan(f"training.max_length={max_length}")
    (run, *_) = plan.runs
    (found,) = plan.truncated[run.planned.task]
    splits = {"train": run.data.splits.train, **run.data.splits.validation}
    assert found.max_length == max_length
    assert found.students == list(plan.spec.students)
    assert found.examined == {name: len(split) for name, split in splits.items()}
    for name, split in splits.items():
        tokenizer = run.tokenizer_ref.tokenizer
        whole, cut = (encode(split, run.data.task, tokenizer, length).lengths for length in (10_000, max_length))
        assert found.longer[name] == int((whole != cut).sum())
    assert sum(found.longer.values()) > 0 or max_length == 512


def test_of_a_large_split_a_sample_is_counted(small, monkeypatch):
    plan = small.plan("training.max_length=8")
    (whole,) = plan.truncated[plan.runs[0].planned.task]
    monkeypatch.setattr(counting, "SAMPLE", 20)
    (sampled,) = truncated_texts(plan.runs)[plan.runs[0].planned.task]
    assert set(sampled.examined.values()) == {20}
    assert sampled.longer["train"] / 20 == pytest.approx(whole.longer["train"] / whole.examined["train"], abs=0.35)


def test_texts_that_are_split_into_windows_are_not_truncated(small):
    run = small.plan("training.max_length=8").runs[0]
    assert truncated_texts([run])
    question = replace(run.cell.task, kind="qa")
    assert truncated_texts([replace(run, cell=replace(run.cell, task=question))]) == {}


def test_a_plan_reads_the_counts_from_the_cache(small, monkeypatch, settled_files):
    first = small.plan("training.max_length=8")
    monkeypatch.setattr(counting, "_token_counts", lambda *args: pytest.fail("tokenized again"))
    assert small.plan("training.max_length=8").truncated == first.truncated
    assert small.plan("training.max_length=12").truncated != first.truncated


@pytest.mark.parametrize(("longer", "warned"), [(0, False), (10, False), (11, True)])
def test_a_warning_above_ten_percent(longer, warned):
    lines = warnings({}, {"t": [entry(longer)]})
    expected = (
        f"t: texts are truncated: {longer}.0 % of 100 train examples have more than 64 tokens; raise"
        " `training.max_length` to keep them whole, if the models can read more"
    )
    assert lines == ([expected] if warned else [])


def test_a_warning_names_the_option_that_truncates():
    (line,) = warnings({}, {"t": [entry(20)]}, max_length="--max-length")
    assert line.endswith("; raise --max-length to keep them whole, if the models can read more")


def test_the_provenance_of_a_board_names_students_if_their_tokenizers_differ():
    assert list(truncation("t", [entry(0)])) == []
    text = "5.0 % of 100 train examples have more than 64 tokens"
    assert list(truncation("t", [entry(5)])) == [("Truncated texts, t", text)]
    both = [entry(5), entry(5, students=("a", "b"))]
    assert [name for name, _ in truncation("t", both)] == ["Truncated texts, t (small)", "Truncated texts, t (a, b)"]
