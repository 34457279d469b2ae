"""Multilabel and token classification, from the suite to the board and to transformers' pipelines."""

import pandas as pd
import pytest
from transformers import pipeline

from harness.analysis.aggregate import summarize
from harness.reporting import report

SUITE = (
    "tasks=[synthetic_praise, synthetic_names]",
    "methods=[logit_kd, mt_bert]",
    "seeds=[1]",
    "training={epochs: 3, batch_size: 16, lr: 3e-3, max_length: 9, limit: {train: 300, validation: 50}}",
    "selection={on: train}",
)


@pytest.fixture(name="runs")
def _runs(small):
    """task -> its first record, predictions, texts and the folder of the exported student."""
    assert not small.run(*SUITE).failed
    store = small.store()
    found = {}
    for record in store.records():
        folder = store.run_folder(record.key)
        frame = pd.read_parquet(folder / "predictions.parquet")
        texts = pd.read_parquet(store.folder / "examples" / f"{record.data_fingerprint}.parquet")
        assert frame["id"].tolist() == texts["id"].tolist()
        found.setdefault(record.task, (record, frame, texts["text"].tolist(), folder / "student"))
    summary = summarize(store)
    assert [cell.state for row in summary.students for cell in row.cells.values()] == ["complete"] * 4
    assert summary.constant.cells["synthetic_praise"].score.mean > 0
    assert "constant answer" in report(store.folder).markdown
    return found


def test_both_kinds_are_scored_stored_and_exported(runs):
    record, frame, texts, student = runs["synthetic_praise"]
    assert record.metrics.keys() == {"f1_micro", "f1_macro", "subset_accuracy"}
    classify = pipeline("text-classification", model=str(student), tokenizer=str(student), top_k=None)
    for text, classes in zip(texts[:10], frame["prediction"][:10], strict=True):
        scores = {each["label"]: each["score"] for each in classify([text])[0]}
        labels = [*classify.model.config.id2label.values()]
        assert {labels[index] for index in classes} == {label for label, score in scores.items() if score > 0.5}

    record, frame, texts, student = runs["synthetic_names"]
    assert record.metrics.keys() == {"entity_precision", "entity_recall", "entity_f1", "token_accuracy"}
    tag = pipeline("token-classification", model=str(student), tokenizer=str(student), ignore_labels=[])
    short = [row for row, text in enumerate(texts) if len(text.split()) <= 7]  # of one window
    assert short
    assert len(short) < len(texts)
    for row in short[:10]:
        assert [each["entity"] for each in tag(texts[row])] == frame["prediction"][row].tolist()
    for text, tags, gold in zip(texts, frame["prediction"], frame["label"], strict=True):
        assert len(text.split()) == len(tags) == len(gold), "long texts are tagged to their end"
