"""The backends `onnx` and `onnx-int8`: ONNX Runtime on models exported with dynamic batch size and length."""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import describe
from harness.api.latency_backend import Inputs
from harness.api.lazy_torch import torch
from harness.latency.model_inputs import accepted_inputs, select_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Onnx:
    """ONNX Runtime in float32 on the CPU or, with onnxruntime-gpu, on CUDA, with torch's number of threads."""

    exact = True
    packages: tuple[str, ...] = RUNTIMES

    def obstacle(self, device: torch.device) -> str | None:
        if missing := _missing("onnx"):
            return missing
        import onnxruntime

        provider = PROVIDERS.get(device.type)
        if provider in onnxruntime.get_available_providers():
            return None if device.type == "cpu" else _unusable(device)
        if device.type == "cuda":
            return (
                f"the backend onnx needs {provider}, which the installed onnxruntime does not provide; install "
                "onnxruntime-gpu instead, or leave 'onnx' out of latency.backends"
            )
        return f"the backend onnx does not support {device.type}; leave 'onnx' out of latency.backends"

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> OnnxProgram:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            export(model, example, path)
            return OnnxProgram(path, device)


class OnnxInt8:
    """ONNX Runtime with dynamic quantization, see `quantize`. It is not exact."""

    exact = False
    packages: tuple[str, ...] = RUNTIMES

    def obstacle(self, device: torch.device) -> str | None:
        if device.type != "cpu":
            return (
                f"the backend onnx-int8 supports only cpu, found {device.type}; leave 'onnx-int8' out of "
                "latency.backends"
            )
        return _missing("onnx-int8")

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> OnnxProgram:
        with tempfile.TemporaryDirectory() as folder:
            float32, int8 = Path(folder) / "model.onnx", Path(folder) / "int8.onnx"
            export(model, example, float32)
            quantize(float32, int8)
            return OnnxProgram(int8, device)


def missing_packages() -> list[str]:
    """The packages that ONNX needs and that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def _missing(backend: str) -> str | None:
    missing = missing_packages()
    remedy = f"install it with `pip install 'kd-harness[onnx]'`, or leave {backend!r} out of latency.backends"
    return f"the backend {backend} needs {', '.join(missing)}; {remedy}" if missing else None


def _unusable(device: torch.device) -> str | None:
    """Why ONNX Runtime cannot use `device`; None: it can. A provider that it names may fail to load its libraries."""
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", values[:1], values[1:])
    # Versions that every ONNX Runtime reads: the defaults are those of the installed onnx, which may be newer.
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    try:
        _session(model.SerializeToString(), device)
    except Exception as error:  # a class of its own for each status of ONNX Runtime
        return f"the backend onnx cannot use {device.type}: {describe(error)}; or leave 'onnx' out of latency.backends"
    return None


def _session(model: Path | bytes, device: torch.device) -> Any:
    """An ONNX Runtime session of a file or a serialized model, with torch's number of threads.

    Raises:
        RuntimeError: ONNX Runtime cannot use the device.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Threads that spin between calls would slow down the model that is timed next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    # ONNX Runtime uses TF32 by default, torch does not.
    settings = {"device_id": str(device.index or 0), "use_tf32": "0"} if device.type == "cuda" else {}
    session = onnxruntime.InferenceSession(model, options, providers=[(PROVIDERS[device.type], settings)])
    if PROVIDERS[device.type] not in session.get_providers():  # it falls back to the CPU with a warning
        raise RuntimeError(
            f"ONNX Runtime cannot load {PROVIDERS[device.type]}; install the version of onnxruntime-gpu for torch's"
            f" version of CUDA, {torch.version.cuda}"
        )
    return session


class OnnxProgram:
    """An ONNX Runtime session with inputs in device memory and outputs in host memory."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self._session = _session(path, device)
        self._device = device

    def bind(self, inputs: Inputs) -> Callable[[], Sequence[Any]]:
        selected = select_inputs([node.name for node in self._session.get_inputs()], inputs)
        on_device = {name: tensor.to(self._device).contiguous() for name, tensor in selected.items()}
        binding = self._session.io_binding()
        for name, tensor in on_device.items():
            device = self._device.type, self._device.index or 0
            binding.bind_input(name, *device, "int64", list(tensor.shape), tensor.data_ptr())
        for output in self._session.get_outputs():
            binding.bind_output(output.name, "cpu")

        def call(tensors: Mapping[str, torch.Tensor] = on_device) -> Sequence[Any]:
            # The default argument keeps the tensors alive: the binding holds only their addresses.
            self._session.run_with_iobinding(binding)
            outputs: Sequence[Any] = binding.copy_outputs_to_cpu()
            return outputs

        return call


def export(model: PreTrainedModel, example: Inputs, path: Path) -> None:
    """Export `model` to `path` with dynamic batch size and length. Outputs have transformers' names, such as logits.

    Args:
        example: inputs of at least two examples, because a batch size of one would be specialized.
    """
    from harness.latency.plain_model import PlainModel

    inputs = {name: tensor.to(model.device) for name, tensor in select_inputs(accepted_inputs(model), example).items()}
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _silent(), torch.no_grad():
        program = torch.onnx.export(
            PlainModel(model).eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(model(**inputs).keys()),
            dynamo=True,
            dynamic_shapes=tuple(dynamic for _ in inputs),
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise AssertionError("torch.onnx.export(dynamo=True) returned no program")
    program.save(path)


def quantize(float32: Path, int8: Path) -> None:
    """Write the ONNX model `float32` with weights in int8 per channel and activations in uint8 per call to `int8`.

    Weights use 7 bits, because products of 8 bits saturate on processors without VNNI.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _silent():
        exported = onnx.load(float32)
        del exported.graph.value_info[:]  # contains shapes of weights, which quantization transposes
        quantize_dynamic(exported, int8, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress the warnings of the exporter (optional packages, deprecations) and of quantization (root logger)."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", None)]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
