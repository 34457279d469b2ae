"""Placeholder until the merge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    host: str = ""
    pid: int = 0
    description: str = ""


class Claims:
    def __enter__(self):
        return self

    def __exit__(self, *a):
        pass

    def take(self, target: Path, description: str) -> bool:
        return True

    def owner(self, target: Path) -> Owner | None:
        return None

    def release(self, target: Path) -> None:
        pass

    def lost(self, target: Path) -> bool:
        return False

    @contextmanager
    def held(
        self,
        target: Path,
        description: str,
        stop: Callable[[], bool],
        on_wait: Callable[[Owner], object] = lambda o: None,
    ) -> Iterator[None]:
        yield
