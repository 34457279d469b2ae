"""Latency on the GPU: every backend runs there, and its outputs equal those of the CPU."""

import numpy as np
import pytest
import torch

from harness.config.latency_schema import LatencySpec
from harness.latency import model_inputs
from harness.latency.builtin_backends import builtin
from harness.latency.candidates import Candidate, Candidates
from harness.latency.measurement import measure
from harness.testing import tiny_model

BACKENDS = builtin()
SHAPES = [(2, 7), (5, 30), (1, 1)]


def model():
    return tiny_model("bert", layers=2, hidden=32, heads=4, ffn=64, vocab=64)


def usable(backend, device):
    if reason := BACKENDS[backend].obstacle(device):
        pytest.skip(reason)
    return BACKENDS[backend]


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["eager", "compile", "onnx"])
def test_outputs_equal_those_of_the_cpu(device, backend):
    device = torch.device(device)
    here = usable(backend, device)
    examples = [model_inputs.batch([model()], *shape, padded=True) for shape in SHAPES]
    program = here.program(model().to(device), device, examples[0])
    for example in examples:
        with torch.no_grad():
            (expected,) = model()(**example).to_tuple()
        (outputs,) = program.bind(example)()
        np.testing.assert_allclose(outputs, expected.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["eager", "compile", "onnx"])
def test_a_measurement_has_times_memory_and_the_card(device, backend):
    device = torch.device(device)
    usable(backend, device)
    settings = LatencySpec(batch_sizes=[1, 4], lengths=[8], backends=[backend], rounds=5, warmup=3, max_seconds=20)
    candidates = [Candidate(name, "model", "made for the test", {"name": name}, model) for name in ("one", "two")]
    record = measure(Candidates(candidates), settings, device, backends=BACKENDS, say=lambda line: None)
    assert record.provenance.hardware.name == torch.cuda.get_device_name(device)
    assert record.shapes == [(1, 8), (4, 8)]
    assert all(nanoseconds > 0 for timing in record.timings for nanoseconds in timing.nanoseconds)
    weights = 4 * sum(parameter.numel() for parameter in model().parameters())
    assert all(model.peak_memory_bytes >= weights for model in record.models if model.role != "control")
