"""Complete measurements of tiny models, one of which is slowed down."""

import re
import time
from types import SimpleNamespace

import pytest
import torch

from harness.api.errors import UserError
from harness.config.latency_schema import LatencySpec
from harness.latency.builtin_backends import builtin
from harness.latency.candidates import Candidate, Candidates
from harness.latency.eager import Eager
from harness.latency.measurement import measure, parts
from harness.storage import provenance
from harness.storage.records import Hardware

CPU = torch.device("cpu")
QUICK = LatencySpec(
    batch_sizes=[1, 3],
    lengths=[4, 8],
    backends=["eager"],
    rounds=25,
    warmup=12,
    max_seconds=60,
    threads=1,
    memory=False,
)
BACKENDS = builtin()


def candidate(name, load, role="model"):
    return Candidate(name, role, f"made for the test: {name}", {"name": name}, load)


def slow(model, seconds=0.02):
    """The model, with a pause before each call."""
    model.register_forward_pre_hook(lambda *_: time.sleep(seconds))
    return model


def measured(settings, *models, said=None, **others):
    arguments = {"backends": BACKENDS, "say": (said if said is not None else []).append} | others
    return measure(Candidates(models), settings, CPU, **arguments)


@pytest.fixture(scope="module")
def record(make):
    return measured(QUICK, candidate("fast", make), candidate("slowed", lambda: slow(make())))


def test_a_slowed_model_is_slower(record):
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
    assert all(11 <= timing.warmup <= 13 for timing in record.timings), "the first call, and those until it settled"
    assert record.reference == "fast"


def test_the_record_describes_the_models(record):
    assert [model.kind for model in record.models] == ["BertForSequenceClassification"] * 3
    assert {model.dtype for model in record.models} == {"float32"}
    assert record.provenance.hardware.threads == torch.get_num_threads()
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_max_seconds_bounds_the_time_and_one_round_is_always_timed(make):
    settings = QUICK.model_copy(update={"rounds": 10_000, "max_seconds": 0.3})
    cut = measured(settings, candidate("a", lambda: slow(make())))
    assert {1 <= len(timing.nanoseconds) < 100 for timing in cut.timings} == {True}


def test_one_model_alone_is_its_own_control(make):
    settings = QUICK.model_copy(update={"rounds": 2})
    assert [model.of for model in measured(settings, candidate("a", make)).models] == [None, "a"]


def test_the_requested_number_of_threads_is_used(make):
    before = torch.get_num_threads()
    seen = []

    def watched():
        model = make()
        model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
        return model

    settings = QUICK.model_copy(update={"rounds": 1})
    record = measured(settings, candidate("a", watched), threads=before + 1)
    assert set(seen) == {before + 1}
    assert record.provenance.hardware.threads == before + 1
    assert torch.get_num_threads() == before


def test_onnx_and_eager_in_one_record(make):
    settings = QUICK.model_copy(update={"backends": ["eager", "onnx"], "rounds": 2, "batch_sizes": [1]})
    said: list[str] = []
    record = measured(settings, candidate("a", lambda: make("distilbert")), said=said)
    assert record.backends == ["eager", "onnx"]
    assert len(record.timings) == 2 * 2 * 2
    assert "onnxruntime" in record.parts["packages"]
    assert [line for line in said if "for onnx" in line] == ["latency: preparing 2 models for onnx, threads: 1"]
    assert [(prepared.model, prepared.backend) for prepared in record.preparations] == [
        (model, backend) for backend in ("eager", "onnx") for model in ("a", "a (second copy)")
    ]
    assert all((prepared.deviation is None) == (prepared.backend == "eager") for prepared in record.preparations)
    exported = [prepared.seconds for prepared in record.preparations if prepared.backend == "onnx"]
    assert min(exported) > max(timing.percentile(1.0) for timing in record.timings), "exporting is in no time"


class Other(Eager):
    """A backend that runs another model than the one passed to it, or fails if `other` is None."""

    packages = ("numpy",)

    def __init__(self, other, *, exact=True):
        self.other, self.exact = other, exact
        self.timed = 0

    def program(self, model, device, example):
        if self.other is None:
            raise ValueError("no such operator\nand more")
        return super().program(self.other(), device, example)


def with_random_head(make):
    """A model whose outputs depend on the inputs."""
    model = make("bert")
    torch.nn.init.normal_(model.classifier.weight)
    return model


def test_nothing_is_timed_if_outputs_differ_from_eager(make):
    settings = QUICK.model_copy(update={"backends": ["other"]})
    said: list[str] = []
    with pytest.raises(UserError, match="outputs of other and eager differ for a"):
        measured(settings, candidate("a", make), said=said, backends={"other": Other(lambda: with_random_head(make))})
    assert [line for line in said if "rounds" in line] == []


