"""`harness list`: what there is to put into a suite."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from harness.api.errors import UserError, nearest
from harness.cli.suite_commands import warn_of_broken
from harness.cli.terminal_tables import print_table

if TYPE_CHECKING:
    from pathlib import Path

    from harness.api.method import Method
    from harness.config.published_figures import Published
    from harness.plugin_host.host import Host, PluginInfo


def print_list(kind: str, plugins: Sequence[str], name: str | None = None) -> None:
    """Print the methods, tasks, suites, plugins or published figures that are there; or the options of one method."""
    if name is not None and kind != "methods":
        raise UserError(f"a name goes with methods alone, as in `harness list methods {name}`; found {kind} {name}")
    if kind == "suites":
        from harness.config.paths import shipped_suites

        print_table(
            ["suite", "about", "file"], ((n, _first_comment(path), path) for n, path in shipped_suites().items())
        )
        return
    from harness.plugin_host.host import Host

    host = Host.create(plugins)
    if kind == "plugins":
        _print_plugins(host)
        return
    warn_of_broken(host)
    if kind == "published":
        _print_published(host)
        return
    if name is not None:
        _explain(name, host)
    elif kind == "methods":
        rows = ((m.name, _teachers(m), m.summary, _options(m)) for m in sorted(host.methods.values(), key=_by_name))
        print_table(["method", "teachers", "about", "options and their defaults"], rows)
    else:
        print_table(
            ["task", "kind", "score", "data", "about"],
            (
                (task.name, task.kind, task.score, task.default_source or "generated", task.summary)
                for task in sorted(host.tasks.values(), key=lambda task: task.name)
            ),
        )


def _print_plugins(host: Host) -> None:
    rows = ((plugin.name, plugin.error or ", ".join(_brings(plugin)), plugin.origin) for plugin in host.plugins)
    print_table(["plugin", "brings, or what is wrong with it", "from"], rows)


def _brings(plugin: PluginInfo) -> list[str]:
    sections = ["sections of the report"] if plugin.sections else []
    formats = [f"leaderboard.{name}" for name in plugin.reporters]
    backends = [f"latency in {name}" for name in plugin.latency_backends]
    return [*plugin.methods, *plugin.tasks, *plugin.metrics, *plugin.published, *formats, *backends, *sections]


def _print_published(host: Host) -> None:
    """The sources of figures, and below them what they say of a method as a whole."""
    sources = _readable(host)
    splits = {each.name: "; ".join(table.split for table in each.source.tables) for each in sources}
    rows = (
        (each.name, ", ".join(each.methods), splits[each.name], each.source.title, each.source.url) for each in sources
    )
    print_table(["source", "of", "on", "about", "from"], rows)
    for each in sources:
        for claim in each.source.claims:
            typer.echo(f"\n{each.name} says of {claim.method}: {claim.text}: {claim.value:g}")


def _readable(host: Host) -> list[Published]:
    """The sources by name. A file that cannot be read is a warning: the others can still be chosen."""
    from harness.config.published_figures import read_registered

    sources = []
    for name in sorted(host.published):
        try:
            sources.append(read_registered(name, host))
        except UserError as error:
            print(f"warning: published figures {name!r} are left out: {error}", file=sys.stderr)
    return sources


def _by_name(method: type[Method]) -> str:
    return method.name


def _teachers(method: type[Method]) -> str:
    if method.min_teachers == method.max_teachers:
        return str(method.min_teachers)
    return f"{method.min_teachers} or more" if method.max_teachers is None else f"up to {method.max_teachers}"


def _options(method: type[Method]) -> str:
    return ", ".join(f"{name}={default}" for name, default in _defaults(method).items())


def _defaults(method: type[Method]) -> dict[str, str]:
    """Of each option, as a suite spells it."""
    from harness.reporting.formatting import word

    return {name: word(value) for name, value in method.Config().model_dump(mode="json").items()}


def _explain(name: str, host: Host) -> None:
    """One method and its options: their defaults, over what they are tuned, what they are."""
    if name not in host.methods:
        raise UserError(f"there is no method {name!r}; {nearest(name, host.methods)}")
    method = host.methods[name]
    typer.echo(f"{method.name}: {method.summary}\nteachers: {_teachers(method)}\n")
    if rows := list(_explained(method)):
        print_table(["option", "default", "tuned over", "what it is"], rows)
    else:
        typer.echo("It has no options.")


def _explained(method: type[Method]) -> Iterator[tuple[str, str, str, str]]:
    from harness.api.search_space import space

    tuned, fields = space(method.Config), method.Config.model_fields
    for name, default in _defaults(method).items():
        yield name, default, str(tuned.get(name, "")), fields[name].description or ""


def _first_comment(path: Path) -> str:
    """The first line of a suite, if it is a comment: what the suite is for."""
    line = path.read_text(encoding="utf-8").partition("\n")[0]
    return line.removeprefix("#").strip() if line.startswith("#") else ""
