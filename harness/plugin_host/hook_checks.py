"""Finds the hooks that a plugin implements, and checks their names and arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

import pluggy

from harness.api.errors import Problem, nearest
from harness.plugin_host import hookspecs
from harness.plugin_host.discovery import GROUP, REPORT_GROUP, DiscoveredPlugin

HOOKS = {name: function for name, function in vars(hookspecs).items() if name.startswith("harness_")}

REPORT_HOOKS = {"harness_report_sections", "harness_register_reporters"}

PROJECT = "harness"
"""The name of the project for pluggy: its marker sets the attribute ``harness_impl`` of hooks."""


FUNCTIONS = (FunctionType, MethodType, classmethod, staticmethod)
"""What pluggy accepts as a hook."""


class HookManager(pluggy.PluginManager):
    """A plugin manager that finds the hooks of a module fast: pluggy inspects every attribute, and few are hooks."""

    def __init__(self) -> None:
        super().__init__(PROJECT)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        if isinstance(plugin, ModuleType):
            value = vars(plugin).get(name)
            if not (isinstance(value, FUNCTIONS) and hasattr(value, f"{PROJECT}_impl")):
                return None
        return super().parse_hookimpl_opts(plugin, name)


_PARSER = HookManager()


def hooks(plugin: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the hooks that a plugin implements, with their names."""
    for attribute in sorted(vars(plugin)) if isinstance(plugin, ModuleType) else dir(plugin):
        options = _PARSER.parse_hookimpl_opts(plugin, attribute)
        if options is not None:
            yield options.get("specname") or attribute, getattr(plugin, attribute)


def unmarked_hooks(plugin: object) -> list[str]:
    """List the hooks that a plugin defines, with or without `hookimpl`."""
    return [name for name in dir(plugin) if name in HOOKS]


def arguments(function: Callable[..., Any]) -> list[str]:
    """List the arguments that the host passes. Like pluggy, it skips arguments with a default."""
    return [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]


ARGUMENTS = {name: arguments(function) for name, function in HOOKS.items()}


def hook_problems(plugin: object, origin: str) -> list[Problem]:
    """Return problems of hook names and arguments, and of a plugin without hooks."""
    problems: list[Problem] = []
    implemented = dict(hooks(plugin))
    for name, function in implemented.items():
        if name not in HOOKS:
            problems.append(Problem(f"unknown hook {name!r}; {nearest(name, HOOKS)}", origin))
            continue
        if inspect.isgeneratorfunction(function):
            problems.append(Problem(f"hook {name!r} is a generator; hook wrappers are not supported", origin))
        allowed = ARGUMENTS[name]
        problems += [
            Problem(f"hook {name!r} has no argument {argument!r}; {nearest(argument, allowed)}", origin)
            for argument in arguments(function)
            if argument not in allowed
        ]
    if not implemented:
        problems.append(Problem(_no_hook(plugin), origin))
    return problems


def misplaced_hooks(discovered: DiscoveredPlugin) -> Iterator[Problem]:
    """Yield report hooks outside of the report group: `harness run` would call them, `harness report` would not."""
    implemented = dict(hooks(discovered.plugin)) if discovered.group == GROUP else {}
    for hook in sorted(REPORT_HOOKS & implemented.keys()):
        message = f"{hook} must be in a separate module of the entry-point group {REPORT_GROUP!r}"
        yield Problem(f"{message}; `harness report` loads only this group", discovered.origin)


def _no_hook(plugin: object) -> str:
    if unmarked := unmarked_hooks(plugin):
        return f"no hook is implemented: mark {unmarked[0]} with @hookimpl (from harness import hookimpl)"
    return (
        "no hook is implemented; add a function marked with @hookimpl, such as "
        "`def harness_register_methods(register): register(MyMethod)`"
    )
