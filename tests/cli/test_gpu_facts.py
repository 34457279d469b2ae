"""`harness doctor` on a machine with a GPU. The facts are given, or read from replaced torch and nvidia-smi."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from harness.cli import doctor_command, gpu_facts
from harness.cli.gpu_facts import GpuFacts, OnnxRuntime, TorchBuild, TorchCard
from harness.latency import machine, nvidia

H100 = TorchCard("cuda:0", "NVIDIA H100 80GB HBM3", (9, 0), 85 * 10**9, 84 * 10**9)
BUILD = TorchBuild("2.13.0+cu128", "12.8", ("sm_80", "sm_90", "sm_120", "compute_120"), True)
LISTED = [nvidia.Card("NVIDIA H100 80GB HBM3", "570.86.15")]
RUNTIME = OnnxRuntime("onnxruntime-gpu 1.23.0", ("CUDAExecutionProvider", "CPUExecutionProvider"))
FACTS = GpuFacts(BUILD, [H100], LISTED, RUNTIME)


def told(facts):
    return [f"{item}: {value}" for item, value in gpu_facts.rows(facts)]


def test_a_usable_card():
    assert told(FACTS) == [
        "driver: 570.86.15 (nvidia-smi lists NVIDIA H100 80GB HBM3)",
        "CUDA: torch 2.13.0+cu128 is built for CUDA 12.8, with kernels for sm_80, sm_90, sm_120, compute_120",
        "cuda:0: NVIDIA H100 80GB HBM3, 78 of 79 GiB free, compute capability 9.0, bf16 and TF32",
        "processes on cuda:0: none of others",
        "onnxruntime: onnxruntime-gpu 1.23.0, with CUDAExecutionProvider",
    ]


WITHOUT_CUDA = TorchBuild("2.13.0+cpu", None, (), False)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            replace(FACTS, build=WITHOUT_CUDA, cards=[]),
            "CUDA: NOT USED: torch 2.13.0+cpu is a build without CUDA; install one with CUDA: pip install"
            " --force-reinstall torch==2.13.0",
        ),
        (
            replace(FACTS, build=replace(BUILD, available=False), cards=[]),
            "NOT USED: torch 2.13.0+cu128 is built for CUDA 12.8, but cannot use a card; update the driver",
        ),
        (replace(FACTS, listed=None), "driver: unknown: nvidia-smi is missing or fails"),
        (replace(FACTS, runtime=None), "onnxruntime: missing; latency.backends: [onnx] needs it: pip install"),
        (
            replace(FACTS, runtime=OnnxRuntime("onnxruntime 1.23.0", ("CPUExecutionProvider",))),
            "without CUDAExecutionProvider: latency.backends: [onnx] needs pip uninstall -y onnxruntime && pip install"
            " onnxruntime-gpu",
        ),
        (
            replace(FACTS, cards=[replace(H100, capability=(7, 0))]),
            "compute capability 7.0, no bf16 and no TF32: set training.precision to fp16 or fp32",
        ),
        (
            replace(FACTS, cards=[replace(H100, capability=(7, 0))]),
            "cuda:0: NOT SUPPORTED: torch 2.13.0+cu128 has no kernels for compute capability 7.0",
        ),
        (
            replace(FACTS, cards=[replace(H100, free=None, error="CUDA error: out of memory")]),
            "79 GiB; NOT USABLE: CUDA error: out of memory",
        ),
        (replace(FACTS, cards=[replace(H100, others=("python (77)",))]), "processes on cuda:0: python (77)"),
        (replace(FACTS, cards=[replace(H100, others=None)]), "processes on cuda:0: unknown: nvidia-smi does not show"),
    ],
)
def test_what_does_not_fit_is_named_with_its_remedy(facts, message):
    assert [line for line in told(facts) if message in line], told(facts)


def test_a_machine_without_a_card_has_no_rows():
    assert told(GpuFacts(WITHOUT_CUDA, [], None, None)) == []
    assert told(GpuFacts(WITHOUT_CUDA, [], [], RUNTIME)) == []


@pytest.mark.parametrize(
    ("architectures", "capability", "expected"),
    [
        (["sm_80"], (8, 9), True),  # the same major version
        (["sm_86"], (8, 0), False),
        (["sm_80", "sm_86"], (9, 0), False),
        (["compute_80"], (12, 0), True),  # compiled by the driver
        (["sm_90a"], (9, 0), False),  # for one card only
        (["sm_100", "sm_120"], (10, 3), True),
        ([], (9, 0), False),
    ],
)
def test_which_kernels_run_on_a_card(architectures, capability, expected):
    assert gpu_facts.has_kernels(architectures, capability) is expected


def card_of_torch(monkeypatch, memory):
    properties = SimpleNamespace(name="A100", major=8, minor=0, total_memory=40 * 2**30, uuid="1")
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "get_arch_list": lambda: ["sm_80"],
        "get_device_properties": lambda device: properties,
        "mem_get_info": memory,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)


def test_facts_are_read_from_torch_and_nvidia_smi(monkeypatch):
    def memory(device):
        if device.index:
            raise RuntimeError("CUDA error: out of memory\nand advice")
        return 30 * 2**30, 40 * 2**30

    card_of_torch(monkeypatch, memory)
    monkeypatch.setattr(machine, "state", lambda device: machine.State({}, {}, ("other (9)",)))
    monkeypatch.setattr(nvidia, "cards", lambda: LISTED)
    runtime = SimpleNamespace(get_available_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    facts = gpu_facts.collect()
    assert facts.build.available
    assert facts.build.architectures == ("sm_80",)
    assert facts.cards == [
        TorchCard("cuda:0", "A100", (8, 0), 40 * 2**30, 30 * 2**30, others=("other (9)",)),
        TorchCard("cuda:1", "A100", (8, 0), 40 * 2**30, error="CUDA error: out of memory"),
    ]
    assert facts.listed == LISTED
    assert facts.runtime is not None
    assert facts.runtime.providers == ("CPUExecutionProvider",)


def test_doctor_shows_the_rows(monkeypatch, capsys):
    monkeypatch.setattr(gpu_facts, "collect", lambda: FACTS)
    monkeypatch.setattr(doctor_command, "_hub", lambda: "reachable")
    doctor_command.print_environment()
    assert "compute capability 9.0" in " ".join(capsys.readouterr().out.split())
