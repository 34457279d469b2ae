"""The benchmarks measure how they use the GPU."""

import pytest
import torch

from benchmarks import device_usage
from benchmarks.options import Options
from benchmarks.workload import Workload, entries, fixed_length_data


@pytest.mark.gpu
def test_the_use_of_the_gpu_is_measured(device):
    sizes = {"teacher": "4x24", "students": ["2x12"], "runs": 2, "batch": 3, "length": 12, "steps": 3}
    rest = {"repetitions": 1, "threads": None, "seed": 1, "precision": "bf16", "data": "", "tokenizer": None}
    options = Options.model_validate({**sizes, **rest, "device": device})
    workload, (entry, *_) = Workload(options, fixed_length_data(options)), entries()

    def prepared():
        runs = workload.runs([entry], "2x12")
        return lambda: workload.train(runs)

    used = device_usage.of({"a": prepared}, {"a": workload.tokens}, torch.device(device))["a"]
    assert used.tokens == workload.tokens
    assert used.flops > 0
    assert 0 < used.busy_seconds < 60
    assert used.peak_memory_bytes > 0
