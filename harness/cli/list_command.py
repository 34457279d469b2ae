"""`harness list`: methods, tasks, suites, plugins and published figures."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import typer

from harness.api.errors import UserError
from harness.cli.list_methods import print_method, print_methods
from harness.cli.stderr_warnings import warn_of_unused_plugins
from harness.cli.terminal_tables import print_table

if TYPE_CHECKING:
    from pathlib import Path

    from harness.config.published_figures import Published
    from harness.plugin_host.host import Host, PluginInfo


def print_list(kind: str, plugins: Sequence[str], name: str | None = None, *, as_json: bool = False) -> None:
    """Print a table of methods, tasks, suites, plugins or published figures, or the options of the method `name`.

    Raises:
        UserError: the method does not exist, `name` or `as_json` is given with another kind, or a plugin in `plugins`
            is broken.
    """
    if name is not None and kind != "methods":
        raise UserError(f"`harness list {kind}` takes no name, found {name!r}; use `harness list methods METHOD`")
    if as_json and kind != "methods":
        raise UserError(f"`harness list {kind}` has no --json; use `harness list methods --json`")
    if kind == "suites":
        from harness.config.shipped_suites import shipped_suites

        print_table(
            ["suite", "about", "file"], ((n, _first_comment(path), path) for n, path in shipped_suites().items())
        )
        return
    from harness.plugin_host.host import Host

    host = Host.create(plugins)
    if kind == "plugins":
        _print_plugins(host)
        return
    warn_of_unused_plugins(host)
    if kind == "published":
        _print_published(host)
        return
    if name is not None:
        print_method(name, host, as_json=as_json)
    elif kind == "methods":
        print_methods(host, as_json=as_json)
    else:
        print_table(
            ["task", "kind", "score", "data", "about"],
            (
                (
                    task.name,
                    task.kind,
                    task.score,
                    task.default_source or ("files" if task.key_parts else "generated"),
                    task.summary,
                )
                for task in sorted(host.tasks.values(), key=lambda task: task.name)
            ),
        )


def _print_plugins(host: Host) -> None:
    rows = ((plugin.name, _state(plugin), plugin.origin) for plugin in host.plugins)
    print_table(["plugin", "registers, or error", "from"], rows)


def _state(plugin: PluginInfo) -> str:
    registered = plugin.error or ", ".join(_contributions(plugin))
    return "; ".join(filter(None, [registered, *plugin.left_out, *plugin.overridden]))


def _contributions(plugin: PluginInfo) -> list[str]:
    sections = ["report sections"] if plugin.sections else []
    formats = [f"leaderboard.{name}" for name in plugin.reporters]
    backends = [f"latency backend {name}" for name in plugin.latency_backends]
    engines = [f"engine {name}" for name in plugin.engines]
    trackers = [f"tracker {name}" for name in plugin.trackers]
    registered = [*plugin.methods, *plugin.tasks, *plugin.metrics, *plugin.published]
    return [*registered, *formats, *backends, *engines, *trackers, *sections]


def _print_published(host: Host) -> None:
    """Print the sources of published figures, then their claims about a method over all tasks."""
    sources = _published_sources(host)
    splits = {figures.name: "; ".join(table.split for table in figures.source.tables) for figures in sources}
    rows = (
        (figures.name, ", ".join(figures.methods), splits[figures.name], figures.source.title, figures.source.url)
        for figures in sources
    )
    print_table(["source", "methods", "splits", "title", "url"], rows)
    for figures in sources:
        for claim in figures.source.claims:
            typer.echo(f"\n{figures.name} on {claim.method}: {claim.text}: {claim.value:g}")


def _published_sources(host: Host) -> list[Published]:
    """The sources of published figures, sorted by name. An invalid file is a warning, so that the others are listed."""
    from harness.plugin_host.published_sources import read_registered

    sources = []
    for name in sorted(host.published):
        try:
            sources.append(read_registered(name, host))
        except UserError as error:
            print(f"warning: published figures {name!r} are not loaded: {error}", file=sys.stderr)
    return sources


def _first_comment(path: Path) -> str:
    """The first sentence of the comment at the top of a suite file, which says what the suite is for; may be empty."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("# "), lines))
    return re.split(r"(?<!\bal)\.(?=\s|$)", comment, maxsplit=1)[0]
