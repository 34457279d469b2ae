"""`harness list`: methods, tasks, suites, plugins and published figures."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from harness.api.errors import UserError, nearest
from harness.cli.stderr_warnings import warn_of_unused_plugins
from harness.cli.terminal_tables import print_table

if TYPE_CHECKING:
    from pathlib import Path

    from harness.api.method import Method
    from harness.config.published_figures import Published
    from harness.plugin_host.host import Host, PluginInfo


def print_list(kind: str, plugins: Sequence[str], name: str | None = None) -> None:
    """Print a table of methods, tasks, suites, plugins or published figures, or the options of the method `name`.

    Raises:
        UserError: the method does not exist, `name` is given with another kind, or a plugin in `plugins` is broken.
    """
    if name is not None and kind != "methods":
        raise UserError(f"`harness list {kind}` takes no name, found {name!r}; use `harness list methods METHOD`")
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
    warn_of_unused_plugins(host)
    if kind == "published":
        _print_published(host)
        return
    if name is not None:
        _print_method(name, host)
    elif kind == "methods":
        rows = ((m.name, _teachers(m), m.summary, _options(m)) for m in sorted(host.methods.values(), key=_by_name))
        print_table(["method", "teachers", "about", "options and their defaults"], rows)
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


def _by_name(method: type[Method]) -> str:
    return method.name


def _teachers(method: type[Method]) -> str:
    if method.min_teachers == method.max_teachers:
        return str(method.min_teachers)
    return f"{method.min_teachers} or more" if method.max_teachers is None else f"up to {method.max_teachers}"


def _options(method: type[Method]) -> str:
    return ", ".join(f"{name}={default}" for name, default in _defaults(method).items())


def _defaults(method: type[Method]) -> dict[str, str]:
    """option -> its default, spelled as in a suite."""
    from harness.reporting.formatting import format_value

    return {name: format_value(value) for name, value in method.Config().model_dump(mode="json").items()}


def _print_method(name: str, host: Host) -> None:
    """Print a method and its options: default, range of tuning, description."""
    if name not in host.methods:
        raise UserError(f"unknown method {name!r}; {nearest(name, host.methods)}")
    method = host.methods[name]
    typer.echo(f"{method.name}: {method.summary}\nteachers: {_teachers(method)}\n")
    if rows := list(_option_rows(method)):
        print_table(["option", "default", "tuned over", "meaning"], rows)
    else:
        typer.echo("This method has no options.")


def _option_rows(method: type[Method]) -> Iterator[tuple[str, str, str, str]]:
    from harness.api.search_space import space

    dimensions, fields = space(method.Config), method.Config.model_fields
    for name, default in _defaults(method).items():
        yield name, default, str(dimensions.get(name, "")), fields[name].description or ""


def _first_comment(path: Path) -> str:
    """The first line of a suite file if it is a comment, which says what the suite is for, else an empty string."""
    line = path.read_text(encoding="utf-8").partition("\n")[0]
    return line.removeprefix("#").strip() if line.startswith("#") else ""
