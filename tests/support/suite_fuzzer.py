"""Mutated suite files and ``--set`` arguments, from seeds: the same seed always gives the same case."""

from __future__ import annotations

import copy
import json
import random
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from harness.config.schema import SuiteSpec

Path = tuple[str | int, ...]

TEACHER = {"architecture": {"layers": 2, "hidden": 32, "heads": 2, "ffn": 64}, "epochs": 1, "lr": 1e-3}
SUITE: dict[str, Any] = {
    "name": "fuzzed",
    "plugins": ["order.py"],
    "tasks": [
        "order",
        {
            "reviews": {
                "kind": "classification",
                "train": "reviews.csv",
                "validation": 0.3,
                "text": "t",
                "label": "n",
            }
        },
    ],
    "teachers": {"base": {**TEACHER, "floor": {"order": 0.1}}, "seeded": {**TEACHER, "seeds": [3, 4]}},
    "students": {"copied": {"layers": 1, "init": "uniform"}, "new": {"layers": 1, "hidden": 16, "heads": 2, "ffn": 32}},
    "methods": [
        "finetune",
        {"logit_kd": {"label": "kd", "grid": {"temperature": [1.0, 4.0]}, "stages": {"distill": {"lr": 1e-3}}}},
        {"tinybert": {"students": ["copied"], "teachers": ["seeded"], "per_task": {"order": {"stages": {}}}}},
    ],
    "seeds": [1, 2],
    "training": {"epochs": 1, "batch_size": 16, "lr": 1e-3, "max_length": 16, "limit": {"train": 60}},
    "latency": {"batch_sizes": [1], "lengths": [8], "backends": ["eager"]},
    "teacher_cache": {"max_gb": 1.0},
    "published": False,
    "device": "cpu",
}
"""A valid suite. The task `order` is that of `tests.conftest`."""

OPTIONAL: dict[str, Any] = {
    "tuning": {"trials": 2},
    "selection": {"on": "train", "share": 0.2},
    "general": {"data": "texts.txt", "steps": 3},
}
"""Sections that some cases add."""

INCLUDED = {
    "texts.txt": "the sun in the night\na lamp in a cave\n",
    "cycle.yaml": "include: suite.yaml\nname: cycle\n",
    "part.yaml": "training: {lr: 0.002}\n",
    "latin.yaml": b"name: caf\xe9\n",
    "reviews.csv": "t,n\n" + "".join(f"the sun in the night {row},{row % 3}\n" for row in range(60)),
}
"""Files next to the suite."""

SCALARS: list[Any] = [
    *(None, True, False, 0, 1, 2, 3, -1, 7, 10**6, 2**31, 2**32, 2**63, -(2**63), 10**30),
    *(0.0, -0.0, 0.5, 1.0, -1.5, 1e-320, 1e-9, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "~", "/", ".", "..", "../..", "a b", "é", "\0", "\x07", "\u2028", "😀", "[x]", "{}", "*", "**", "\\"),
    *("order", "base", "new", "copied", "kd", "uniform", "random", "last", "sst2", "cpu", "auto", "all", "task"),
    *("bert-base-uncased", "no/model", "texts.txt", "**a/*.txt", "order.py", "part.yaml", "cycle.yaml", "latin.yaml"),
    *(
        "a" * 130,
        "a" * 5000,
        "/" + "b" * 300,
        "~nobody/x",
        "1e400",
        "0x10",
        "1_000",
        "null",
        "\ufeff",
        "%s",
        "{0}",
        "1:2",
    ),
]
NESTED: list[Any] = [[], {}, [[]], [{}], {"": None}, {"a": {"b": {}}}, [1, "a", None], {"order": 1}, ["order", "order"]]

