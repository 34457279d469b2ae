"""Checks that the members of a method can be called as the host calls them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

MAY_YIELD = {"check", "stages"}
"""Members that may be generators, because the host makes a list of what they return."""


def signature_faults(title: str, method: type, base: type) -> Iterator[str]:
    """Yield the problems of members of `base` that `method` overrides: they must take the arguments of the host."""
    for name, original in vars(base).items():
        if not name.startswith("_") and inspect.isfunction(original):
            overriding = inspect.getattr_static(method, name)
            if overriding is not original and (fault := _fault(name, overriding, original)):
                yield f"{title}: {fault}"


@cache
def _arguments(member: Callable[..., Any]) -> tuple[str, ...]:
    """The arguments of a member of the base class, without self."""
    return tuple(inspect.signature(member).parameters)[1:]


def _fault(name: str, overriding: Any, original: Any) -> str | None:
    arguments = _arguments(original)
    call = f"{name}({', '.join(arguments)})"
    if isinstance(overriding, (staticmethod, classmethod)):
        function, bound = overriding.__func__, isinstance(overriding, classmethod)
    else:
        function, bound = overriding, inspect.isfunction(overriding)
    if not callable(function):
        return f"{name} is a {type(overriding).__name__}; it must be a function that the host calls as {call}"
    if inspect.iscoroutinefunction(function):
        return f"{name} is a coroutine; it must be a function"
    if name not in MAY_YIELD and inspect.isgeneratorfunction(function):
        return f"{name} is a generator; it must return its result"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a callable without a signature, such as one written in C
        return None
    try:
        signature.bind(*(["self"] if bound else []), *arguments)
    except TypeError as error:
        return f"{name}{signature} cannot be called as {call}: {error}"
    return None
