"""What `harness doctor` tells about GPUs: cards, driver, the build of torch, and what to install if it does not fit."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata

from harness.api.errors import first_line
from harness.latency import nvidia

TENSOR_CORES_FOR = (8, 0)
"""Least compute capability with products in bfloat16 and TF32: Ampere."""

GPU_RUNTIME = "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"


@dataclass(frozen=True)
class TorchBuild:
    """The installed torch.

    Attributes:
        version: of torch.
        cuda: version of CUDA that it was built for; None: a build without CUDA.
        architectures: that it has kernels for, such as ``sm_90`` and ``compute_120`` (compiled when needed).
        available: whether it can use a card.
    """

    version: str
    cuda: str | None
    architectures: tuple[str, ...]
    available: bool


@dataclass(frozen=True)
class TorchCard:
    """A card that torch sees.

    Attributes:
        device: its name in suites: ``cuda:0``.
        capability: compute capability, major and minor.
        total: bytes of memory.
        free: free bytes of memory; None: the card cannot be used, for the reason `error`.
        others: processes of others on the card; None: unknown.
    """

    device: str
    name: str
    capability: tuple[int, int]
    total: int
    free: int | None = None
    error: str | None = None
    others: tuple[str, ...] | None = ()


@dataclass(frozen=True)
class OnnxRuntime:
    """The installed ONNX Runtime: its package and version, and its execution providers."""

    package: str
    providers: tuple[str, ...]


@dataclass(frozen=True)
class GpuFacts:
    """Everything that `rows` needs. `listed`: the cards of nvidia-smi; None: there is no nvidia-smi, or it fails."""

    build: TorchBuild
    cards: Sequence[TorchCard]
    listed: Sequence[nvidia.Card] | None
    runtime: OnnxRuntime | None


def collect() -> GpuFacts:
    """The facts about this machine."""
    build = torch_build()
    return GpuFacts(build, torch_cards() if build.available else [], nvidia.cards(), onnx_runtime())


def torch_build() -> TorchBuild:
    """The installed torch."""
    import torch

    available = torch.cuda.is_available()
    return TorchBuild(
        torch.__version__, torch.version.cuda, tuple(torch.cuda.get_arch_list()) if available else (), available
    )


def torch_cards() -> list[TorchCard]:
    """The cards that torch sees."""
    import torch

    return [_torch_card(index) for index in range(torch.cuda.device_count())]


def _torch_card(index: int) -> TorchCard:
    import torch

    from harness.latency import machine

    device = torch.device("cuda", index)
    properties = torch.cuda.get_device_properties(device)
    capability, total = (properties.major, properties.minor), properties.total_memory
    try:
        free = torch.cuda.mem_get_info(device)[0]
    except RuntimeError as error:  # the card is full, in exclusive use, or broken
        message = first_line(error)
        return TorchCard(str(device), properties.name, capability, total, error=message)
    return TorchCard(str(device), properties.name, capability, total, free, others=machine.state(device).foreign)


def onnx_runtime() -> OnnxRuntime | None:
    """The installed ONNX Runtime; None if there is none."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    return OnnxRuntime(_runtime_package(), tuple(onnxruntime.get_available_providers()))


def _runtime_package() -> str:
    """Name and version of the package that onnxruntime is from."""
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "onnxruntime"


def rows(facts: GpuFacts) -> Iterator[tuple[str, str]]:
    """The rows of the table, as item and value. On a machine without a card there are none."""
    if not facts.cards and not facts.listed:
        return
    yield "driver", _driver(facts)
    yield "CUDA", _cuda(facts)
    for card in facts.cards:
        yield card.device, _card(card)
        if not has_kernels(facts.build.architectures, card.capability):
            yield card.device, _without_kernels(facts.build, card)
        if card.free is not None:
            yield f"processes on {card.device}", _others(card)
    yield "onnxruntime", _runtime(facts.runtime)


def has_kernels(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Whether kernels for `architectures` run on a card of this compute capability.

    Compiled kernels (``sm_86``) run on cards of the same major version and at least the same minor one, code that the
    driver compiles (``compute_90``) on all later cards. Kernels for one card only (``sm_90a``) are not counted.
    """
    for architecture in architectures:
        kind, _, number = architecture.partition("_")
        if not number.isdigit():
            continue
        version = int(number[:-1]), int(number[-1])
        same_major = version[0] == capability[0]
        if version <= capability and (kind == "compute" or same_major):
            return True
    return False


def _driver(facts: GpuFacts) -> str:
    if facts.listed is None:
        return "unknown: nvidia-smi is missing or fails, so clocks and other processes are not seen"
    if not facts.listed:
        return "nvidia-smi lists no card"
    versions = dict.fromkeys(card.driver for card in facts.listed)
    names = ", ".join(card.name for card in facts.listed)
    return f"{', '.join(versions)} (nvidia-smi lists {names})"


def _cuda(facts: GpuFacts) -> str:
    build = facts.build
    if build.cuda is None:
        plain = build.version.partition("+")[0]
        return (
            f"NOT USED: torch {build.version} is a build without CUDA; install one with CUDA:"
            f" pip install --force-reinstall torch=={plain}"
        )
    if not build.available:
        return (
            f"NOT USED: torch {build.version} is built for CUDA {build.cuda}, but cannot use a card; update the driver,"
            " or check CUDA_VISIBLE_DEVICES and, in a container, its access to the card"
        )
    return f"torch {build.version} is built for CUDA {build.cuda}, with kernels for {', '.join(build.architectures)}"


def _card(card: TorchCard) -> str:
    if card.free is None:
        memory = f"{_gib(card.total)} GiB; NOT USABLE: {card.error}"
    else:
        memory = f"{_gib(card.free)} of {_gib(card.total)} GiB free"
    fast = card.capability >= TENSOR_CORES_FOR
    half = "bf16 and TF32" if fast else "no bf16 and no TF32: set training.precision to fp16 or fp32"
    return f"{card.name}, {memory}, compute capability {_version(card.capability)}, {half}"


def _others(card: TorchCard) -> str:
    if card.others is None:
        return "unknown: nvidia-smi does not show this card, such as a part of one (MIG)"
    return ", ".join(card.others) or "none of others"


def _without_kernels(build: TorchBuild, card: TorchCard) -> str:
    return (
        f"NOT SUPPORTED: torch {build.version} has no kernels for compute capability {_version(card.capability)};"
        " install a build of torch for another version of CUDA"
    )


def _runtime(runtime: OnnxRuntime | None) -> str:
    if runtime is None:
        return "missing; latency.backends: [onnx] needs it: pip install onnx onnxscript onnxruntime-gpu"
    if "CUDAExecutionProvider" in runtime.providers:
        return f"{runtime.package}, with CUDAExecutionProvider"
    return f"{runtime.package}, without CUDAExecutionProvider: latency.backends: [onnx] needs {GPU_RUNTIME}"


def _version(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def _gib(size: int) -> str:
    return f"{size / 2**30:.0f}"
