"""The backends that come with the harness: a plugin like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness import hookimpl
from harness.api.latency_backend import Backend
from harness.latency.compiled import Compiled
from harness.latency.eager import Eager


@hookimpl
def harness_register_latency_backends(register: Callable[[str, Backend], None]) -> None:
    """Those that come with the harness."""
    for name, backend in builtin().items():
        register(name, backend)


def builtin() -> Mapping[str, Backend]:
    """By the names that suites use."""
    from harness.latency.onnx import Onnx, OnnxInt8

    return {"eager": Eager(), "compile": Compiled(), "onnx": Onnx(), "onnx-int8": OnnxInt8()}
