"""Finds float64 tensors on a device: mps has none."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@contextmanager
def float64_tensors(device: torch.device) -> Iterator[list[str]]:
    """The operators in the block that make a float64 tensor on `device`, each with the tensor's shape."""
    seen: list[str] = []
    with _Results(seen, device):
        yield seen


class _Results(TorchDispatchMode):
    """Results of operators."""

    def __init__(self, seen, device):
        super().__init__()
        self.seen, self.device = seen, device

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            made = isinstance(result, torch.Tensor) and result.device == self.device
            if made and result.dtype == torch.float64:
                self.seen.append(f"{function} {tuple(result.shape)}")
        return results
