"""Selection of the best epoch in a suite."""

import os
import signal

import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from harness import hookimpl
from harness.api.errors import UserError
from harness.storage.records import RunRecord
from tests.support.student_weights import student_weights

pytestmark = pytest.mark.xdist_group("best epoch")  # tests that share a finished suite

BEST = ("selection={on: train, seed: 3}", "training.epochs=4", "seeds=[1]", "training.lr=0.003")


class Stops:
    """Sends a signal once, when a student logs the step."""

    def __init__(self, step):
        self.step = step

    @hookimpl
    def harness_step(self, event):
        if (event.run.role, event.step) == ("student", self.step):
            self.step = None
            os.kill(os.getpid(), signal.SIGINT)


def outcome(small):
    """Label -> the selection record and the exported weights of a run."""
    records = small.store().records()
    assert {record.status for record in records} == {"completed"}
    return {record.label: (record.selection, student_weights(small.store(), record.key)) for record in records}


def assert_same(results, others):
    assert results.keys() == others.keys()
    for label, (selection, exported) in results.items():
        expected, tensors = others[label]
        assert (selection.epochs, selection.step) == (expected.epochs, expected.step)
        assert all(torch.equal(exported[name], tensor) for name, tensor in tensors.items())


def afresh(small, name):
    """Renames the results folder, so that all runs are trained again."""
    (small.folder / "results").rename(small.folder / name)


def test_the_record_has_the_chosen_epoch_and_its_data(small):
    small.finished(*BEST)
    plan = small.plan(*BEST)
    (data,) = {id(job.data): job.data for job in plan.runs}.values()
    records = {record.label: record for record in small.store().records()}
    for record in records.values():
        chosen = record.selection
        assert (chosen.on, chosen.share, chosen.seed, chosen.examples) == ("train", 0.1, 3, 24)
        assert chosen.fingerprint == data.selection_fingerprint == record.parts["selection"]["examples"]
        assert record.data_fingerprint == data.validation_fingerprint != chosen.fingerprint
        best = max(point.score for point in chosen.epochs)
        assert chosen.step == next(point.step for point in chosen.epochs if point.score == best)
        assert chosen.epochs[-1].step == record.cost.steps == 24  # 96 examples by 16, four times
        assert record.cost.evaluation_seconds > 0
        assert RunRecord.model_validate_json(record.model_dump_json()) == record
    assert any(record.selection.step < record.cost.steps for record in records.values())
    assert [point.step for point in records["finetune"].selection.epochs] == [6, 12, 18, 24]
    assert [point.step for point in records["tinybert"].selection.epochs] == [22, 24]  # its last stage has 8


def test_the_exported_student_is_the_scored_one(small):
    small.run(*BEST, "methods=[finetune]")
    plan = small.plan(*BEST, "methods=[finetune]")
    (record,) = small.store().records()
    frame = pd.read_parquet(small.store().run_folder(record.key) / "predictions.parquet")
    model = AutoModelForSequenceClassification.from_pretrained(small.store().run_folder(record.key) / "student")
    tokenizer = plan.runs[0].tokenizer_ref.tokenizer
    texts = plan.runs[0].data.splits.validation["validation"]["text"][:]
    with torch.no_grad():
        predictions = model.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits.argmax(-1).tolist()
    assert predictions == frame["prediction"].tolist()


def test_validation_labels_do_not_influence_the_choice(small):
    small.finished(*BEST)
    expected = outcome(small)
    afresh(small, "results before")
    plugin = small.folder / "order.py"
    text = plugin.read_text(encoding="utf-8")
    poisoned = text.replace(
        '{"validation": examples(60, 2)}', '{"validation": examples(60, 2).map(lambda r: {"label": 1 - r["label"]})}'
    )
    assert poisoned != text
    plugin.write_text(poisoned, encoding="utf-8")
    small.run(*BEST)
    assert_same(outcome(small), expected)


def test_alone_equals_in_a_cohort(small):
    small.finished(*BEST)
    expected = outcome(small)
    afresh(small, "results before")
    for method in ("tinybert", "logit_kd", "finetune"):
        small.run(*BEST, f"methods=[{method}]")
    assert_same(outcome(small), expected)


@pytest.mark.parametrize("step", [5, 15])
def test_interrupted_equals_uninterrupted(small, step):
    small.finished(*BEST)
    expected = outcome(small)
    afresh(small, "results before")
    assert small.run(*BEST, observers=(Stops(step),)).interrupted
    assert not small.store().records()
    assert not small.run(*BEST).interrupted
    assert_same(outcome(small), expected)


def test_selection_on_the_validation_split_reports_the_best_epoch(small):
    small.run(*BEST[1:], "selection=validation")
    for record in small.store().records():
        assert (record.selection.on, record.selection.share, record.selection.seed) == ("validation", None, None)
        assert record.selection.examples == 60
        assert record.selection.fingerprint == record.data_fingerprint
        assert record.score == max(point.score for point in record.selection.epochs)


def test_a_held_out_split_with_the_last_epoch(small):
    small.run("selection={epoch: last}", "seeds=[1]", "methods=[finetune]")
    (record,) = small.store().records()
    assert "selection" not in record.parts
    assert (record.selection.epochs, record.selection.step) == ([], None)
    assert record.selection.examples == 24


def test_records_of_earlier_versions_are_read(small):
    small.run("seeds=[1]", "methods=[finetune]")
    (record,) = small.store().records()
    assert record.selection is None
    earlier = record.model_dump(mode="json", exclude={"selection"})
    assert RunRecord.model_validate(earlier).selection is None


def test_selection_on_hidden_labels_is_an_error(small):
    plugin = small.folder / "order.py"
    text = plugin.read_text(encoding="utf-8")
    plugin.write_text(text.replace("examples(60, 2)", 'examples(60, 2).map(lambda r: {"label": -1})'), encoding="utf-8")
    with pytest.raises(UserError, match=r"labels of split .* are hidden"):
        small.plan("selection=validation")


@pytest.mark.parametrize("selected", [True, False])
def test_the_record_says_where_a_stage_has_started(small, selected):
    options = BEST if selected else [option for option in BEST if "selection" not in option]
    assert not small.run(*options, "methods=[annealing_kd]").failed
    (record,) = small.store().records()
    start = record.notes["starts_from"]["labels"]
    last = max(point.step for point in record.losses if point.stage == "anneal")
    assert start["stage"] == "anneal"
    if selected:
        assert 0 < start["step"] <= last
        assert 0 <= start["score"] <= 1
        assert all(point.step > last for point in record.selection.epochs)
    else:
        assert start["step"] == last
        assert "does not select" in start["reason"]
