"""Finds copies between host and device that would wait for a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import extract_stack

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from harness.api import device_transfer

ATEN = torch.ops.aten


@contextmanager
def waiting_copies() -> Iterator[list[str]]:
    """The copies in the block that block on a GPU, each with the line that makes it.

    Those of `to_device` do not.
    """
    seen: list[str] = []
    with _Copies(seen), _Creations(seen):
        yield seen


class _Copies(TorchDispatchMode):
    """Copies of tensors."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        options = kwargs or {}
        result = function(*args, **options)
        packet = function.overloadpacket
        if packet is ATEN._to_copy and not options.get("non_blocking"):
            _record(self.seen, args[0].device, result.device)
        elif packet is ATEN.copy_ and args[2:3] != (True,):
            _record(self.seen, args[1].device, args[0].device)
        return result


class _Creations(TorchFunctionMode):
    """Tensors that are made of values of the host on a device."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_function__(self, function, types, args=(), kwargs=None):
        options = kwargs or {}
        result = function(*args, **options)
        if function in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor):
            _record(self.seen, torch.device("cpu"), result.device)
        return result


def _record(seen, source, target):
    if source.type == target.type:
        return
    frames = [frame for frame in extract_stack() if "site-packages" not in frame.filename]
    line = next(frame for frame in reversed(frames) if frame.filename != __file__)
    if line.filename != device_transfer.__file__:
        seen.append(f"{source} to {target} in {line.filename}:{line.lineno}")
