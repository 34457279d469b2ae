"""ONNX Runtime: the model's plain forward, exported once with dynamic batch and length."""

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

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
REMEDY = "install it with `pip install 'kd-harness[onnx]'`, or leave 'onnx' out of latency.backends"


class Onnx:
    """ONNX Runtime on the CPU or, with onnxruntime-gpu, on CUDA, with as many threads as torch."""

    def obstacle(self, device: torch.device) -> str | None:
        missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            return f"the backend onnx needs {', '.join(missing)}: {REMEDY}"
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

    def program(self, model: PreTrainedModel, device: torch.device, example: Mapping[str, torch.Tensor]) -> OnnxProgram:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            export(model, example, path)
            return OnnxProgram(path, device)


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

    def bind(self, inputs: Mapping[str, torch.Tensor]) -> Callable[[], Sequence[Any]]:
        there = {name: tensor.to(self._device).contiguous() for name, tensor in inputs.items()}
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
    """A model as a function of its two inputs, with a tuple of tensors as output."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs: tuple[torch.Tensor, ...] = self.model(input_ids=input_ids, attention_mask=attention_mask).to_tuple()
        return outputs


def export(model: PreTrainedModel, example: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write `model` to `path`, batch size and length dynamic. `example` is no batch of one: that would stay fixed."""
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    device = model.device
    with _silent(), torch.no_grad():
        program = torch.onnx.export(
            _Plain(model).eval(),
            (example["input_ids"].to(device), example["attention_mask"].to(device)),
            input_names=["input_ids", "attention_mask"],
            dynamo=True,
            dynamic_shapes=(dynamic, dynamic),
            optimize=True,
            verbose=False,
        )
    if program is None:
        raise AssertionError("torch.onnx.export(dynamo=True) gives a program")
    program.save(path)


@contextmanager
def _silent() -> Iterator[None]:
    """The exporter tells of packages that it can do without, and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
