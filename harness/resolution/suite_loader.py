"""Reads and checks a suite file: every problem is told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.api.errors import UserError
from harness.config.diagnostics import Diagnostics
from harness.config.includes import override, read_included
from harness.config.paths import expand_path, locate
from harness.config.schema import SuiteSpec
from harness.config.yaml_tree import Node
from harness.plugin_host.host import Host
from harness.resolution import method_rows, references
from harness.resolution.references import get_list, get_mapping
from harness.resolution.suite import MethodVariant, Suite

if TYPE_CHECKING:
    from harness.api.task import Task


@dataclass(frozen=True)
class LoadedSuite:
    """A suite, which is plain data, and the host with the plugins that it uses."""

    suite: Suite
    host: Host


def load(path: str | Path, *, overrides: Sequence[str] = (), plugins: Sequence[str] = ()) -> LoadedSuite:
    """Read the suite at `path`, a file or the name of a shipped suite, and load the plugins that it uses.

    Args:
        path: the file.
        overrides: ``a.b.c=VALUE``, as given to ``--set``.
        plugins: .py files or folders, as given to ``--plugin``.

    Raises:
        UserError: with all problems of the file, each with the line of its key.
    """
    file = locate(path)
    root = override(read_included(file), overrides)
    diagnostics = Diagnostics(root)
    root = diagnostics.root = _given(method_rows.normalise(root, diagnostics))
    data = root.plain()
    spec = _validate(data, diagnostics)
    host = _host(plugins, data, diagnostics)
    places = references.find_models(data, diagnostics)
    references.check_students(data, diagnostics)
    references.check_distinct_names(data, diagnostics)
    references.check_tuning(data, diagnostics)
    references.check_teacher_seeds(data, diagnostics)
    text = references.find_text(data, diagnostics)
    figures = references.find_published(data, host, diagnostics) if host else ()
    tasks, sources, variants = _look_up(data, host, diagnostics) if host else ((), {}, ())
    diagnostics.raise_if_any()
    assert spec is not None  # else there were diagnostics
    assert host is not None
    suite = Suite(spec, file.resolve(), tasks, variants, sources, places, text, root, figures)
    return LoadedSuite(suite, host)


def _look_up(
    data: Mapping[str, Any], host: Host, diagnostics: Diagnostics
) -> tuple[tuple[Task, ...], dict[str, str], tuple[MethodVariant, ...]]:
    """The tasks, sources and variants that a suite names."""
    names = references.find_tasks(data, host, diagnostics)
    references.check_latency_backends(data, host, diagnostics)
    variants = method_rows.expand(
        [entry for entry in get_list(data, "methods") if isinstance(entry, dict)],
        host=host,
        teachers=list(get_mapping(data, "teachers")),
        students=list(get_mapping(data, "students")),
        general=data.get("general") is not None,
        diagnostics=diagnostics,
    )
    return tuple(host.tasks[name] for name in names), references.find_sources(data, names, host, diagnostics), variants


def _given(root: Node) -> Node:
    """`root` without keys that are left empty, so that their defaults hold."""
    return Node({key: node for key, node in root.value.items() if node.value is not None}, root.mark)


def _validate(data: Mapping[str, Any], diagnostics: Diagnostics) -> SuiteSpec | None:
    try:
        return SuiteSpec.model_validate(data)
    except ValidationError as error:
        diagnostics.add_validation_error(error, SuiteSpec)
        return None


def _host(plugins: Sequence[str], data: Mapping[str, Any], diagnostics: Diagnostics) -> Host | None:
    """The host with all plugins that are asked for; those of the suite are relative to the file that names them."""
    paths: list[str | Path] = list(plugins)
    for index, value in enumerate(get_list(data, "plugins")):
        if isinstance(value, str):
            try:
                path = expand_path(value, diagnostics.root.mark_of(("plugins", index)).folder)
            except UserError as error:
                diagnostics.add(("plugins", index), error.problems[0].message)
                continue
            if path.exists():
                paths.append(path)
            else:
                diagnostics.add(("plugins", index), f"there is no file or folder {path}")
    try:
        return Host.create(paths)
    except UserError as error:
        diagnostics.extend(error.problems)
        return None
