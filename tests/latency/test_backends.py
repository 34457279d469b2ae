"""Backends against eager PyTorch on padded batches: equal outputs, refused differences, obstacles."""

import importlib.util
import logging
from functools import cache

import numpy as np
import pytest
import torch

from harness.api.errors import UserError
from harness.latency import model_inputs
from harness.latency.agreement import deviation
from harness.latency.builtin_backends import builtin
from harness.latency.onnx import PACKAGES, PROVIDERS, OnnxProgram
from tests.support.encoder_families import tiny_encoder

CPU = torch.device("cpu")
BACKENDS = builtin()


def batches(model):
    return [model_inputs.batch([model], *shape, padded=True) for shape in ((2, 7), (5, 30), (1, 1))]


@pytest.fixture(scope="module")
def exported(make):
    """``exported("bert", "qa")``: the ONNX program of a model. It is exported once."""
    return cache(lambda family, head: BACKENDS["onnx"].program(model := make(family, head), CPU, batches(model)[0]))


@pytest.mark.parametrize(("family", "head"), [("bert", "qa"), ("roberta", "classification"), ("distilbert", "bare")])
def test_onnx_outputs_equal_eager(make, exported, capfd, family, head):
    """And the export prints nothing, and restores log levels."""
    model, level = make(family, head), logging.getLogger("torch.onnx").level
    examples = batches(model)
    program = exported(family, head)
    assert logging.getLogger("torch.onnx").level == level
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    for example in examples:
        outputs = program.bind(example)()
        with torch.no_grad():
            expected = model(**example).to_tuple()
        assert len(outputs) == len(expected) == (2 if head == "qa" else 1)
        for ours, theirs in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)
    eager = BACKENDS["eager"].program(model, CPU, examples[0])
    assert 0 < deviation("model", "onnx", program, eager, examples) < 1e-4


def test_bound_calls_are_independent(make):
    """Each of two bound calls of one program uses its own inputs and keeps them alive."""
    model = make()
    program = BACKENDS["eager"].program(model, CPU, {})
    first, second = (program.bind(model_inputs.batch([model], 3, length)) for length in (5, 9))
    before = first()[0].copy()
    assert second()[0].shape == before.shape
    assert np.array_equal(first()[0], before)
    assert not np.array_equal(second()[0], before)


class WithoutMask:
    """A program that ignores the attention mask, like an export that lost it."""

    def __init__(self, model):
        self.program = BACKENDS["eager"].program(model, CPU, {})

    def bind(self, inputs):
        return self.program.bind({"input_ids": inputs["input_ids"]})


class WithoutLastOutput:
    """A program that drops its last output."""

    def __init__(self, model):
        self.program = BACKENDS["eager"].program(model, CPU, {})

    def bind(self, inputs):
        call = self.program.bind(inputs)
        return lambda: call()[:-1]


class Shifted:
    """A program whose outputs are 1 higher where the attention mask is `at`."""

    def __init__(self, model, at):
        self.program, self.at = BACKENDS["eager"].program(model, CPU, {}), at

    def bind(self, inputs):
        call = self.program.bind(inputs)
        return lambda: [output + (inputs["attention_mask"].numpy() == self.at) for output in call()]


def test_outputs_of_padding_are_not_compared(make):
    model = make(head="qa")
    eager = BACKENDS["eager"].program(model, CPU, {})
    assert deviation("tiny", "onnx", Shifted(model, at=0), eager, batches(model)) == 0
    with pytest.raises(UserError, match="differ for tiny"):
        deviation("tiny", "onnx", Shifted(model, at=1), eager, batches(model))


def test_a_backend_that_ignores_the_mask_is_refused(make):
    model = make(head="qa")
    torch.nn.init.normal_(model.qa_outputs.weight)  # the outputs of a fresh head hardly depend on the inputs
    eager = BACKENDS["eager"].program(model, CPU, {})
    with pytest.raises(UserError, match=r"outputs of onnx and eager differ for tiny.*batch 2, length 7.*allowed"):
        deviation("tiny", "onnx", WithoutMask(model), eager, batches(model))
    with pytest.raises(UserError, match="shapes of the outputs of tiny differ"):
        deviation("tiny", "onnx", WithoutLastOutput(model), eager, batches(model))
    assert deviation("tiny", "eager", eager, eager, batches(model)) == 0


def test_missing_packages_are_named_with_their_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in PACKAGES else object())
    reason = BACKENDS["onnx"].obstacle(CPU)
    assert reason is not None
    assert "onnx, onnxscript, onnxruntime" in reason
    assert "pip install 'kd-harness[onnx]'" in reason


