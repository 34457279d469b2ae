"""MNLI and the diagnostic set with a one-layer model, from a folder in the hub's layout to the leaderboard."""

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from harness.analysis.score_cells import HIDDEN
from harness.reporting import report_files
from tests.support.hub_layout import write_dataset

TEXTS = {0: ("a cat sat", "a cat"), 1: ("a cat sat", "a dog ran"), 2: ("a cat sat", "no cat")}


def rows(labels, visible=None) -> pd.DataFrame:
    premises, hypotheses = zip(*(TEXTS[label] for label in labels), strict=True)
    visible = labels if visible is None else visible
    return pd.DataFrame({"premise": premises, "hypothesis": hypotheses, "label": visible, "idx": range(len(labels))})


@pytest.fixture
def run(small, monkeypatch):
    """Runs mnli and ax; `visible` holds the labels of the diagnostic set."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", small.folder / "datasets")

    def run(visible):
        mnli = {
            "train": rows([0, 1, 2] * 20),
            "validation_matched": rows([0, 1, 2, 2]),
            "validation_mismatched": rows([2, 1, 0, 0, 1]),
        }
        folder = write_dataset(small.folder / "glue", {"mnli": mnli, "ax": {"test": rows([0, 1, 2, 0], visible)}})
        suite = yaml.safe_load(small.path.read_text(encoding="utf-8"))
        suite |= {"tasks": ["mnli", "ax"], "sources": {"glue": str(folder)}, "methods": ["finetune"], "seeds": [1]}
        small.path.write_text(yaml.safe_dump(suite), encoding="utf-8")
        outcome = small.run()
        assert not outcome.failed
        return {record.task: record for record in small.store().records()}, report_files.write(small.store().folder)

    return run


def test_mnli_is_one_record_of_both_validation_sets(small, run):
    records, report = run([-1] * 4)
    record = records["mnli"]
    assert set(record.metrics) == {"validation_matched_accuracy", "validation_mismatched_accuracy"}
    assert record.score == pytest.approx(sum(record.metrics.values()) / 2)
    frame = pd.read_parquet(small.store().run_folder(record.key) / "predictions.parquet")
    for split, count in (("validation_matched", 4), ("validation_mismatched", 5)):
        part = frame[frame["split"] == split]
        assert len(part) == count
        assert record.metrics[f"{split}_accuracy"] == pytest.approx((part["prediction"] == part["label"]).mean())
    assert f"{100 * record.score:.1f}" in report.markdown


def test_hidden_labels_give_predictions_without_a_score(small, run):
    records, report = run([-1] * 4)
    record = records["ax"]
    assert (record.status, record.score, record.metrics) == ("completed", None, {})
    folders = [small.store().run_folder(records[name].key) for name in ("ax", "mnli")]
    frame = pd.read_parquet(folders[0] / "predictions.parquet")
    assert frame["label"].tolist() == [-1] * 4
    assert set(frame["prediction"]) <= {0, 1, 2}
    weights = [load_file(folder / "student" / "model.safetensors") for folder in folders]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    assert HIDDEN in report.markdown
    (line,) = [line for line in report.board.lines if line.role == "student"]
    assert line.cells[0] == "1"
    assert any(cell.startswith(f"{100 * records['mnli'].score:.1f} ±") for cell in line.cells)


def test_visible_labels_are_scored(run):
    records, report = run([0, 1, 2, 0])
    assert set(records["ax"].metrics) == {"matthews_correlation"}
    assert records["ax"].score == records["ax"].metrics["matthews_correlation"]
    assert "n/a" not in report.board.lines[-1].cells[4]
