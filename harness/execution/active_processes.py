"""Which processes execute a suite in a results folder, so that other commands do not move results there meanwhile.

A process announces itself by a claim of its own while it trains. It does so under the claim of the board, which
`harness merge` and `harness rerun` hold while they change the folder: they see it, or it waits for them.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from harness.api.errors import Problem, UserError
from harness.execution import claim_files
from harness.execution.claim_files import Entry, Owner
from harness.execution.claims import Claims
from harness.storage import process_identity

PREFIX = "process-"
"""Begins the names of the targets that processes claim to announce themselves."""

POLL_SECONDS = 0.5


def board(folder: Path) -> Path:
    """The target that a process claims to write `plan.json` and the board in `folder`, which belong together."""
    return folder / "leaderboard"


def held_board(
    claims: Claims, folder: Path, description: str, say: Callable[[str], object]
) -> AbstractContextManager[None]:
    """Hold the claim of the board in `folder`. `say` receives a line if this waits for another process.

    `description` completes "a process writes the ...".
    """

    def wait(owner: Owner) -> None:
        say(f"waiting for {owner}, which writes the {owner.description}")

    return claims.held(board(folder), description, lambda: False, wait)


@contextmanager
def announced(claims: Claims, folder: Path) -> Iterator[None]:
    """Announce that this process executes a suite in `folder`. At the end, remove what killed processes left."""
    target = folder / f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    claims.take(target, f"run of {folder.name}")
    try:
        yield
    finally:
        claims.release(target)
        for claim in sorted(folder.glob(f"{PREFIX}*{claim_files.SUFFIX}")):
            with suppress(OSError):
                if claims.take(claim.with_suffix(""), "removal"):
                    claims.release(claim.with_suffix(""))


def refuse_active(claims: Claims, folder: Path, say: Callable[[str], object]) -> None:
    """Raise `UserError` if another process executes a suite in `folder`, or builds an artifact there.

    Whether a process of another machine still runs is seen from its heartbeat: this waits for one, or until the claim
    has expired, and calls `say` once before. `claims` holds the board.
    """
    seen: dict[Path, Entry] = {}
    while others := _others(claims, folder):
        is_first_look = not seen
        for entry in others:
            first = seen.setdefault(entry.path, entry)
            if entry.owner.machine == process_identity.machine() or entry.stamp != first.stamp:
                remedy = "wait until it has ended, or interrupt it, then run this command again"
                raise UserError(
                    Problem(f"{entry.owner} works in this folder ({entry.owner.description}); {remedy}", str(folder))
                )
        if is_first_look:
            say(f"waiting to see whether {others[0].owner} still works in {folder}")
        time.sleep(POLL_SECONDS)


def _others(claims: Claims, folder: Path) -> list[Entry]:
    """The entries of claims in `folder` that other processes hold and that have not expired."""
    return [entry for target, entry in claim_files.remaining(folder) if claims.owner(target) is not None]
