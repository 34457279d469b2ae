"""Peak memory of inference, measured in one process per model, minus the memory of the process with libraries loaded.

Memory depends on the shape of a model and not on its weights, so the process creates the model from its configuration.
Processes are forked from a server that has imported torch and transformers and nothing else.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import resource
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from harness.api.errors import describe
from harness.api.latency_backend import synchronize
from harness.latency import model_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CALLS = 3
"""Number of calls of the model; the first one may use more memory than later ones."""

INTERVAL = 0.001
"""Seconds between two readings of the memory."""

STATUS = Path("/proc/self/status")

log = logging.getLogger("harness")


@dataclass(frozen=True)
class MemoryRequest:
    """A model given by class and configuration, with the shape, device and threads to run it with."""

    kind: type[PreTrainedModel]
    config: object
    shape: tuple[int, int]
    device: str
    threads: int


def peaks(
    models: Sequence[PreTrainedModel], shape: tuple[int, int], device: torch.device, threads: int
) -> list[int | None]:
    """Peak bytes per model: weights plus the largest use by calls of `shape` (batch, tokens).

    On CUDA, memory allocated by torch; elsewhere, anonymous memory of the process. None where processes cannot be
    forked, for a model whose class or configuration cannot be sent to another process, and, with a warning, if
    measuring it fails.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return [None] * len(models)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers", "harness.latency.peak_memory"])
    requests = [MemoryRequest(type(model), model.config, shape, str(device), threads) for model in models]
    return [_result(context, request) for request in requests]


def _result(context: BaseContext, request: MemoryRequest) -> int | None:
    """The peak, measured in a process of its own; a process that is killed takes no other measurement with it."""
    try:
        sent = pickle.dumps(request)
    except (pickle.PicklingError, AttributeError, TypeError):  # a class or a value that only this process has
        return None
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_received, sent).result()
    except (Exception, SystemExit) as error:  # a killed process, and whatever the code of the model raises
        log.warning("the peak memory of %s is not measured: %s", request.kind.__name__, describe(error))
        return None


def _received(sent: bytes) -> int | None:
    """`peak` of a pickled request; None if its classes cannot be imported here, such as those of a plugin's file."""
    try:
        request: MemoryRequest = pickle.loads(sent)
    except (ImportError, AttributeError):
        return None
    return peak(request)


def peak(request: MemoryRequest) -> int:
    """The peak memory of this process in bytes. Call it in a process that has not run a model before.

    On the CPU this includes the code and tables of the kernels that are loaded by the calls.
    """
    torch.set_num_threads(request.threads)
    device = torch.device(request.device)
    if device.type == "cuda":
        _call(request, device)
        return int(torch.cuda.max_memory_allocated(device))
    before = process_memory()
    with PeakMonitor() as monitor:
        _call(request, device)
    return max(0, monitor.peak - before)


def _call(request: MemoryRequest, device: torch.device) -> None:
    with torch.device("meta"):
        model = request.kind(request.config)
    model = model.to_empty(device=device).eval()
    with torch.inference_mode():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()  # the system assigns memory on the first write
        inputs = {name: tensor.to(device) for name, tensor in model_inputs.batch([model], *request.shape).items()}
        for _ in range(CALLS):
            model(**inputs)
            synchronize(device)


def process_memory() -> int:
    """Anonymous memory of this process in bytes; where it is unknown (not Linux), its peak resident memory."""
    if STATUS.is_file():
        lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="utf-8").splitlines())
        if "RssAnon" in lines:
            return int(lines["RssAnon"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class PeakMonitor:
    """Context that records the peak of `process_memory`, by polling it in a thread."""

    def __init__(self, read: Callable[[], int] = process_memory) -> None:
        self.peak = 0
        self._read = read
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMonitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, self._read())

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self.peak = max(self.peak, self._read())
