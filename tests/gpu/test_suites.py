"""A small suite on a GPU, from plan to records, also on the second GPU; and what `doctor` tells about the card."""

import pytest
import torch

from harness.cli import gpu_facts

SHORT = ("methods=[finetune, tinybert]", "seeds=[1]")


@pytest.mark.gpu
def test_a_suite_runs_and_another_seed_reads_cached_outputs(small, device):
    settings = [f"device={device}", "methods=[finetune, tinybert]", "training.precision=bf16"]
    first = small.run(*settings, "seeds=[1]")
    assert first.failed == []
    second = small.run(*settings, "seeds=[1, 2]", "teacher_cache.max_gb=1")
    assert second.failed == []
    records = small.store().records()
    assert len(records) == 4
    assert {record.provenance.hardware.name for record in records} == {torch.cuda.get_device_name(0)}
    assert all(0 <= record.score <= 1 for record in records)
    forwards = {record.seed: record.cost.teacher_forwards for record in records if record.method == "tinybert"}
    assert forwards[1] > 0
    assert forwards[2] == 0


@pytest.mark.gpu
def test_a_suite_runs_on_the_second_gpu(small):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    peaks = [torch.cuda.memory_allocated(index) for index in range(2)]
    for index in range(2):
        torch.cuda.reset_peak_memory_stats(index)
    try:
        assert small.run("device=cuda:1", *SHORT).failed == []
    finally:
        torch.cuda.set_device(0)
    assert torch.cuda.max_memory_allocated(0) == peaks[0]
    assert torch.cuda.max_memory_allocated(1) > peaks[1]


@pytest.mark.gpu
def test_doctor_finds_a_card_that_can_be_used():
    facts = gpu_facts.collect()
    assert [card.device for card in facts.cards] == [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    told = dict(gpu_facts.rows(facts))
    assert "NOT" not in told["CUDA"] + told["cuda:0"]
    assert torch.cuda.get_device_name(0) in told["cuda:0"]
