"""The settings of a stage that a method and a suite share. Imports no torch."""

from __future__ import annotations

from typing import Literal

Schedule = Literal["linear", "constant", "cosine"]
"""How the learning rate goes on after warm-up: linear or cosine decay to 0, or no decay."""

StageData = Literal["task", "augmented"]
"""What a stage trains on: the task's own training data, or the method's augmented data where it makes any."""
