"""`harness new-method` and `harness new-task`: write a plugin that works, with a test and a README."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import typer

import harness
from harness.api.errors import UserError
from harness.api.names import NAME_RULE, is_name
from harness.cli import plugin_templates as templates


def new_method(name: str, to: Path, *, package: bool) -> None:
    """Write a method that trains and passes its checks to the folder `to`/`name`, or a package with an entry point.

    Raises:
        UserError: the name is invalid, that of an existing method or that of a package, or the folder exists.
    """
    from harness.plugin_host.host import Host

    if name in (methods := Host.create().methods):
        raise UserError(f"there is a method {name!r} already, in {methods[name].__module__}; choose another name")
    root = to / name
    commands = [f"harness check {name if package else root}", f"pytest {root}"]
    commands.append(f"harness run quick{_plugin(root, package)} --set 'methods=[finetune, {name}]'")
    sources = {"__init__.py": templates.METHOD}
    _write(name, root, sources, templates.METHOD_TEST, templates.METHOD_README, commands, package=package)


def new_task(name: str, to: Path, *, package: bool) -> None:
    """Write a task with examples to replace to the folder `to`/`name`, or a package. Raises like `new_method`."""
    from harness.plugin_host.host import Host

    if name in Host.create().tasks:
        raise UserError(f"there is a task {name!r} already; choose another name")
    root = to / name
    commands = [f"pytest {root}", f"harness run quick{_plugin(root, package)} --set 'tasks=[{name}]'"]
    sources = {
        "__init__.py": templates.TASK,
        "train.csv": templates.examples(32),
        "validation.csv": templates.examples(8, first=32),
    }
    _write(name, root, sources, templates.TASK_TEST, templates.TASK_README, commands, package=package)


def _plugin(root: Path, package: bool) -> str:
    return "" if package else f" --plugin {root}"


def _write(
    name: str, root: Path, sources: Mapping[str, str], test: str, readme: str, commands: list[str], *, package: bool
) -> None:
    """Write all files of the plugin, and print their paths and the commands to try it."""
    if not is_name(name):
        raise UserError(f"invalid name {name!r}; allowed: {NAME_RULE}")
    if root.exists():
        raise UserError(f"{root} exists already; choose another name, or another folder with --to")
    module = _module(name)
    _refuse_taken(module, _project(name) if package else None)
    code, tests = (root / module, root / "tests") if package else (root, root)
    use = "\n".join(["```sh", *([f"pip install -e {root}"] if package else []), *commands, "```"])
    plugin = f'Path(__file__).parents[1] / "{module}"' if package else "Path(__file__).parent"
    words = {
        "NAME": name,
        "CLASS": _class_name(name),
        "MODULE": module,
        "PROJECT": _project(name),
        "USE": use,
        "PLUGIN": plugin,
    }
    if "from pathlib" not in test:
        test = test.replace('"""\n\n', '"""\n\nfrom pathlib import Path\n\n', 1)
    files = {code / file: text for file, text in sources.items()}
    files |= {tests / f"test_{module}.py": test, root / "README.md": readme}
    files |= {root / "pyproject.toml": templates.PYPROJECT} if package else {}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.sub(r"@([A-Z]+)@", lambda match: words[match[1]], text), encoding="utf-8")
        typer.echo(f"wrote {path}")
    typer.echo("\n" + "\n".join([f"pip install -e {root}", *commands] if package else commands))


def _module(name: str) -> str:
    """The name as that of a Python module."""
    module = re.sub(r"\W", "_", name)
    return f"kd_{module}" if module[0].isdigit() or keyword.iskeyword(module) else module


def _project(name: str) -> str:
    """The name as that of a distribution (PEP 508): without ``+``, and a letter or digit last."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).rstrip("._-")


def _refuse_taken(module: str, project: str | None) -> None:
    """Raise `UserError` if the plugin would hide a module, or replace an installed distribution."""
    if module in sys.stdlib_module_names or module in sys.modules or find_spec(module):
        raise UserError(
            f"there is a Python module {module!r} already, which the plugin would hide; choose another name"
        )
    if project is not None and _is_installed(project):
        raise UserError(
            f"a package {project!r} is installed already, which the plugin would replace; choose another name"
        )


def _is_installed(project: str) -> bool:
    try:
        distribution(project)
    except PackageNotFoundError:
        return False
    return True


def _class_name(name: str) -> str:
    """The name as that of a class, which is neither a keyword, such as None, nor a name that plugins import."""
    parts = re.split(r"[^A-Za-z0-9]+", _module(name))
    joined = "".join(part[:1].upper() + part[1:] for part in parts if part)
    return f"Kd{joined}" if keyword.iskeyword(joined) or joined in harness.__all__ else joined
