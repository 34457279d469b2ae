"""A row's protocol is derived from its stages, data and length; the board and its JSON show it."""

import json

import pytest

from harness.reporting.report_files import write


def protocol(plan, label):
    return plan.file("harness run").rows[label].protocol


@pytest.mark.parametrize(
    ("sets", "label", "expected"),
    [
        ((), "finetune", "task only, no augmentation, 1 epoch"),
        (("training.epochs=3",), "logit_kd", "task only, no augmentation, 3 epochs"),
        (("training.epochs=3",), "tinybert", "task only, no augmentation, stages intermediate + prediction, 3 epochs"),
        (
            ("methods=[{tinybert: {label: long, stages: {intermediate: {epochs: 20}, prediction: {epochs: 3}}}}]",),
            "long",
            "task only, no augmentation, stages intermediate + prediction, 23 epochs",
        ),
        (
            ("methods=[{finetune: {stages: {finetune: {steps: 4}}}}]",),
            "finetune",
            "task only, no augmentation, 0.5 epochs",
        ),
    ],
)
def test_the_protocol_is_derived_from_the_plan(small, sets, label, expected):
    assert protocol(small.plan(*sets), label) == expected


def test_the_board_and_its_json_show_the_protocol(small):
    assert not small.run("methods=[finetune]", "seeds=[1]").failed
    report = write(small.folder / "results" / "small")
    (table,) = [table for table in report.board.tables if table.title == "Training protocol"]
    assert [line.cells for line in table.lines] == [("finetune", "task only, no augmentation, 1 epoch")]
    rows = json.loads(report.texts["json"])["rows"]
    assert [row.get("protocol") for row in rows if row["role"] == "student"] == ["task only, no augmentation, 1 epoch"]
