"""Backends compute the same, on padded batches of any shape; one that does not is never timed."""

import importlib.util
import logging

import numpy as np
import pytest
import torch

from harness.errors import UserError
from harness.latency import inputs
from harness.latency.backends import BACKENDS, check_equal
from harness.latency.onnx import PACKAGES

CPU = torch.device("cpu")


def batches(model):
    return [inputs.batch([model], *shape, padded=True) for shape in ((2, 7), (5, 30), (1, 1))]


@pytest.mark.parametrize(("family", "head"), [("bert", "qa"), ("roberta", "classification"), ("distilbert", "bare")])
def test_onnx_computes_what_eager_does(make, family, head):
    model = make(family, head)
    examples = batches(model)
    program = BACKENDS["onnx"].program(model, CPU, examples[0])
    for example in examples:
        found = program.bind(example)()
        with torch.no_grad():
            right = model(**example).to_tuple()
        assert len(found) == len(right) == (2 if head == "qa" else 1)
        for ours, theirs in zip(found, right, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)
    check_equal("model", "onnx", program, BACKENDS["eager"].program(model, CPU, examples[0]), examples)


def test_a_call_reads_its_own_inputs_each_time(make):
    """Two bound calls of one program do not disturb each other, and nothing else keeps their inputs alive."""
    model = make()
    program = BACKENDS["eager"].program(model, CPU, {})
    first, second = (program.bind(inputs.batch([model], 3, length)) for length in (5, 9))
    before = first()[0].copy()
    assert second()[0].shape == before.shape
    assert np.array_equal(first()[0], before)
    assert not np.array_equal(second()[0], before)


class Wrong:
    """A program that ignores the mask, as an export that lost it would."""

    def __init__(self, model):
        self.program = BACKENDS["eager"].program(model, CPU, {})

    def bind(self, given):
        return self.program.bind({"input_ids": given["input_ids"]})


class Short:
    """A program that loses an output."""

    def __init__(self, model):
        self.program = BACKENDS["eager"].program(model, CPU, {})

    def bind(self, given):
        call = self.program.bind(given)
        return lambda: call()[:-1]


def test_a_backend_that_loses_the_mask_is_refused(make):
    model = make(head="qa")
    torch.nn.init.normal_(model.qa_outputs.weight)  # the head of a fresh model hardly tells anything apart
    eager = BACKENDS["eager"].program(model, CPU, {})
    with pytest.raises(UserError, match=r"onnx does not compute what eager does for tiny.*batch 2, length 7.*allowed"):
        check_equal("tiny", "onnx", Wrong(model), eager, batches(model))
    with pytest.raises(UserError, match="gives tiny outputs of shapes"):
        check_equal("tiny", "onnx", Short(model), eager, batches(model))
    check_equal("tiny", "eager", eager, eager, batches(model))


def test_missing_packages_are_named_with_their_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in PACKAGES else object())
    reason = BACKENDS["onnx"].obstacle(CPU)
    assert reason is not None
    assert "onnx, onnxscript, onnxruntime" in reason
    assert "pip install 'kd-harness[onnx]'" in reason


def test_devices_that_onnx_runtime_cannot_use(monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert BACKENDS["onnx"].obstacle(CPU) is None
    assert "onnxruntime-gpu" in (BACKENDS["onnx"].obstacle(torch.device("cuda")) or "")
    assert "does not run on mps" in (BACKENDS["onnx"].obstacle(torch.device("mps")) or "")


def test_an_export_says_nothing_and_leaves_the_log_as_it_was(make, capfd, tmp_path):
    from harness.latency import onnx

    model = make("distilbert")
    level = logging.getLogger("torch.onnx").level
    onnx.export(model, inputs.batch([model], 2, 6), tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size > 0
    assert logging.getLogger("torch.onnx").level == level
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
