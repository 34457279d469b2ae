"""The mailbox: a Ray actor on the driver's machine through which workers report to the driver.

What a worker has posted survives the worker.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Mailbox:
    """Messages of the workers, and the numbers of the attempts that should stop."""

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._stopped: set[int] = set()

    def post(self, message: Any) -> bool:
        """Add a message. Returns whether the worker should save its state and stop."""
        self._messages.append(message)
        return message.attempt in self._stopped

    def take(self) -> list[Any]:
        """Return the messages that have arrived since the last call."""
        messages, self._messages = self._messages, []
        return messages

    def stop(self, attempts: Iterable[int]) -> None:
        """Ask the workers of these attempts to stop."""
        self._stopped |= set(attempts)
