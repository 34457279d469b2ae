"""The built-in latency backends, registered through the plugin hook."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness import hookimpl
from harness.api.latency_backend import Backend
from harness.latency.compiled import Compiled
from harness.latency.eager import Eager


@hookimpl
def harness_register_latency_backends(register: Callable[[str, Backend], None]) -> None:
    """Register the built-in backends."""
    for name, backend in builtin().items():
        register(name, backend)


def builtin() -> Mapping[str, Backend]:
    """Name in suites -> backend."""
    from harness.latency.onnx import Onnx, OnnxInt8

    return {"eager": Eager(), "compile": Compiled(), "onnx": Onnx(), "onnx-int8": OnnxInt8()}
