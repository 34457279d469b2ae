"""The options on which work before the stages on a task depends: text stages, joint teachers and augmented data."""

from __future__ import annotations

from typing import Any

from harness.api.method import Augmentation, Cofinetuning, General, MethodConfig


def options_of(request: Augmentation | Cofinetuning | General, config: MethodConfig) -> dict[str, Any]:
    """Return the options that the result of the request depends on, as plain values.

    A method that names none may read any of its options, so its result depends on all of them.
    """
    return config.model_dump(mode="json") if request.options is None else dict(request.options)