LINES = [
    *(
        "\tname: x",
        "name: again",
        "<<: *a",
        "a: &a {b: *a}",
        "x: !!python/object:os.system ls",
        "x: !!int 3",
        "---",
        "...",
    ),
    *("%YAML 1.1", "? [a, b]\n: c", "1: one", "null: x", "true: y", "include: cycle.yaml", "include: suite.yaml"),
    *("include: part.yaml", "include: latin.yaml", "include: missing.yaml", "include: [part.yaml]", "include: ''"),
    *('x: "\\ud800"', 'name: "\\ud800"', "x: 'open", "x: [", "}", "&a", "*a", "x: |", "x: >\n  y", "# comment"),
    *("l: &l [1, 1]\nm: &m [*l, *l, *l, *l]\nn: &n [*m, *m, *m, *m]\no: [*n, *n, *n, *n]", "x: " + "[" * 400),
]
BYTES = [
    b"\xff",
    b"\x00",
    b"\xef\xbb\xbf",
    b"\x1b",
    b"\t",
    b"\xc3",
    b"\r",
    b"\x0c",
    b"\xed\xa0\x80",
    b"\x85",
    b":",
    b"- ",
]
SETTINGS = [
    *(
        "",
        "=",
        "=1",
        "a",
        "a=",
        "a==b",
        "a..b=1",
        ".a=1",
        "a.=1",
        " =1",
        "training=",
        "training.lr",
        "include=part.yaml",
    ),
    *("training.lr=[", "training.lr={", "training.lr=*a", "training.lr=!!x 1", "seeds.0=3", "methods.0=finetune"),
    *("name.x=1", "teachers.base=null", "students=null", "name=null", "x.y.z=1", "training={lr: 0.1, lr: 0.2}", "é=1"),
    *(
        "seeds=[1, 1]",
        "tasks=[]",
        "methods=[null]",
        "methods=[{}]",
        "training.lr=\t1",
        "name=\x00",
        "name=\ud800",
        "\ud800=1",
    ),
]


@dataclass(frozen=True)
class Case:
    """A suite file and the arguments of ``--set``."""

    content: bytes
    overrides: tuple[str, ...]


def case(seed: int) -> Case:
    """Return the case of a seed: most have one mutation, so that a fault hides no other."""
    rng = random.Random(seed)
    suite = copy.deepcopy(SUITE)
    for name, section in OPTIONAL.items():
        if rng.random() < 0.1:
            suite[name] = copy.deepcopy(section)
    kind = rng.choices(["field", "tree", "text", "set"], [4, 3, 2, 3])[0]
    if kind == "set":
        return Case(dump(suite), tuple(_setting(rng) for _ in range(rng.choice([1, 1, 2]))))
    if kind == "text":
        return Case(_mutated_text(dump(suite), rng), ())
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        (_set_field if kind == "field" else _mutate_tree)(suite, rng)
    return Case(dump(suite), ())


def dump(suite: Any) -> bytes:
    """Dump as YAML. Strings that YAML cannot hold are written as JSON writes them, with escapes."""
    try:
        return yaml.safe_dump(suite, sort_keys=False, allow_unicode=True).encode()
    except UnicodeEncodeError:
        return json.dumps(suite).encode()


def _value(rng: random.Random) -> Any:
    if rng.random() < 0.15:
        return copy.deepcopy(rng.choice(NESTED))
    if rng.random() < 0.03:
        value: Any = 1
        for _ in range(rng.choice([5, 60, 300])):
            value = [value] if rng.random() < 0.5 else {"a": value}
        return value
    return rng.choice(SCALARS)


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from _paths(value[key], (*path, key))


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _mutate_tree(suite: dict[str, Any], rng: random.Random) -> None:
    """Delete, rename, replace, wrap, copy or repeat one value of the tree."""
    paths = list(_paths(suite))
    path = rng.choice(paths)
    parent, key = _at(suite, path[:-1]), path[-1]
    kind = rng.choice(["delete", "rename", "replace", "replace", "wrap", "copy", "add", "repeat"])
    if kind == "delete":
        del parent[key]
    elif kind == "rename" and isinstance(parent, dict):
        parent[str(rng.choice([f"{key}s", str(key)[:-1], "a b", "", "é", "<<", "include"]))] = parent.pop(key)
    elif kind == "wrap":
        parent[key] = rng.choice([[parent[key]], {"a": parent[key]}, str(parent[key])])
    elif kind == "copy":
        parent[key] = copy.deepcopy(_at(suite, rng.choice(paths)))
    elif kind == "add" and isinstance(parent[key], dict):
        parent[key][str(rng.choice(["extra", "options", "name", "", "order", *SUITE]))] = _value(rng)
    elif kind == "repeat" and isinstance(parent[key], list):
        parent[key] *= rng.choice([0, 2, 40])
    else:
        parent[key] = _value(rng)


