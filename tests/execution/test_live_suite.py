"""A suite with methods that run their teachers themselves, and give the student its initial weights."""

import pytest
import torch

from harness.execution import teacher_runs
from tests.support.student_weights import student_weights

SETTINGS = (
    "methods=[logit_kd, theseus, ad_kd, diito]",
    "seeds=[1]",
    "students={1x32: {layers: 1, init: random}}",
    "teachers.base.architecture.dropout=0.1",
)


@pytest.fixture
def trained(small):
    small.finished(*SETTINGS)
    return small


def weights(suite):
    """The weights of each label's student."""
    store = suite.store()
    return {record.label: student_weights(store, record.key) for record in store.records()}


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
