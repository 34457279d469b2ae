"""Examines discovered plugins, and decides which of them provides a name that several register."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from harness.api.errors import Problem, UserError, describe
from harness.plugin_host import api_version, contributions, discovery
from harness.plugin_host.contributions import Contribution, ContributionKey
from harness.plugin_host.discovery import DiscoveredPlugin
from harness.plugin_host.hook_checks import hook_problems, hooks, misplaced_hooks, unmarked_hooks

Result = TypeVar("Result")


@dataclass
class Candidate:
    """A discovered plugin, what it registers, and what prevents that.

    Attributes:
        contributions: what it registers and no other plugin provides.
        problems: why it cannot be loaded; it then has no `contributions`.
        left_out: messages about what of it another installed plugin provides.
        overridden: messages about what of it a plugin that the user named provides.
    """

    discovered: DiscoveredPlugin
    contributions: list[Contribution] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    overridden: list[str] = field(default_factory=list)

    @property
    def is_loaded(self) -> bool:
        """Whether the plugin is in use: it has no problem, and not all of it is left out or overridden."""
        return not self.problems and bool(self.contributions or not (self.left_out or self.overridden))


def candidates(plugins: Iterable[DiscoveredPlugin]) -> list[Candidate]:
    """Examine plugins, each with what it registers. A module that is found twice is one plugin.

    An exception in code of a plugin is a problem of this plugin.
    """
    found: list[Candidate] = []
    loaded: set[int] = set()
    for discovered in plugins:
        for member in _members(discovered):
            if id(member.plugin) not in loaded:
                found.append(_examine(member))
                loaded |= set() if found[-1].problems else {id(member.plugin)}
    _leave_out_duplicates(found)
    return found


def _members(discovered: DiscoveredPlugin) -> list[DiscoveredPlugin]:
    """Return the plugin itself or, for a package without hooks, its subpackages."""

    def is_collection() -> bool:
        plugin = discovered.plugin
        return not (any(hooks(plugin)) or unmarked_hooks(plugin) or api_version.mismatch(plugin))

    try:
        collection = _guarded("it cannot be inspected", discovered, is_collection)
    except UserError as error:
        return [replace(discovered, plugin=None, problem=error.problems[0])]
    return (discovery.subpackages(discovered) if collection else []) or [discovered]


def _examine(discovered: DiscoveredPlugin) -> Candidate:
    candidate = Candidate(discovered)
    try:
        candidate.problems = _guarded("it cannot be inspected", discovered, lambda: list(_problems(discovered)))
        if not candidate.problems:
            candidate.contributions = _collect(discovered)
    except UserError as error:
        candidate.problems = error.problems
    return candidate


def _problems(discovered: DiscoveredPlugin) -> Iterator[Problem]:
    """Yield why a plugin cannot be used: its import, its version of the interface, or its hooks."""
    if discovered.problem:
        yield discovered.problem
    elif mismatch := api_version.mismatch(discovered.plugin):
        yield Problem(mismatch, discovered.origin)
    else:
        yield from hook_problems(discovered.plugin, discovered.origin)
        yield from misplaced_hooks(discovered)


def _collect(discovered: DiscoveredPlugin) -> list[Contribution]:
    """Return what a plugin registers. Raises `UserError` if any of it is invalid or has a duplicate name."""
    calls = [
        call
        for name, function in hooks(discovered.plugin)
        for call in _guarded(f"{name} failed", discovered, partial(contributions.register_calls, name, function))
    ]
    faults = _guarded("what it registers cannot be checked", discovered, lambda: list(contributions.faults(calls)))
    if faults:
        raise UserError(*(Problem(fault, discovered.origin) for fault in faults))
    registered = [call.contribution for call in calls]
    origin = discovered.origin
    duplicates = [
        Problem(f"duplicate {kind} {name!r}: registered twice by {origin}", origin)
        for (kind, name), count in Counter(contribution.key for contribution in registered).items()
        if count > 1
    ]
    if duplicates:
        raise UserError(*duplicates)
    return registered


def _guarded(during: str, discovered: DiscoveredPlugin, call: Callable[[], Result]) -> Result:
    """Return the result of code of a plugin. Raises `UserError` for any exception in it, which names the plugin."""
    try:
        return call()
    except UserError as error:
        raise UserError(*(Problem(f"{during}: {found}", discovered.origin) for found in error.problems)) from error
    except (Exception, SystemExit) as error:
        raise UserError(Problem(f"{during}: {describe(error)}", discovered.origin)) from error


def _leave_out_duplicates(found: Sequence[Candidate]) -> None:
    """Leave every name to one plugin.

    A plugin that the user named comes before installed ones, and a plugin of kd-harness before those of other
    distributions, which follow in the order of their entry points. Of two that the user named, none comes first: that
    is a problem. An installed plugin whose file the user named is left out as a whole.
    """
    owners: dict[ContributionKey, Candidate] = {}
    named = {plugin.discovered.file: plugin.discovered.origin for plugin in found if plugin.discovered.named}
    for candidate in sorted(found, key=lambda candidate: candidate.discovered.rank):
        file = candidate.discovered.file
        if file in named and file is not None and not candidate.discovered.named:
            candidate.overridden.append(f"all of it is overridden by {named[file]}, the same file")
            candidate.contributions = []
        for contribution in candidate.contributions:
            owner = owners.setdefault(contribution.key, candidate)
            if owner is candidate:
                continue
            theirs, ours = owner.discovered, candidate.discovered
            if theirs.named and ours.named:
                message = f"duplicate {contribution}: registered by {theirs.origin} and by {ours.origin}"
                candidate.problems.append(Problem(message, ours.origin))
            elif theirs.named:
                candidate.overridden.append(f"{contribution} is overridden by {theirs.origin}")
            else:
                candidate.left_out.append(f"{contribution} is left out: {theirs.origin} registers it, too")
        candidate.contributions = [c for c in candidate.contributions if owners[c.key] is candidate]