def _set_field(suite: dict[str, Any], rng: random.Random) -> None:
    """Set one field of the schema to a value of its type, at or beyond its limits, or to anything."""
    path, annotation, metadata = rng.choice(FIELDS)
    value = _value(rng) if rng.random() < 0.3 else _typed(annotation, metadata, rng)
    inner: Any = suite
    for key in path[:-1]:
        if isinstance(inner, list):
            index = int(key)
            inner += [{}] * (index + 1 - len(inner))  # an earlier mutation may have emptied it
            if not isinstance(inner[index], dict | list):
                inner[index] = {}
            inner = inner[index]
            continue
        if not isinstance(inner.get(key), dict | list):
            inner[key] = copy.deepcopy(OPTIONAL.get(str(key), {}))
        inner = inner[key]
    inner[path[-1]] = value


def _typed(annotation: Any, metadata: Sequence[Any], rng: random.Random) -> Any:
    """Return a value of a type; numbers are near the limits of the field or of ordinary size."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _typed(arguments[0], [*metadata, *arguments[1:]], rng)
    if origin in (Union, types.UnionType):
        return _typed(rng.choice(arguments), metadata, rng)
    if origin is Literal:
        return rng.choice(arguments)
    if origin is list:
        return [_typed(arguments[0], (), rng) for _ in range(rng.choice([0, 1, 2, 3]))]
    if origin is dict:
        keys = ["order", "sst2", "base", "kd", "temperature", "distill", "x"]
        return {rng.choice(keys): _typed(arguments[1], (), rng) for _ in range(rng.choice([0, 1, 2]))}
    if annotation in (int, float):
        limits = [limit for item in _flat(metadata) for limit in _limits(item)]
        number = rng.choice([*limits, *limits, 0, 1, 2, 3, 8, 16, 1000, 10**9, 10**12])
        return annotation(number + rng.choice([0, 0, 1, -1] if annotation is int else [0, 0, 1e-9, -1e-9, 0.5]))
    if annotation is bool:
        return rng.random() < 0.5
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.items()
        return {
            name: _typed(field.annotation, field.metadata, rng)
            for name, field in fields
            if field.is_required() or rng.random() < 0.3
        }
    return rng.choice([value for value in SCALARS if isinstance(value, str)]) if annotation is str else _value(rng)


def _flat(metadata: Sequence[Any]) -> Iterator[Any]:
    for item in metadata:
        yield from getattr(item, "metadata", None) or [item]


def _limits(constraint: Any) -> list[float]:
    return [limit for name in ("ge", "gt", "le", "lt") if (limit := getattr(constraint, name, None)) is not None]


IN_LISTS: dict[str, Path] = {"methods": (1, "logit_kd"), "tasks": (1, "reviews")}
"""Keys whose values are lists -> the place of an entry with settings."""


def _fields(model: type[BaseModel], path: Path = ()) -> Iterator[tuple[Path, Any, Sequence[Any]]]:
    """Yield every field of a model and of the models inside, below the entries that `SUITE` has."""
    for name, field in model.model_fields.items():
        yield (*path, name), field.annotation, field.metadata
        for inner in _models(field.annotation):
            entries = {
                "teachers": ["base", "seeded"],
                "students": ["copied", "new"],
                "per_task": ["order"],
                "stages": ["distill"],
            }
            if name in IN_LISTS:
                yield from _fields(inner, (*path, name, *IN_LISTS[name]))
            else:
                for entry in entries.get(name, [None]):
                    yield from _fields(inner, (*path, name, *([entry] if entry else [])))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


FIELDS = list(_fields(SuiteSpec))


def _mutated_text(content: bytes, rng: random.Random) -> bytes:
    """Insert, delete or repeat lines or bytes."""
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    kind = rng.choice(["line", "line", "byte", "delete", "repeat", "cut", "swap", "indent"])
    if kind == "line":
        lines.insert(rng.choice([0, place, len(lines)]), rng.choice(LINES).encode())
    elif kind == "byte":
        position = rng.randrange(len(content))
        return content[:position] + rng.choice(BYTES) + content[position:]
    elif kind == "delete":
        del lines[place]
    elif kind == "repeat":
        lines.insert(place, lines[place])
    elif kind == "cut":
        return content[: rng.randrange(len(content))]
    elif kind == "swap":
        other = rng.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    else:
        lines[place] = rng.choice([b" ", b"\t", b"    "]) + lines[place]
    return b"\n".join(lines)


def _setting(rng: random.Random) -> str:
    if rng.random() < 0.2:
        return rng.choice(SETTINGS)
    path, annotation, metadata = rng.choice(FIELDS)
    value = _value(rng) if rng.random() < 0.4 else _typed(annotation, metadata, rng)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5) if rng.random() < 0.8 else str(value)
    return f"{'.'.join(map(str, path))}={text}"
