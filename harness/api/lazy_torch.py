"""torch, `nn` and `F` (`torch.nn.functional`), imported at their first use.

`harness list` and `harness validate` read what methods declare and compute nothing, so they need no torch, whose import
takes seconds. A module that imports torch from here starts without it. Use the names inside functions: a base class
such as `nn.Module`, a decorator or a constant at the top of the module imports torch at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
    import torch.nn.functional as F
    from torch import nn as nn
else:

    class _LazyModule:
        """Stands for a module and imports it when an attribute is read."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            if attribute == "_name":  # an instance made without __init__, which has no attributes
                raise AttributeError(attribute)
            return getattr(import_module(self._name), attribute)

        def __reduce__(self) -> tuple[type[_LazyModule], tuple[str]]:
            """Copy and pickle the name."""
            return _LazyModule, (self._name,)

        def __repr__(self) -> str:
            return f"<lazy module {self._name!r}>"

    torch, nn, F = map(_LazyModule, ("torch", "torch.nn", "torch.nn.functional"))

__all__ = ["F", "nn", "torch"]
