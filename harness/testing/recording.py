"""Records which outputs of its models a method reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.api.model_outputs import LAYERED, Layered, ModelOutputs


class Undeclared(KeyError):
    """A method read an output that the stage's `Needs` do not declare."""


class RecordingOutputs:
    """Wraps the `ModelOutputs` of one model and records in `read` which of them are read."""

    def __init__(self, outputs: ModelOutputs, model: str, read: set[str]) -> None:
        self._outputs, self._model, self._read = outputs, model, read

    def __getattr__(self, name: str) -> Any:
        if name in LAYERED:
            return _RecordingLayers(getattr(self._outputs, name), self._model, self._read)
        try:
            tensor = getattr(self._outputs, name)
        except KeyError as error:
            raise Undeclared(f"{name} of {self._model}") from error
        self._read.add(f"{name} of {self._model}")
        return tensor


class _RecordingLayers(Mapping[int, Any]):
    def __init__(self, layers: Layered, model: str, read: set[str]) -> None:
        self._layers, self._model, self._read = layers, model, read

    def __getitem__(self, layer: int) -> Any:
        name = f"{self._layers.name}[{layer}] of {self._model}"
        if layer not in self._layers:
            raise Undeclared(name)
        self._read.add(name)
        return self._layers[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)
