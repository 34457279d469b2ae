"""The memory estimate, compared to manual formulas, real models, and the measured peak of a process."""

import json
import sys

import pytest
import torch

from harness.api.model_outputs import ModelShape
from harness.config.training_schema import TrainingSpec
from harness.planning import free_memory, memory_estimate
from harness.testing import tiny_model
from tests.planning import peak_of_a_cohort
from tests.support.forked_commands import ForkedCommand

SMALL = ModelShape("small", layers=2, hidden=8, heads=2, ffn=16)
BATCH_SHAPE = memory_estimate.BatchShape(examples=4, tokens=16, vocabulary=100, outputs=3)

ONE_STAGE = (memory_estimate.StageLoad(frozenset({"logits"}), splits=True),)


def load(*, training=None, student=SMALL, stages=ONE_STAGE, teachers=None, fused=True):
    return memory_estimate.load(student, stages, teachers or {}, BATCH_SHAPE, training or TrainingSpec(), fused=fused)


def test_parameter_count_of_bert():
    model = tiny_model("bert", layers=3, hidden=32, heads=4, ffn=48, vocab=90, num_labels=2)
    shape = ModelShape("tiny", 3, 32, 4, 48)
    positions = (memory_estimate.POSITIONS - model.config.max_position_embeddings) * 32
    head = sum(p.numel() for p in model.classifier.parameters())
    assert memory_estimate.parameters(shape, 90) == sum(p.numel() for p in model.parameters()) + positions - head


def test_bytes_of_outputs_follow_from_their_shapes():
    def numbers(*needs, half=False):
        return memory_estimate.captured(frozenset(needs), SMALL, BATCH_SHAPE, half)

    assert numbers("hidden[1]", "embeddings") == 2 * 4 * 16 * 8 * 4
    assert numbers("scores[2]") == 4 * 2 * 16 * 16 * 4
    assert numbers("logits", "pooled") == (4 * 3 + 4 * 8) * 4
    assert numbers("queries[1]", half=True) == 4 * 16 * 8 * 2


def test_settings_that_change_the_memory_of_a_step():
    plain = load().step
    assert load(fused=False).step > plain
    assert load(training=TrainingSpec(micro_batch_size=1)).step < plain
    batch_dependent = [memory_estimate.StageLoad(frozenset({"logits"}), splits=False)]
    assert load(training=TrainingSpec(micro_batch_size=1), stages=batch_dependent).step == plain
    big = memory_estimate.BatchShape(32, 128, 100, 3)
    full, half = (
        memory_estimate.activations(SMALL, big, half=precise == "bf16", fused=True) for precise in ("fp32", "bf16")
    )
    assert half < full
    teacher = {"t": (SMALL, frozenset({"scores[1]"}))}
    assert load(teachers=teacher).step == plain + 2 * 4 * 2 * 16 * 16 * 4


def test_a_cohort_shares_teachers_and_the_memory_of_steps():
    first = load(teachers={"t": (SMALL, frozenset({"hidden[1]"}))})
    second = load(teachers={"t": (SMALL, frozenset({"hidden[1]", "hidden[2]"}))})
    both = memory_estimate.peak([first, second])
    assert both - memory_estimate.peak([second]) == first.resident == 12 * memory_estimate.parameters(SMALL, 100)
    assert both < memory_estimate.peak([first]) + memory_estimate.peak([second])


def test_available_memory_is_the_suites_limit_or_the_free_memory(monkeypatch):
    assert memory_estimate.room("cpu", 1.5) == 1_500_000_000
    assert memory_estimate.room("cpu", None) == pytest.approx(0.9 * free_memory.available(), rel=0.1)
    assert 0 < free_memory.available() <= 2**50
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7_000, 20_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 4_000)  # memory that this process holds already
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1_000)  # and that its tensors take
    assert memory_estimate.room("cuda:1", None) == 9_000


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/", {"memory.max": "5000"}, [5000]),  # a container
        ("0::/slurm/job_1/step_0", {"slurm/job_1/memory.max": "4000", "slurm/memory.max": "max"}, [4000]),
        (
            "3:cpu,cpuacct:/slurm\n2:memory:/slurm/job_1\n0::/",  # version 1
            {"memory/slurm/job_1/memory.limit_in_bytes": "3000", "memory/memory.limit_in_bytes": "9000"},
            [3000, 9000],
        ),
        ("0::/other", {"slurm/memory.max": "1"}, []),
    ],
)
def test_memory_is_limited_by_the_control_groups_of_the_process(tmp_path, own, limits, expected):
    (names := tmp_path / "cgroup").write_text(f"{own}\n")
    for name, text in limits.items():
        (path := tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    assert list(free_memory.cgroup_limits(names, tmp_path / "fs")) == expected
    assert list(free_memory.cgroup_limits(tmp_path / "missing", tmp_path / "fs")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads resident memory from /proc")
@pytest.mark.parametrize(
    ("methods", "teacher", "student", "precision", "batch"),
    [
        (["tinybert"], [4, 256, 8, 1024], [4, 128, 8, 512], "fp32", 8),
        (["finetune", "logit_kd"], [2, 128, 8, 512], [2, 128, 8, 512], "bf16", 8),
    ],
)
def test_the_estimate_is_near_the_real_peak(tmp_path, methods, teacher, student, precision, batch):
    arguments = {"methods": methods, "teacher": teacher, "student": student, "precision": precision, "batch": batch}
    printed = tmp_path / "peaks.json"
    process = ForkedCommand([json.dumps(arguments)], tmp_path, stdout=printed, main=peak_of_a_cohort.main)
    assert process.wait() == 0, process.errors
    peaks = json.loads(printed.read_text())
    assert 0.7 < peaks["estimated"] / peaks["measured"] < 1.5, peaks


def test_a_stack_holds_the_activations_of_all_its_runs():
    fused, other = TrainingSpec(execution="fused"), ModelShape("other", 2, 16, 2, 16)
    one = load(training=fused, fused=False)
    assert 0 < one.stacked <= one.step
    assert memory_estimate.peak([one]) == one.resident + one.step
    assert memory_estimate.peak([one] * 3) == 3 * one.resident + one.step + 2 * one.stacked
    apart = load(training=fused, student=other, fused=False)  # another shape: a stack of its own
    assert memory_estimate.peak([one, one, apart]) - apart.resident == pytest.approx(
        2 * one.resident + max(one.step + one.stacked, apart.step)
    )
    teacher = {"t": (SMALL, frozenset({"scores[1]"}))}
    large = load(training=fused, teachers=teacher, fused=False)
    assert large.stacked == one.stacked  # losses of one run at a time read the teacher's outputs
    live = load(training=fused, stages=[memory_estimate.StageLoad(frozenset({"logits"}), True, live=True)])
    assert live.stacked == 0
    assert load().stacked == 0
