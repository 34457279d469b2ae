"""Records which outputs of its models a method reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, ItemsView, Iterator, Mapping, ValuesView
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.api.model_outputs import LAYERED, Layered, ModelOutputs

if TYPE_CHECKING:
    from torch import Tensor


class Undeclared(KeyError):
    """A method read an output that the stage's `Needs` do not declare."""


@dataclass
class RecordingOutputs(ModelOutputs):
    """The `ModelOutputs` of one model, which record in `read` which of them are read.

    What a method derives from them without reading, such as `mapped` outputs, records in the same way.
    """

    model: str = ""
    read: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, outputs: ModelOutputs, model: str, read: set[str]) -> RecordingOutputs:
        """The outputs of `model`, which record what is read."""
        layered = {name: RecordingLayers(getattr(outputs, name), model, read) for name in LAYERED}
        return cls(outputs._logits, outputs._pooled, outputs._embeddings, **layered, model=model, read=read)

    @property
    def logits(self) -> Tensor:
        return self._recorded("logits", self._logits)

    @property
    def pooled(self) -> Tensor:
        return self._recorded("pooled", self._pooled)

    @property
    def embeddings(self) -> Tensor:
        return self._recorded("embeddings", self._embeddings)

    def only(self, names: Collection[str]) -> RecordingOutputs:
        return self.of(self._unrecorded().only(names), self.model, self.read)

    def mapped(self, function: Callable[[Tensor], Tensor]) -> RecordingOutputs:
        return self.of(self._unrecorded().mapped(function), self.model, self.read)

    def tensors(self) -> list[Tensor]:
        single = {"logits": self._logits, "pooled": self._pooled, "embeddings": self._embeddings}
        self.read |= {f"{name} of {self.model}" for name, tensor in single.items() if tensor is not None}
        return super().tensors()

    def _recorded(self, name: str, tensor: Tensor | None) -> Tensor:
        if tensor is None:
            raise Undeclared(f"{name} of {self.model}")
        self.read.add(f"{name} of {self.model}")
        return tensor

    def _unrecorded(self) -> ModelOutputs:
        layered = (getattr(self, name) for name in LAYERED)
        plain = (Layered(layers.name, {i: dict.__getitem__(layers, i) for i in layers}) for layers in layered)
        return ModelOutputs(self._logits, self._pooled, self._embeddings, *plain)


class RecordingLayers(Layered):
    """Tensors by layer, which record in `read` which of them are read.

    The built-in methods of dict do not call `__getitem__`, so those that read tensors are replaced.
    """

    def __init__(self, layers: Layered, model: str, read: set[str]) -> None:
        super().__init__(layers.name, {layer: dict.__getitem__(layers, layer) for layer in layers})
        self.model = model
        self.read = read

    def __getitem__(self, layer: int) -> Tensor:
        name = f"{self.name}[{layer}] of {self.model}"
        if layer not in self:
            raise Undeclared(name)
        self.read.add(name)
        return super().__getitem__(layer)

    def __iter__(self) -> Iterator[int]:
        return super().__iter__()  # with an `__iter__` of its own, dict(layers) and {**layers} call `__getitem__`

    def __or__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return dict(self) | dict(other)

    def get(self, layer: int, default: Any = None) -> Any:
        return Mapping.get(self, layer, default)

    def items(self) -> Any:
        return ItemsView(self)

    def values(self) -> Any:
        return ValuesView(self)

    def copy(self) -> RecordingLayers:
        return RecordingLayers(self, self.model, self.read)
