"""Loads a suite file: reads it, validates it and loads its plugins. All problems are reported at once."""

from __future__ import annotations

import json
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
from harness.config.yaml_tree import Mark, Node, parse
from harness.plugin_host.host import Host
from harness.resolution import method_rows, references, row_teachers, task_entries
from harness.resolution.references import get_list, get_mapping
from harness.resolution.suite import MethodVariant, Suite

if TYPE_CHECKING:
    from harness.api.task import Task


@dataclass(frozen=True)
class LoadedSuite:
    """A suite and the plugin host with the plugins that it uses."""

    suite: Suite
    host: Host


def load(path: str | Path, *, overrides: Sequence[str] = (), plugins: Sequence[str] = ()) -> LoadedSuite:
    """Load a suite and the plugins that it uses.

    Args:
        path: a suite file, or the name of a shipped suite.
        overrides: ``a.b.c=VALUE``, the arguments of ``--set``.
        plugins: .py files or folders, the arguments of ``--plugin``.

    Raises:
        UserError: with all problems of the file, each with its file and line.
    """
    file = locate(path)
    return _load_tree(override(read_included(file), overrides), file.resolve(), plugins)


def load_mapping(
    content: Mapping[str, Any], *, overrides: Sequence[str] = (), plugins: Sequence[str] = ()
) -> LoadedSuite:
    """Load a suite from the content of a suite file. Its paths are relative to the working directory.

    Args:
        content: the keys of a suite file with JSON-compatible values. Other objects, such as paths, become strings.
        overrides, plugins: see `load`.

    Raises:
        UserError: with all problems of the suite.
    """
    folder = Path.cwd()
    if "include" in content:
        raise UserError("include: a suite given as a mapping cannot include a file; merge the mappings instead")
    root = parse(json.dumps(dict(content), default=str), Mark("suite", 0, folder))
    return _load_tree(override(root, overrides), folder / "suite.yaml", plugins)


def _load_tree(root: Node, file: Path, plugins: Sequence[str]) -> LoadedSuite:
    """Validate the tree of a suite. `file` is its file, or the path that a suite without a file would have."""
    diagnostics = Diagnostics(root)
    root = task_entries.check_form(method_rows.normalize(root, diagnostics), diagnostics)
    root = diagnostics.root = _drop_nulls(root)
    data = root.plain()
    spec = _validate(data, diagnostics)
    host = _host(plugins, data, diagnostics)
    models = references.find_models(data, diagnostics)
    references.check_students(data, diagnostics)
    references.check_distinct_names(data, diagnostics)
    references.check_tuning(data, diagnostics)
    references.check_teacher_seeds(data, diagnostics)
    text = references.find_text(data, diagnostics)
    published = references.find_published(data, host, diagnostics) if host else ()
    tasks, sources, variants = _look_up(data, host, diagnostics) if host else ((), {}, ())
    rows = row_teachers.find(spec, variants, diagnostics) if spec and host else {}
    diagnostics.raise_if_any()
    assert spec is not None  # otherwise raise_if_any has raised
    assert host is not None
    of_plugins = frozenset(t.name for t in tasks if t.name in host.tasks and not host.is_shipped("task", t.name))
    suite = Suite(spec, file, tasks, variants, sources, models, text, root, published, rows, of_plugins)
    return LoadedSuite(suite, host)


def _look_up(
    data: dict[str, Any], host: Host, diagnostics: Diagnostics
) -> tuple[tuple[Task, ...], dict[str, str], tuple[MethodVariant, ...]]:
    """Return the tasks, sources and method variants of the suite."""
    tasks = {**host.tasks, **task_entries.declare(data, host, diagnostics)}
    names = references.find_tasks(data, tasks, host, diagnostics)
    references.check_latency_backends(data, host, diagnostics)
    references.check_trackers(data, host, diagnostics)
    variants = method_rows.expand(
        [entry for entry in get_list(data, "methods") if isinstance(entry, dict)],
        host=host,
        teachers=get_mapping(data, "teachers"),
        students=list(get_mapping(data, "students")),
        general=data.get("general") is not None,
        diagnostics=diagnostics,
    )
    selected = tuple(tasks[name] for name in names)
    return selected, references.find_sources(data, selected, tasks, diagnostics), variants


def _drop_nulls(root: Node) -> Node:
    """Remove top-level keys without a value, so that their defaults apply."""
    return Node({key: node for key, node in root.value.items() if node.value is not None}, root.mark)


def _validate(data: Mapping[str, Any], diagnostics: Diagnostics) -> SuiteSpec | None:
    try:
        return SuiteSpec.model_validate(data)
    except ValidationError as error:
        diagnostics.add_validation_error(error, SuiteSpec)
        return None


def _host(plugins: Sequence[str], data: Mapping[str, Any], diagnostics: Diagnostics) -> Host | None:
    """Load the plugins of the command line and of the suite. Suite paths are relative to the file that lists them."""
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
                diagnostics.add(("plugins", index), f"file or folder not found: {path}")
    try:
        return Host.create(paths)
    except UserError as error:
        diagnostics.extend(error.problems)
        return None