def test_unsupported_devices_of_onnx_runtime(monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert BACKENDS["onnx"].obstacle(CPU) is None
    assert "onnxruntime-gpu" in (BACKENDS["onnx"].obstacle(torch.device("cuda")) or "")
    assert "does not support mps" in (BACKENDS["onnx"].obstacle(torch.device("mps")) or "")


def test_the_deviation_of_int8_is_reported(make):
    model = make("bert")
    torch.nn.init.normal_(model.classifier.weight)
    examples = batches(model)
    backend = BACKENDS["onnx-int8"]
    program, eager = (b.program(model, CPU, examples[0]) for b in (backend, BACKENDS["eager"]))
    worst = max(np.abs(program.bind(batch)()[0] - eager.bind(batch)()[0]).max() for batch in examples)
    assert not backend.exact
    assert 1e-4 < worst < 0.5
    assert deviation("tiny", "onnx-int8", program, eager, examples, exact=False) == pytest.approx(worst)
    assert "supports only cpu" in (backend.obstacle(torch.device("cuda")) or "")


class NotFinite(WithoutMask):
    """A program whose outputs are NaN."""

    def bind(self, inputs):
        call = self.program.bind(inputs)
        return lambda: [output * np.nan for output in call()]


def test_outputs_of_inexact_backends_must_be_finite(make):
    model = make()
    eager = BACKENDS["eager"].program(model, CPU, {})
    with pytest.raises(UserError, match="by up to nan"):
        deviation("tiny", "onnx-int8", NotFinite(model), eager, batches(model), exact=False)


@pytest.mark.parametrize("name", ["eager", "onnx"])
def test_token_type_ids_are_used_by_models_with_segment_embeddings(make, exported, name):
    model = make("bert", "qa")
    batch = model_inputs.batch([model], 2, 7)
    program = exported("bert", "qa") if name == "onnx" else BACKENDS[name].program(model, CPU, batch)
    second = {**batch, "token_type_ids": torch.ones_like(batch["input_ids"])}
    with torch.no_grad():
        expected = model(**second).start_logits.numpy()
    np.testing.assert_allclose(program.bind(second)()[0], expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(program.bind(batch)()[0], expected, atol=1e-5), "they default to zeros"
    assert [model_inputs.accepted_inputs(make(family))[2:] for family in ("bert", "roberta", "distilbert")] == [
        ("token_type_ids",),
        (),
        (),
    ]
    assert model_inputs.accepted_inputs(tiny_encoder("Funnel", layers=2))[2:] == ("token_type_ids",), "as it is trained"


def test_obstacles_of_compile_name_a_remedy(monkeypatch, tmp_path):
    compile = BACKENDS["compile"]
    tool = tmp_path / "fake-g++"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("CXX", str(tool))
    assert compile.obstacle(CPU) is None
    assert "does not support mps" in (compile.obstacle(torch.device("mps")) or "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "needs triton" in (compile.obstacle(torch.device("cuda")) or "")
    monkeypatch.setenv("CXX", str(tmp_path / "nothing"))
    reason = compile.obstacle(CPU) or ""
    assert "needs a C++ compiler" in reason
    assert "leave 'compile' out of latency.backends" in reason


@pytest.mark.slow
def test_compiled_outputs_equal_eager_beyond_the_default_recompile_limit(make):
    """Three models of one class exceed torch's default limit of eight versions of a function."""
    deviations = []
    for _ in range(3):
        model = make("distilbert")
        examples = batches(model)
        program = BACKENDS["compile"].program(model, CPU, examples[0])
        eager = BACKENDS["eager"].program(model, CPU, examples[0])
        deviations.append(deviation("tiny", "compile", program, eager, examples))
    assert max(deviations) < 1e-5
    assert torch._dynamo.config.recompile_limit > 100


def test_onnx_that_falls_back_to_the_cpu_is_an_error(monkeypatch, tmp_path):
    """ONNX Runtime only warns if it cannot load its CUDA provider."""
    import onnxruntime

    class OnTheCpu:
        def __init__(self, path, options, providers):
            assert providers[0][0] == "CUDAExecutionProvider"

        def get_providers(self):
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", OnTheCpu)
    message = "cannot load CUDAExecutionProvider; install the version of onnxruntime-gpu"
    with pytest.raises(RuntimeError, match=message):
        OnnxProgram(tmp_path / "model.onnx", torch.device("cuda"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert message in (BACKENDS["onnx"].obstacle(torch.device("cuda")) or ""), "before anything is trained"


def test_a_device_that_onnx_runtime_can_use_is_no_obstacle(monkeypatch):
    """With the provider of the CPU in the place of CUDA's."""
    monkeypatch.setitem(PROVIDERS, "mps", "CPUExecutionProvider")
    assert BACKENDS["onnx"].obstacle(torch.device("mps")) is None
