"""Finds and imports plugins: entry points of installed packages, and files or folders named by the user."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.machinery import FileFinder, SourceFileLoader
from importlib.metadata import Distribution, entry_points
from pathlib import Path
from types import CodeType, ModuleType

from harness.api.errors import Problem, UserError, describe, nearest
from harness.plugin_host import api_version

GROUP = "harness"
"""The entry-point group of plugins."""

REPORT_GROUP = "harness.report"
"""The entry-point group of report plugins. `harness report` loads only these and so does not import torch."""

DISTRIBUTION = "kd-harness"
"""The distribution whose plugins come before those of other distributions."""

NAMED, SHIPPED, GUEST = range(3)
"""Ranks of plugins: named by the user, of kd-harness, installed by another distribution."""


@dataclass(frozen=True)
class DiscoveredPlugin:
    """A plugin that was found, with the imported object or the problem that prevented the import.

    Attributes:
        name: the name of the entry point, subpackage or file.
        origin: the entry point and its distribution, or the path; for messages.
        named: whether the user named it. Then its problems are errors, not warnings.
        group: the entry-point group.
        distribution: the name of the installed distribution.
        plugin: the imported module or object; None if the import failed.
        problem: why the import failed.
    """

    name: str
    origin: str
    named: bool
    group: str | None = None
    distribution: str | None = None
    plugin: object | None = None
    problem: Problem | None = None

    @property
    def rank(self) -> int:
        """Which plugin provides a name that several register: that of the lowest rank."""
        if self.named:
            return NAMED
        return SHIPPED if self.distribution == DISTRIBUTION else GUEST

    @property
    def file(self) -> Path | None:
        """The resolved file of an imported module, None if it has none."""
        file = getattr(self.plugin, "__file__", None)
        return Path(file).resolve() if isinstance(file, str) else None


def installed(*groups: str) -> Iterator[DiscoveredPlugin]:
    """Yield the plugins of installed packages, group by group, sorted by name. Import errors are in `problem`."""
    everything = entry_points()  # once for all groups: it reads a file of each installed distribution
    names: dict[int, str] = {}
    entries = [entry for group in groups for entry in everything.select(group=group)]
    for entry in sorted(entries, key=lambda entry: (groups.index(entry.group), entry.name, entry.value)):
        distribution = _name(entry.dist, names) if entry.dist else None
        origin = f"entry point {entry.name!r} of {distribution or 'an unnamed distribution'}"
        found = DiscoveredPlugin(entry.name, origin, named=False, group=entry.group, distribution=distribution)
        yield _imported(found, entry.load, entry.module)


def _name(distribution: Distribution, known: dict[int, str]) -> str:
    """The name of a distribution. To look it up parses the metadata, so names of distributions are kept in `known`."""
    if id(distribution) not in known:
        known[id(distribution)] = distribution.name
    return known[id(distribution)]


def _imported(found: DiscoveredPlugin, load: Callable[[], object], module: str) -> DiscoveredPlugin:
    """Return the plugin with the object that `load` imports from `module`, or with the problem that prevents it."""
    try:
        return replace(found, plugin=load())
    except (Exception, SystemExit) as error:
        message = f"cannot be imported: {describe(error)}"
        if (place := place_of(error, module)) is not None:
            message += f" ({place[0]}:{place[1]})"
            message += _stated_version(place[0])
        return replace(found, plugin=None, problem=Problem(message, found.origin))


def subpackages(package: DiscoveredPlugin) -> list[DiscoveredPlugin]:
    """Import the subpackages of a package as plugins; empty if `package` is not a package.

    Plain modules, `tests` and names with a leading underscore are skipped. A subpackage that cannot be imported does
    not affect the others.
    """
    if not isinstance(package.plugin, ModuleType):
        return []
    infos = pkgutil.iter_modules(getattr(package.plugin, "__path__", []))
    names = sorted(info.name for info in infos if info.ispkg and not info.name.startswith("_") and info.name != "tests")
    return [_load_subpackage(package, package.plugin.__name__, name) for name in names]


def _load_subpackage(package: DiscoveredPlugin, parent: str, name: str) -> DiscoveredPlugin:
    origin = str(Path(package.origin) / name) if package.named else f"{parent}.{name} ({package.origin})"
    module = f"{parent}.{name}"
    return _imported(replace(package, name=name, origin=origin), lambda: importlib.import_module(module), module)


def at_paths(paths: Iterable[str | Path]) -> Iterator[DiscoveredPlugin]:
    """Yield the plugins at paths: .py files, packages, or folders of .py files and packages.

    Raises `UserError` if there is no plugin at a path.
    """
    from harness.config.paths import expand_path  # imports pydantic, which is needed only here

    seen: set[Path] = set()
    for user_path in paths:
        for path in _plugin_files(expand_path(str(user_path), Path())):
            if path not in seen:
                seen.add(path)
                yield _load_path(path)


def module_names(path: Path) -> dict[str, str]:
    """Return the names of the modules of the plugins at `path`, by their place relative to it.

    Raises:
        UserError: there is no plugin.
    """
    origins = [_origin(file) for file in _plugin_files(path)]
    return {origin.relative_to(path.resolve()).as_posix(): _module_name(origin) for origin in origins}


def _origin(file: Path) -> Path:
    """Return the plugin that `file` belongs to: the file, or its folder if it is a package."""
    return file.parent if file.name == "__init__.py" else file


def _module_name(origin: Path) -> str:
    """Return the name of a plugin's module.

    The hash keeps files of the same name apart, and the prefix avoids shadowing installed modules.
    """
    return f"harness_plugin_{origin.stem}_{hashlib.sha256(str(origin).encode()).hexdigest()[:8]}"


def _plugin_files(path: Path) -> list[Path]:
    """Return the absolute path of the file to import for each plugin at `path`. Raises `UserError` if there is none."""
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = nearest(path.name, siblings) if siblings else ""
        hint = f"; {close}" if close.startswith("did you mean") else ""
        raise UserError(Problem(f"plugin not found: no such .py file or folder{hint}", str(path)))
    path = path.resolve()
    if path.is_file():
        if path.suffix != ".py":
            raise UserError(Problem("expected a .py file or a folder with an __init__.py", str(path)))
        return [path]
    if (path / "__init__.py").is_file():
        return [path / "__init__.py"]
    files = [*path.glob("[!_.]*.py"), *path.glob("[!_.]*/__init__.py")]
    files = sorted(file for file in files if not file.name.startswith(("test_", "conftest")))
    if not files:
        raise UserError(Problem("no plugin in this folder: it has no __init__.py and no .py file", str(path)))
    return files


def _load_path(file: Path) -> DiscoveredPlugin:
    package = file.name == "__init__.py"
    origin = str(_origin(file))
    name = Path(origin).stem
    module_name = _module_name(_origin(file))
    _forget(module_name)
    if package:
        for folder in {path.parent for path in file.parent.rglob("*.py")}:
            sys.path_importer_cache[str(folder)] = FileFinder(str(folder), (_FromSource, [".py"]))
    spec = importlib.util.spec_from_file_location(
        module_name,
        file,
        loader=_FromSource(module_name, str(file)),
        submodule_search_locations=[origin] if package else None,
    )
    if spec is None or spec.loader is None:
        return DiscoveredPlugin(name, origin, named=True, problem=Problem("cannot be imported", origin))
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # before execution: dataclasses and relative imports look it up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        _forget(module_name)
        place = place_of(error, module_name)
        where = f"{place[0]}:{place[1]}" if place else str(file)
        message = f"cannot be imported: {describe(error)}{_stated_version(file)}"
        return DiscoveredPlugin(name, origin, named=True, problem=Problem(message, where))
    return DiscoveredPlugin(name, origin, named=True, plugin=module)


class _FromSource(SourceFileLoader):
    """Loader that ignores the bytecode cache, which misses edits that keep a file's size and modification time."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _forget(module_name: str) -> None:
    """Remove a module and its submodules from `sys.modules`, so that changed files are read again."""
    for name in [n for n in sys.modules if n == module_name or n.startswith(f"{module_name}.")]:
        del sys.modules[name]


def place_of(error: BaseException, module: str) -> tuple[Path, int] | None:
    """Return the file and line of a syntax error, or else the last line of the plugin's package in the traceback.

    The package of a module is that of its first name; None if the traceback has no line of it.
    """
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return Path(error.filename), error.lineno
    package = module.partition(".")[0]
    frames = [
        (Path(frame.f_code.co_filename), line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == package
    ]
    return frames[-1] if frames else None


def _stated_version(file: Path) -> str:
    """Return a clause if the file, which cannot be imported, states that it needs another version of the interface."""
    mismatch = api_version.mismatch_in_source(file)
    return f"; {mismatch}" if mismatch else ""
