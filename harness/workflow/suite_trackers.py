"""Creates the trackers that a suite or a command names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError, nearest

if TYPE_CHECKING:
    from harness.plugin_host.host import Host


def create(names: Iterable[str], host: Host, folder: Path) -> list[object]:
    """The trackers with these names, each once, as observers. Each may write to the folder with its name in `folder`.

    Raises:
        UserError: there is no such tracker, or a package that it needs is missing.
    """
    problems: list[Problem] = []
    created: list[object] = []
    for name in dict.fromkeys(names):
        if name not in host.trackers:
            problems.append(Problem(f"unknown tracker {name!r}; {nearest(name, host.trackers)}", "--track"))
            continue
        try:
            created.append(host.trackers[name](folder / name))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return created