def test_the_deviation_of_an_inexact_backend_is_recorded(make):
    settings = QUICK.model_copy(update={"backends": ["other"], "rounds": 2})
    record = measured(
        settings, candidate("a", make), backends={"other": Other(lambda: with_random_head(make), exact=False)}
    )
    assert record.backends == ["other"]
    assert all(prepared.deviation > 0.01 and prepared.agreement is None for prepared in record.preparations)
    assert "numpy" in record.parts["packages"]


def test_an_exception_of_a_backend_is_a_one_line_error(make):
    settings = QUICK.model_copy(update={"backends": ["other"]})
    with pytest.raises(UserError, match="other cannot run a: ValueError: no such operator; leave 'other' out"):
        measured(settings, candidate("a", make), backends={"other": Other(None)})


class Wrong(Eager):
    """A backend whose methods return the given values."""

    def __init__(self, obstacle=None, **program):
        self.reason, self.made = obstacle, SimpleNamespace(**program) if program else None

    def obstacle(self, device):
        return self.reason() if callable(self.reason) else self.reason

    def program(self, model, device, example):
        return self.made


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        (
            Wrong(),
            "program() returned a NoneType; expected a harness.api.latency_backend.Program, which has bind(inputs)",
        ),
        (Wrong(bind=lambda inputs: [1]), "bind() returned a list; expected a function without arguments"),
        (Wrong(bind=lambda inputs: lambda: None), "the call returned a NoneType; expected a sequence of numpy arrays"),
        (Wrong(bind=lambda inputs: lambda: [CPU]), "the call returned a list of device; expected a sequence of numpy"),
        (Wrong(True), "obstacle() of the backend 'other' returned True; expected the reason as a text, or None"),
        (Wrong(lambda: 1 / 0), "obstacle() of the backend 'other' failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_backend_that_returns_a_wrong_type_is_an_error_with_its_name(make, backend, words):
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        measured(QUICK.model_copy(update={"backends": ["other"]}), candidate("a", make), backends={"other": backend})
    assert "other" in str(caught.value)


@pytest.mark.parametrize(("family", "segments"), [("bert", True), ("distilbert", False)])
def test_a_backend_receives_the_inputs_that_the_model_uses(make, family, segments):
    received = []

    class Recording(Eager):
        def program(self, model, device, example):
            program = super().program(model, device, example)
            received.append(set(example))
            return SimpleNamespace(bind=lambda inputs: received.append(set(inputs)) or program.bind(inputs))

    settings = QUICK.model_copy(update={"backends": ["other"], "rounds": 1})
    measured(settings, candidate("a", lambda: make(family)), backends={"other": Recording()})
    names = {"input_ids", "attention_mask"} | ({"token_type_ids"} if segments else set())
    assert len(received) > 2
    assert all(inputs == names for inputs in received)


def test_flops_are_counted_per_batch(make):
    """2 layers, H = 16, F = 32, two heads: 2 (4 H H + 2 H F) per token, 4 N H for attention, plus the head."""
    record = measured(QUICK.model_copy(update={"rounds": 1}), candidate("a", make))
    for timing in record.timings:
        n = timing.length
        layers = 2 * (2 * (4 * 16 * 16 + 2 * 16 * 32) * n + 4 * n * n * 16)
        head = 2 * 16 * 16 + 2 * 16 * 2
        assert timing.flops == timing.batch_size * (layers + head)


def test_the_length_task_needs_a_suite(make):
    with pytest.raises(UserError, match=r"latency.lengths: `task` needs a suite"):
        measured(QUICK.model_copy(update={"lengths": ["task"]}), candidate("a", make))


def test_the_key_depends_on_models_settings_and_machine(make):
    compared = Candidates([candidate("a", make)])

    def key_parts(compared=compared, settings=QUICK, threads=1, backends=BACKENDS):
        return parts(compared, settings, CPU, threads=threads, backends=backends)

    expected = key_parts()
    assert expected == key_parts()
    changed = [
        key_parts(Candidates([candidate("b", make)])),
        key_parts(settings=QUICK.model_copy(update={"rounds": 24})),
        key_parts(threads=7),
    ]
    assert all(other != expected for other in changed)
    assert changed[2]["hardware"]["threads"] == 7
    assert [model["name"] for model in expected["models"]] == ["a", "a (second copy)"]


def test_the_key_does_not_depend_on_memory(make, monkeypatch):
    compared = Candidates([candidate("a", make)])

    def key_parts(**changes):
        machine = Hardware(device="cpu", name="c", cores=2, threads=2, memory_bytes=8).model_copy(update=changes)
        monkeypatch.setattr(provenance, "hardware", lambda device: machine)
        return parts(compared, QUICK, CPU, threads=1, backends=BACKENDS)

    expected = key_parts()
    assert expected == key_parts(memory_bytes=9)
    assert expected != key_parts(cores=4)
    assert key_parts(device="cuda") == key_parts(device="cuda", cores=4)
