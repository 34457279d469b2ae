"""Peak memory of inference: each model in a process of its own, above what the process took with all libraries loaded.

Memory depends on a model's shape and not on its weights, so the process makes the model from its configuration. The
processes are forked from one that has imported torch and transformers, and nothing else.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from harness.latency import machine, model_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CALLS = 3
"""Of the model; the first may take more than those after it."""

INTERVAL = 0.001
"""Seconds between two looks at the memory."""

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class MemoryRequest:
    """A model, by its class and configuration, and where and how it is to run."""

    kind: type[PreTrainedModel]
    config: object
    shape: tuple[int, int]
    device: str
    threads: int


def peaks(
    models: Sequence[PreTrainedModel], shape: tuple[int, int], device: torch.device, threads: int
) -> list[int | None]:
    """Bytes for each model: its weights and what calls of `shape` (batch, tokens) take at most.

    On CUDA what torch allocates; else the memory that is the process's own. None for a model that cannot be made from
    its class and configuration elsewhere, and where processes cannot be forked.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return [None] * len(models)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers", "harness.latency.peak_memory"])
    asked = [MemoryRequest(type(model), model.config, shape, str(device), threads) for model in models]
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        return [_result(pool, each) for each in asked]


def _result(pool: ProcessPoolExecutor, asked: MemoryRequest) -> int | None:
    """A model that is defined where no other process finds it cannot be sent, or not be made there."""
    try:
        return pool.submit(peak, asked).result()
    except Exception:
        return None


def peak(asked: MemoryRequest) -> int:
    """Of this process, which must not have run a model before. On the CPU the device's own code and tables count."""
    torch.set_num_threads(asked.threads)
    device = torch.device(asked.device)
    if device.type == "cuda":
        _call(asked, device)
        return int(torch.cuda.max_memory_allocated(device))
    before = process_memory()
    with PeakMonitor() as watch:
        _call(asked, device)
    return max(0, watch.most - before)


def _call(asked: MemoryRequest, device: torch.device) -> None:
    with torch.device("meta"):
        model = asked.kind(asked.config)
    model = model.to_empty(device=device).eval()
    with torch.inference_mode():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()  # memory that nobody writes to is not taken
        given = {name: tensor.to(device) for name, tensor in model_inputs.batch([model], *asked.shape).items()}
        for _ in range(CALLS):
            model(**given)
            machine.synchronize(device)


def process_memory() -> int:
    """Bytes: what the process has of the memory by itself, without mapped files; off Linux, the most that it had."""
    if STATUS.is_file():
        lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="utf-8").splitlines())
        if "RssAnon" in lines:
            return int(lines["RssAnon"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class PeakMonitor:
    """The most that `process_memory` was inside."""

    def __init__(self, look: Callable[[], int] = process_memory) -> None:
        self.most = 0
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMonitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.most = max(self.most, self._look())

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL):
            self.most = max(self.most, self._look())
