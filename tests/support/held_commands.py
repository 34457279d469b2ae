"""Commands that pause in the middle of a run, so that a test can kill or suspend them there."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.forked_commands import ForkedCommand
from tests.support.patience import PATIENCE

PLUGIN = """
import time
from pathlib import Path

from harness import hookimpl

HELD = Path({held!r})
steps = []


@hookimpl
def harness_step(event):
    run = event.run
    if {condition} and not steps:
        steps.append(event)
        HELD.touch()
        while HELD.exists():
            time.sleep(0.05)
"""


class Hold:
    """A plugin that pauses its process once, at a logged step, until the test calls `release`.

    Args:
        folder: where its file is written.
        condition: Python on `event` and its `run`; the process pauses at the first step for which it holds.
    """

    def __init__(self, folder: Path, condition: str) -> None:
        self._held = folder / "held"
        self.plugin = folder / "hold.py"
        self.plugin.write_text(PLUGIN.format(held=str(self._held), condition=condition), encoding="utf-8")

    def wait(self, process: ForkedCommand) -> None:
        """Wait until the process pauses."""
        limit = time.monotonic() + PATIENCE
        while not self._held.exists():
            assert process.poll() is None, f"it ended before the step: {process.errors}"
            assert time.monotonic() < limit, f"it has not reached the step in {PATIENCE} s: {process.errors}"
            time.sleep(0.02)

    def release(self) -> None:
        """Let it go on."""
        self._held.unlink()
