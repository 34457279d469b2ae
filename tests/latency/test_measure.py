"""A whole measurement of models too small to take time, one of which is made to."""

import time

import pytest
import torch

from harness.errors import UserError
from harness.latency import measure as module
from harness.latency.candidates import Candidate, Candidates
from harness.latency.measure import measure, parts
from harness.suite.schema import LatencySpec

CPU = torch.device("cpu")
QUICK = LatencySpec(batch_sizes=[1, 3], lengths=[4, 8], backends=["eager"], rounds=25, warmup=12, max_seconds=60)


def candidate(name, load, role="model"):
    return Candidate(name, role, f"made for the test: {name}", {"name": name}, load)


def slow(model, seconds=0.02):
    """The model, with a pause before each call."""
    model.register_forward_pre_hook(lambda *_: time.sleep(seconds))
    return model


def measured(settings, *models, said=None):
    return measure(Candidates(models), settings, CPU, say=(said if said is not None else []).append)


@pytest.fixture(scope="module")
def record(make):
    return measured(QUICK, candidate("fast", make), candidate("slowed", lambda: slow(make())))


def test_a_slowed_model_comes_out_slower(record):
    for timing in record.timings:
        if timing.model == "slowed":
            ratio = record.ratio(timing)
            assert ratio.low > 1
            assert ratio.inverse.high < 1
            assert timing.percentile(0.5) >= 0.02


def test_the_control_is_another_copy_of_the_slowed_model(record):
    control = record.models[-1]
    assert (control.name, control.role, control.of) == ("slowed (second copy)", "control", "slowed")
    for timing in record.timings:
        if timing.model == control.name:
            assert timing.percentile(0.5) >= 0.02, "it is as slow as the first"
            assert 0.2 < record.ratio(timing).median < 5, "and not as slow as both"


def test_every_model_is_timed_at_every_shape_in_every_round(record):
    assert record.shapes == [(1, 4), (1, 8), (3, 4), (3, 8)]
    assert len(record.timings) == 3 * 4
    assert {len(timing.nanoseconds) for timing in record.timings} == {25}
    assert all(10 <= timing.warmup <= 12 for timing in record.timings)
    assert record.reference == "fast"


def test_the_record_says_what_ran(record):
    assert [model.kind for model in record.models] == ["BertForSequenceClassification"] * 3
    assert {model.dtype for model in record.models} == {"float32"}
    assert record.provenance.hardware.threads == torch.get_num_threads()
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_time_is_bounded_and_one_round_is_always_timed(make):
    settings = QUICK.model_copy(update={"rounds": 10_000, "max_seconds": 0.3})
    began = time.monotonic()
    cut = measured(settings, candidate("a", lambda: slow(make())))
    assert time.monotonic() - began < 20  # 160 000 calls would take an hour
    assert {1 <= len(timing.nanoseconds) < 100 for timing in cut.timings} == {True}


def test_one_model_alone_is_its_own_control(make):
    settings = QUICK.model_copy(update={"rounds": 2})
    assert [model.of for model in measured(settings, candidate("a", make)).models] == [None, "a"]


def test_threads_are_those_asked_for(make):
    before = torch.get_num_threads()
    seen = []

    def watched():
        model = make()
        model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
        return model

    settings = QUICK.model_copy(update={"rounds": 1, "threads": before + 1})
    record = measured(settings, candidate("a", watched))
    assert set(seen) == {before + 1}
    assert record.provenance.hardware.threads == before + 1
    assert torch.get_num_threads() == before


def test_onnx_beside_eager(make):
    settings = QUICK.model_copy(update={"backends": ["eager", "onnx"], "rounds": 2, "batch_sizes": [1]})
    said: list[str] = []
    record = measured(settings, candidate("a", lambda: make("distilbert")), said=said)
    assert record.backends == ["eager", "onnx"]
    assert len(record.timings) == 2 * 2 * 2
    assert "onnxruntime" in record.parts["packages"]
    assert [line for line in said if "for onnx" in line] == ["latency: preparing 2 models for onnx"]


def test_nothing_is_timed_in_a_backend_that_computes_something_else(make, monkeypatch):
    class Broken(type(module.BACKENDS["eager"])):
        def program(self, model, device, example):
            other = make("bert")
            torch.nn.init.normal_(other.classifier.weight)
            return super().program(other, device, example)

    timed = []
    monkeypatch.setattr(module, "BACKENDS", {**module.BACKENDS, "onnx": Broken()})
    monkeypatch.setattr(module, "_time", lambda backend, *a, **k: timed.append(backend) or [])
    with pytest.raises(UserError, match="onnx does not compute what eager does for a"):
        measured(QUICK.model_copy(update={"backends": ["eager", "onnx"]}), candidate("a", make))
    assert timed == ["eager"]


def test_the_key_is_of_models_settings_and_machine(make):
    found = Candidates([candidate("a", make)])
    one = parts(found, QUICK, CPU)
    assert one == parts(found, QUICK, CPU)
    changed = [
        parts(Candidates([candidate("b", make)]), QUICK, CPU),
        parts(found, QUICK.model_copy(update={"rounds": 24}), CPU),
        parts(found, QUICK.model_copy(update={"threads": 7}), CPU),
    ]
    assert all(other != one for other in changed)
    assert changed[2]["hardware"]["threads"] == 7
