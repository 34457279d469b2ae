"""The benchmark `textbrewer`: the bound, equal losses, equal batches."""

import pytest
import torch

from benchmarks import brewer
from benchmarks.matched import Matched
from benchmarks.workload import TOKENIZER_NAME, Entry, Workload, fixed_length_data, sst2_data
from harness.api.errors import UserError

needs_textbrewer = pytest.mark.skipif(brewer.installed() is None, reason="textbrewer is not installed")


def test_the_bound_and_the_share_of_the_bound(options):
    times = {"x: textbrewer": [600, 300], "x: cohort": [200, 200], "x: teacher": [80, 10], "x: student": [20, 10]}
    rows = brewer.rows(times, "x", options(teacher="12x768", runs=6, length=128), setting=brewer.EQUAL)
    assert [row.ratios for row in rows[:2]] == [[3.0, 1.5], [600 / 200, 120 / 70]]
    assert rows[2].ratios == [1.0, pytest.approx(1.5 / (120 / 70))]
    assert [row.target for row in rows] == [None, None, ("at least", 0.9)]
    for setting, least in ((brewer.FIXED, 8.0), (brewer.LONGEST, 2.5)):
        (row,) = brewer.rows(times, "x", options(teacher="12x768", runs=6, length=128), setting=setting)
        assert (row.ratios, row.target) == ([3.0, 1.5], ("at least", least))


@needs_textbrewer
@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("size", ["2x12", "2x24"])
@pytest.mark.parametrize("setting", [brewer.FIXED, brewer.LONGEST])
def test_every_loss_is_equal_on_examples_of_many_lengths(options, glue, attention, size, setting):
    sizes = options(data=glue)
    workload = Workload(sizes, sst2_data(sizes), **brewer.CHECK)
    assert len({length for batch in workload.batches(3) for length in batch.lengths.tolist()}) > 1
    brewer.check(workload, Entry("matched", Matched, {"attention": attention}), size, setting)


@needs_textbrewer
def test_a_different_loss_or_optimizer_is_detected(options, monkeypatch):
    class ScaledTerm(Matched):
        def losses(self, step, batch, student, teachers):
            terms = super().losses(step, batch, student, teachers)
            return {**terms, "hidden_1": terms["hidden_1"] * 1.001}

    workload = Workload(options(), fixed_length_data(options()), **brewer.CHECK)
    with pytest.raises(AssertionError, match=r"step 1 of 2x12: (loss|hidden_1) is"):
        brewer.check(workload, Entry("matched", ScaledTerm, {"attention": False}), "2x12", brewer.EQUAL)
    monkeypatch.setattr("benchmarks.peer.set_learning_rate", lambda optimizer, lr: None)
    with pytest.raises(AssertionError, match="step 2 of 2x12"):
        brewer.check(
            Workload(options(), fixed_length_data(options()), **brewer.CHECK, lr=0.01),
            Entry("m", Matched, {"attention": False}),
            "2x12",
            brewer.EQUAL,
        )


def test_different_names_or_values_of_terms_are_refused():
    with pytest.raises(AssertionError, match="TextBrewer"):
        brewer.refuse_difference("here", {"kd": 1.0}, {"kd": 1.0, "hidden_0": 2.0})
    with pytest.raises(AssertionError, match="kd is nan"):
        brewer.refuse_difference("here", {"kd": float("nan")}, {"kd": 1.0})
    brewer.refuse_difference("here", {"kd": 1.00005}, {"kd": 1.0})


@pytest.mark.parametrize("setting", [brewer.FIXED, brewer.LONGEST])
def test_both_sides_train_on_the_same_random_batches(options, glue, setting):
    sizes = options(data=glue)
    workload = Workload(sizes, sst2_data(sizes), batching="grouped")
    stream = workload.stream()

    def examples(inputs):
        return [ids[mask.bool()].tolist() for ids, mask in zip(*inputs, strict=True)]

    for position, theirs in enumerate(brewer.peer_batches(workload, setting)):
        ours = stream.at(position, workload.device)
        longest = int(theirs["attention_mask"].sum(-1).max())
        assert tuple(theirs["input_ids"].shape) == (3, 12 if setting == brewer.FIXED else longest)
        groups = [
            row
            for group in ours.groups(TOKENIZER_NAME)
            for row in examples((group.inputs["input_ids"], group.inputs["attention_mask"]))
        ]
        assert groups == examples((theirs["input_ids"], theirs["attention_mask"]))


@needs_textbrewer
def test_both_losses_are_measured_in_every_setting(options, glue):
    measured = brewer.measure(options(data=glue), lambda line: None)
    cells = [f"4x24 -> 2x12, {losses}" for losses in ("logits, hidden", "logits, hidden, attention")]
    same, longest = brewer.EQUAL, brewer.LONGEST
    fixed = "padded to 12 / grouped"
    whats = ("textbrewer / cohort", "its bound", "share of the bound")
    expected = [
        f"{c}, {s}: {w}" for c in cells for s in (same, fixed, longest) for w in (whats if s == same else whats[:1])
    ]
    assert [row.what for row in measured.rows] == expected
    assert measured.notes["textbrewer"] == brewer.installed()
    assert all(len(times) == 1 and min(times) > 0 for times in measured.times.values())
    assert f"{cells[0]}, {fixed}: teacher" not in measured.times


def test_the_memory_of_both_sides_is_measured_without_that_of_the_parts(options, glue, parts_in_memory):
    brewer.measure(options(data=glue), lambda line: None)
    alive, made = parts_in_memory
    assert (alive, len(made)) == ([0] * 6, 2)


def test_too_few_examples_are_an_error(options, glue):
    with pytest.raises(UserError, match="has 20 training examples, 24 are needed"):
        sst2_data(options(data=glue, steps=8))


def test_padding_is_masked(options):
    from benchmarks.peer import fields

    workload = Workload(options(), fixed_length_data(options()))
    (batch,) = workload.batches(1)
    padded = fields(batch, 20)
    assert padded["attention_mask"].shape == (3, 20)
    assert torch.equal(padded["attention_mask"][:, 12:], torch.zeros(3, 8, dtype=torch.int64))
