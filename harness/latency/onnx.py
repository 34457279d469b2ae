"""ONNX Runtime: the model's plain forward, exported once with dynamic batch and length; in float32 or in int8."""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.api.latency_backend import Inputs
from harness.latency.model_inputs import accepted_inputs, select_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Onnx:
    """ONNX Runtime on the CPU or, with onnxruntime-gpu, on CUDA, with as many threads as torch."""

    exact = True
    packages: tuple[str, ...] = RUNTIMES

    def obstacle(self, device: torch.device) -> str | None:
        if missing := _missing("onnx"):
            return missing
        import onnxruntime

        provider = PROVIDERS.get(device.type)
        if provider in onnxruntime.get_available_providers():
            return None
        if device.type == "cuda":
            return (
                f"the backend onnx needs ONNX Runtime's {provider}, which the installed onnxruntime lacks: install "
                "onnxruntime-gpu in its place, or leave 'onnx' out of latency.backends"
            )
        return f"the backend onnx does not run on {device.type}: leave 'onnx' out of latency.backends"

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> OnnxProgram:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            export(model, example, path)
            return OnnxProgram(path, device)


class OnnxInt8:
    """ONNX Runtime with dynamic quantisation: weights in int8 by channel, activations in uint8 by the call's range.

    What it computes is not what eager computes, so it is not exact. Weights take 7 bits: on processors without VNNI
    products of 8 bits saturate.
    """

    exact = False
    packages: tuple[str, ...] = RUNTIMES

    def obstacle(self, device: torch.device) -> str | None:
        if device.type != "cpu":
            return (
                f"the backend onnx-int8 runs on the CPU, and not on {device.type}: leave 'onnx-int8' out of "
                "latency.backends"
            )
        return _missing("onnx-int8")

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> OnnxProgram:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with tempfile.TemporaryDirectory() as folder, _silent():
            whole, small = Path(folder) / "model.onnx", Path(folder) / "int8.onnx"
            export(model, example, whole)
            exported = onnx.load(whole)
            del exported.graph.value_info[:]  # the exporter notes shapes of weights, which quantising transposes
            quantize_dynamic(exported, small, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
            return OnnxProgram(small, device)


def _missing(backend: str) -> str | None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    remedy = f"install it with `pip install 'kd-harness[onnx]'`, or leave {backend!r} out of latency.backends"
    return f"the backend {backend} needs {', '.join(missing)}: {remedy}" if missing else None


class OnnxProgram:
    """A session. Inputs lie where the device reads them; outputs are put into the host's memory."""

    def __init__(self, path: Path, device: torch.device) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        # Threads that spin between calls would take the processor from the model that is timed next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors
        # TF32 is ONNX Runtime's default and not torch's: both are to compute the same.
        settings = {"device_id": str(device.index or 0), "use_tf32": "0"} if device.type == "cuda" else {}
        self._session = onnxruntime.InferenceSession(path, options, providers=[(PROVIDERS[device.type], settings)])
        self._device = device

    def bind(self, inputs: Inputs) -> Callable[[], Sequence[Any]]:
        own = select_inputs([given.name for given in self._session.get_inputs()], inputs)
        there = {name: tensor.to(self._device).contiguous() for name, tensor in own.items()}
        binding = self._session.io_binding()
        for name, tensor in there.items():
            place = self._device.type, self._device.index or 0
            binding.bind_input(name, *place, "int64", list(tensor.shape), tensor.data_ptr())
        for output in self._session.get_outputs():
            binding.bind_output(output.name, "cpu")

        def call(kept: Mapping[str, torch.Tensor] = there) -> Sequence[Any]:
            # The session reads the memory of `kept`, which must live as long as the call does.
            self._session.run_with_iobinding(binding)
            outputs: Sequence[Any] = binding.copy_outputs_to_cpu()
            return outputs

        return call


class _Plain(nn.Module):
    """A model as a function of its inputs, in the order of `accepted_inputs`, with a tuple of tensors as output."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        found = self.model(input_ids=input_ids, attention_mask=attention_mask, **segments)
        outputs: tuple[torch.Tensor, ...] = found.to_tuple()
        return outputs


def export(model: PreTrainedModel, example: Inputs, path: Path) -> None:
    """Write `model` to `path`, batch size and length dynamic. `example` is no batch of one: that would stay fixed."""
    given = {name: tensor.to(model.device) for name, tensor in select_inputs(accepted_inputs(model), example).items()}
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _silent(), torch.no_grad():
        program = torch.onnx.export(
            _Plain(model).eval(),
            tuple(given.values()),
            input_names=list(given),
            dynamo=True,
            dynamic_shapes=tuple(dynamic for _ in given),
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise AssertionError("torch.onnx.export(dynamo=True) gives a program")
    program.save(path)


@contextmanager
def _silent() -> Iterator[None]:
    """Exporting tells of packages that it can do without and of its own deprecations; quantising, through the root
    logger, of steps that can be left out."""
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
