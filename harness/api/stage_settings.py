"""Settings of a stage that both methods and suites can set. Imports no torch."""

from __future__ import annotations

from typing import Literal

Schedule = Literal["linear", "constant", "cosine"]
"""The learning-rate schedule after warm-up: linear or cosine decay to 0, or constant."""

StageData = Literal["task", "augmented"]
"""Training data of a stage: the task's own, or the method's augmented data if it has any."""

StageStart = Literal["last", "best"]
"""The weights that a stage starts from: those of the last step, or of the best epoch, of the stage before it."""
