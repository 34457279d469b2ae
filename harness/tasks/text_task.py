"""The task of text stages, which has no data of its own: a suite's `general` names the text."""

from __future__ import annotations

from harness.api.task import Splits, Task


def _no_splits(source: str | None) -> Splits:
    raise TypeError("the text task has no splits to load")


TEXT_TASK = Task("text", "text", _no_splits, metrics=(), score="")
"""The task of text stages: models built for it have a masked-language-modelling head."""
