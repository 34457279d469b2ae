"""A regression on prices with standardized labels, from its file to plain transformers; the warning without."""

import random
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from harness.analysis.aggregate import summarize
from harness.execution import teacher_runs
from harness.reporting import report

WORDS = ["sun", "lamp", "fire", "night", "cave", "coal", "tree", "road", "hand", "song"]
TASK = "tasks=[{price: {kind: regression, train: p.csv, validation: 0.3, label: price, metrics: [mae]%s}}]"
STANDARDIZED = TASK % ", standardize: true"
CHAIN = (
    STANDARDIZED,
    "students={1x32: {layers: 1, init: uniform}, 2x32: {layers: 2, init: uniform}}",
    "teachers.base.epochs=6",
    "teachers.base.lr=3e-3",
    "teachers.medium={row: ta}",
    "methods=[{logit_kd: {label: last, students: [1x32], teachers: [medium]}}, {logit_kd: {label: ta, students:"
    " [2x32]}}]",
    "seeds=[1]",
    "training={epochs: 6, batch_size: 16, lr: 3e-3, max_length: 16}",
    "selection={on: train}",
)


@pytest.fixture(name="prices")
def _prices(small):
    rng = random.Random(0)
    rows = [rng.choices(WORDS, k=8) for _ in range(200)]
    lines = [f"{' '.join(row)},{1500 + 1000 * row.count('sun') - 500 * row.count('night')}" for row in rows]
    (small.folder / "p.csv").write_text("\n".join(["text,price", *lines]))
    return small


def answers(folder, texts):
    """The answers of plain transformers."""
    return outputs(AutoModelForSequenceClassification.from_pretrained(folder), folder, texts)


def outputs(model, folder, texts):
    encoded = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**encoded).logits[:, 0].numpy()


def texts_and_predictions(store, record):
    frame = pd.read_parquet(store.folder_of(record) / "predictions.parquet")
    texts = pd.read_parquet(store.folder / "examples" / f"{record.data_fingerprint}.parquet")
    return texts["text"].tolist(), frame["prediction"].to_numpy()


def test_all_models_learn_prices_and_answer_in_their_unit(prices):
    prices.finished(*CHAIN)
    store = prices.store()
    summary = summarize(store)
    scores = {row.label: row.cells["price"].score.mean for row in summary.rows}
    assert max(scores["base"], scores["ta"]) < 0.8 * scores["constant answer"], "they learn"
    assert "trained on (label - " in report(store.folder).markdown
    records = {record.label: record for record in store.records()}
    for record in records.values():
        texts, predictions = texts_and_predictions(store, record)
        np.testing.assert_allclose(answers(store.folder_of(record) / "student", texts), predictions, rtol=1e-4)
        assert record.selection.epochs[-1].score > 10, "an error in the unit of the labels"
        assert record.losses[-1].terms["loss"] < 10, "a loss in standard deviations"

    job = next(teacher for run in prices.plan(*CHAIN).runs for teacher in run.teachers if teacher.row == "medium")
    student = store.folder_of(records["ta"]) / "student"
    texts, predictions = texts_and_predictions(store, records["ta"])
    scale = job.data.task.label_scale
    taught = outputs(teacher_runs.load(job), student, texts)
    np.testing.assert_allclose(taught * scale.unit + scale.mean, predictions, rtol=1e-4)


def test_a_checkpoint_that_answers_in_the_unit_of_the_labels_is_a_teacher(prices):
    prices.finished(*CHAIN)
    (source,) = (record for record in prices.store().records() if record.label == "ta")
    shutil.copytree(prices.store().folder_of(source) / "student", prices.folder / "checkpoint")
    shutil.rmtree(prices.folder / "results")
    given = ("teachers={given: {model: ./checkpoint, finetune: false}}", "methods=[logit_kd]", "seeds=[1]")
    assert not prices.run(STANDARDIZED, *given).failed
    (teacher,), (student,) = prices.store().teachers(), prices.store().records()
    assert (teacher.score, teacher.warnings) == (pytest.approx(source.score, rel=1e-4), [])
    assert student.losses[0].terms["kd"] < 10, "teacher and student are in one unit"
    plain, standardized = (prices.plan(task, *given).teachers[0].key for task in (TASK % "", STANDARDIZED))
    assert plain != standardized, "students learn other outputs"


def test_a_suite_without_standardized_labels_warns_on_the_board(prices):
    assert not prices.run(TASK % "", "methods=[finetune]", "seeds=[1]", "training.epochs=0.2").failed
    written = report(prices.store().folder)
    assert "LABEL SCALE" in written.markdown.splitlines()[0]
    assert "price: the training labels have a mean of 1" in written.markdown
