"""`harness list methods`: the methods by group, what they support and read, and the options of one method."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import typer

from harness.api.errors import UserError, nearest
from harness.cli.terminal_tables import print_table

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from harness.api.method import Method
    from harness.plugin_host.host import Host
    from harness.resolution.method_support import MethodSupport

COLUMNS = ["method", "group", "teachers", "tasks", "student", "reads", "about", "options and their defaults"]


def print_methods(host: Host, *, as_json: bool) -> None:
    """Print a table of all methods, sorted by group and name, or the same as JSON."""
    from harness.api.method import MethodGroup

    order = get_args(MethodGroup)
    methods = sorted(host.methods.values(), key=lambda method: (order.index(method.group), method.name))
    if as_json:
        _print_json([_description(method) for method in methods])
    else:
        print_table(COLUMNS, map(_row, methods))


def print_method(name: str, host: Host, *, as_json: bool) -> None:
    """Print a method and its options: default, range of tuning, description.

    Raises:
        UserError: the method does not exist.
    """
    if name not in host.methods:
        raise UserError(f"unknown method {name!r}; {nearest(name, host.methods)}")
    method = host.methods[name]
    if as_json:
        _print_json(_description(method))
        return
    typer.echo(f"{method.name}: {method.summary}\nteachers: {_teachers(method)}\n")
    if rows := list(_option_rows(method)):
        print_table(["option", "default", "tuned over", "meaning"], rows)
    else:
        typer.echo("This method has no options.")


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


def _description(method: type[Method]) -> dict[str, Any]:
    """A method as JSON: all that the tables show, and its stages, version and citation."""
    from harness.resolution.method_support import method_support

    support = method_support(method)
    return {
        "name": method.name,
        "group": method.group,
        "summary": method.summary,
        "version": method.version,
        "citation": method.citation,
        "teachers": {"least": method.min_teachers, "most": method.max_teachers},
        "tasks": list(support.kinds),
        "refused_tasks": dict(support.refused),
        "text_stage": support.text_stage,
        "stages": list(support.stages),
        "student": {
            "equal_widths": support.equal_widths,
            "equal_heads": support.equal_heads,
            "layers_for_12_of_the_teacher": list(support.depths),
        },
        "reads": {"student": list(support.student), "teachers": list(support.teachers)},
        "error": support.error or None,
        "options": [
            {"name": option, "default": default, "tuned_over": tuned or None, "meaning": meaning}
            for (option, _, tuned, meaning), default in zip(_option_rows(method), _values(method), strict=True)
        ],
    }


def _row(method: type[Method]) -> list[str]:
    from harness.resolution.method_support import method_support

    support = method_support(method)
    asked = ["?", "?", support.error] if support.error else [_tasks(support), _student(support), _reads(support)]
    return [method.name, method.group, _teachers(method), *asked, method.summary, _options(method)]


def _teachers(method: type[Method]) -> str:
    if method.min_teachers == method.max_teachers:
        return str(method.min_teachers)
    return f"{method.min_teachers} or more" if method.max_teachers is None else f"up to {method.max_teachers}"


def _tasks(support: MethodSupport) -> str:
    """The kinds of tasks, and ``text`` for a stage on unlabelled text."""
    kinds = list(support.kinds) if support.refused else ["all"]
    return ", ".join([*kinds, *(["text"] if support.text_stage else [])]) or "none"


def _student(support: MethodSupport) -> str:
    """What the method needs of the student's sizes."""
    from harness.resolution.method_support import DEPTHS

    limits = ["equal width"] if support.equal_widths else []
    limits += ["equal heads"] if support.equal_heads else []
    if support.kinds and support.depths != tuple(DEPTHS):
        limits.append(f"{', '.join(map(str, support.depths))} of {len(DEPTHS)} layers")
    return "; ".join(limits) or "any"


def _reads(support: MethodSupport) -> str:
    """The outputs of models that the losses read."""
    return ", ".join(dict.fromkeys((*support.student, *support.teachers)))


def _options(method: type[Method]) -> str:
    return ", ".join(f"{name}={default}" for name, default in _defaults(method).items())


def _defaults(method: type[Method]) -> dict[str, str]:
    """option -> its default, spelled as in a suite."""
    from harness.reporting.formatting import format_value

    return dict(zip(method.Config.model_fields, map(format_value, _values(method)), strict=True))


def _values(method: type[Method]) -> list[Any]:
    """The default of each option, as JSON."""
    return list(method.Config().model_dump(mode="json").values())


def _option_rows(method: type[Method]) -> Iterator[tuple[str, str, str, str]]:
    from harness.api.search_space import space

    dimensions, fields = space(method.Config), method.Config.model_fields
    for name, default in _defaults(method).items():
        yield name, default, str(dimensions.get(name, "")), _meaning(fields[name])


def _meaning(field: FieldInfo) -> str:
    """The description of an option, with the values that it allows if its type lists them."""
    allowed = ", ".join(_choices(field.annotation))
    return "; ".join(part for part in (field.description, allowed and f"allowed: {allowed}") if part)


def _choices(annotation: Any) -> list[str]:
    """The values that a type allows, and ``a list`` if it allows one, too; empty if it does not list all others."""
    from harness.reporting.formatting import format_value

    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    values: list[str] = []
    others: list[str] = []
    for member in members:
        if get_origin(member) is Literal:
            values += map(format_value, get_args(member))
        elif get_origin(member) is list:
            others.append("a list")
        elif member is NoneType:
            others.append("null")
        else:
            return []
    return [*values, *others] if values else []
