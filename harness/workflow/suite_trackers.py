"""Creates the trackers that a suite or a command names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError, describe, nearest

if TYPE_CHECKING:
    from harness.plugin_host.host import Host


def create(names: Iterable[str], host: Host, folder: Path) -> dict[str, object]:
    """The trackers with these names, each once, as observers: what messages call it -> the observer.

    Each may write to the folder with its name in `folder`.

    Raises:
        UserError: there is no such tracker, a package that it needs is missing, its factory fails, or what that returns
            is no observer.
    """
    problems: list[Problem] = []
    created: dict[str, object] = {}
    for name in dict.fromkeys(names):
        if name not in host.trackers:
            problems.append(Problem(f"unknown tracker {name!r}; {nearest(name, host.trackers)}", "--track"))
            continue
        try:
            observer = host.trackers[name](folder / name)
        except UserError as error:
            problems += error.problems
        except (Exception, SystemExit) as error:  # such as an invalid address of a server
            problems.append(Problem(f"tracker {name!r} cannot be created: {describe(error)}", _origin(host, name)))
        else:
            problems += _observer_problems(observer, name, _origin(host, name))
            created[f"tracker {name!r} of {host.origin_of('tracker', name)}"] = observer
    if problems:
        raise UserError(*problems)
    return created


def _origin(host: Host, name: str) -> str:
    return f"tracking: {name} of {host.origin_of('tracker', name)}"


def _observer_problems(observer: object, name: str, origin: str) -> list[Problem]:
    """Return problems of what a factory returned. A bare `Tracker` has no hooks, and so would record nothing."""
    from harness.plugin_host.hook_checks import hook_problems, hooks

    if any(True for _ in hooks(observer)):
        return hook_problems(observer, origin)
    kind = type(observer).__name__
    message = f"the factory of tracker {name!r} returned a {kind}, which observes nothing; return an observer"
    return [Problem(f"{message}: harness.api.tracker.RunObserver of a Tracker", origin)]
