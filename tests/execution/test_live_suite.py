"""A suite with methods that run their teachers themselves, and give the student its initial weights."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from harness.execution import teacher_runs

SETTINGS = (
    "methods=[logit_kd, theseus, ad_kd, diito]",
    "seeds=[1]",
    "students={1x32: {layers: 1, init: random}}",
    "teachers.base.architecture.dropout=0.1",
)


@pytest.fixture
def trained(small):
    outcome = small.run(*SETTINGS)
    assert not outcome.failed
    return small


def weights(suite):
    """The weights of each label's student."""
    folders = {record.label: suite.store().run_folder(record.key) / "student" for record in suite.store().records()}
    models = {label: AutoModelForSequenceClassification.from_pretrained(path) for label, path in folders.items()}
    return {label: model.state_dict() for label, model in models.items()}


def test_live_methods_train_beside_one_that_reads_the_cache(trained):
    records = {record.label: record for record in trained.store().records()}
    assert {label: record.status for label, record in records.items()} == dict.fromkeys(
        ("logit_kd", "theseus", "ad_kd", "diito"), "completed"
    )
    assert records["theseus"].losses[-1].terms["replacing_rate"] > 0.9
    assert records["logit_kd"].parts["numeric"]["teacher_tensors"] == "kept"
    assert records["ad_kd"].parts["numeric"]["teacher_tensors"] == "fresh"
    (job,) = trained.plan(*SETTINGS).teachers
    teacher, student = teacher_runs.load(job).state_dict(), weights(trained)["theseus"]
    outside = [name for name in student if "encoder.layer" not in name]
    assert all(torch.equal(student[name], teacher[name]) for name in outside), "embeddings and head are the teacher's"
    assert any(not torch.equal(student[name], teacher[name]) for name in student)


def test_a_live_run_alone_has_the_same_weights(trained):
    expected = weights(trained)
    for label in ("theseus", "diito"):
        (record,) = [record for record in trained.store().records() if record.label == label]
        (trained.store().run_folder(record.key) / "record.json").unlink()
        assert not trained.run(f"methods=[{label}]", *SETTINGS[1:]).failed
        again = weights(trained)[label]
        assert all(torch.equal(again[name], tensor) for name, tensor in expected[label].items())
