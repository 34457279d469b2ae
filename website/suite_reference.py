"""Reference pages of the suite file, from its JSON Schema: the keys, and the options of every method."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Set
from typing import Any

from harness.config.method_schema import RESERVED
from harness.config.schema import SuiteSpec
from website.repository_files import ROOT

Schema = Mapping[str, Any]

NAMES = {None: "any value", "boolean": "true or false", "string": "text"}
"""JSON Schema's types -> what the page calls them."""

LARGEST_SHOWN = 10**6
"""Bounds of numbers from here on only exclude absurd values, and are not shown."""

METHOD = "method "
"""How names of the definitions of methods begin."""

KEYS = """# Suite reference

Every key of a suite file, generated from the schema with which suites are validated. [Suite files](../suites.md)
explains them with examples. `harness schema suite` prints the same as JSON Schema, with which
[editors](../suites.md#in-an-editor) complete keys.
"""

OPTIONS = """# Options of the methods

The options of every shipped method, generated from the schema. In a suite: `methods: [NAME: {OPTION: VALUE}]`. A
method's page explains the losses that the options change, and gives their sources. Every method also takes the keys of
[an entry of `methods`](suite.md#method).
"""


def suite_page() -> str:
    """The keys of a suite file: a table for the top level, and one for each nested mapping."""
    schema = SuiteSpec.model_json_schema()
    nested = schema["$defs"]
    nested["MethodSpec"] = _only(nested["MethodSpec"], RESERVED)
    nested["MethodOnTask"] = _only(nested["MethodOnTask"], {"stages"})
    schema["properties"]["include"] = {"type": "string", "description": "a suite file to merge this one over"}
    top_level = {**schema, "description": ""}
    sections = [_section(_title(name), nested[name], nested) for name in _in_order_of_use(schema, nested)]
    return "\n".join([KEYS, _section("Top level", top_level, nested), *sections])


def options_page() -> str:
    """The options of every method: a table for each, then one for each nested mapping."""
    definitions = json.loads((ROOT / "suites" / "suite.schema.json").read_text(encoding="utf-8"))["$defs"]
    of_suites = SuiteSpec.model_json_schema()["$defs"]
    nested = {name: d for name, d in definitions.items() if not name.startswith(METHOD) and name not in of_suites}
    sections = [_method(name, d, nested) for name, d in definitions.items() if name.startswith(METHOD)]
    sections += [_section(_title(name), definition, nested) for name, definition in nested.items()]
    return "\n".join([OPTIONS, *sections])


def _method(name: str, definition: Schema, nested: Mapping[str, Schema]) -> str:
    method = name.removeprefix(METHOD)
    own = _only(definition, set(definition["properties"]) - RESERVED)
    table = _table(own, nested) if own["properties"] else "It has no options.\n"
    return f"## {method}\n\n[Losses and sources of {method}](../methods/{method}.md)\n\n{table}"


def _in_order_of_use(schema: Schema, nested: Mapping[str, Schema]) -> list[str]:
    """The names of nested mappings, as they are first referred to from the top level down."""
    names: dict[str, None] = {}
    queue = [schema["properties"]]
    for properties in queue:
        for name in re.findall(r"#/\$defs/(\w+)", json.dumps(properties)):
            if name not in names:
                names[name] = None
                queue.append(nested[name]["properties"])
    return list(names)


def _only(definition: Schema, names: Set[str]) -> dict[str, Any]:
    properties = {name: field for name, field in definition["properties"].items() if name in names}
    return {**definition, "properties": properties}


def _section(title: str, definition: Schema, nested: Mapping[str, Schema]) -> str:
    return f"## {title}\n\n{definition.get('description', '')}\n\n{_table(definition, nested)}"


def _table(definition: Schema, definitions: Schema) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    required = definition.get("required", ())
    for key, field in definition["properties"].items():
        default = "required" if key in required else _default(field)
        rows.append(f"| `{key}` | {_cell(_type(field, definitions))} | {default} | {_cell(_meaning(field))} |")
    return "\n".join([*rows, ""])


def _type(field: Schema, definitions: Schema) -> str:
    """The type of a value in words, with a link to the table of a nested mapping."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{_title(name).lower()}](#{_title(name).lower().replace(' ', '-')})" if name in definitions else name
    if choices := field.get("anyOf") or field.get("oneOf"):
        return ", or ".join(dict.fromkeys(text for choice in choices if (text := _type(choice, definitions))))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    match field.get("type"):
        case "array":
            return f"list of {_type(field['items'], definitions)}" if "items" in field else "list"
        case "object" | ["object", "null"]:
            return _mapping(field, definitions)
        case "null":
            return ""
        case kind:
            return NAMES.get(kind, str(kind)) + _bounds(field)


def _mapping(field: Schema, definitions: Schema) -> str:
    values = [*field.get("patternProperties", {}).values()]
    if isinstance(field.get("additionalProperties"), Mapping):
        values.append(field["additionalProperties"])
    return f"mapping: name -> {_type(values[0], definitions)}" if values else "mapping"


def _bounds(field: Schema) -> str:
    """The bounds of a number. Those that only exclude absurd values are left out."""
    names = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [
        f"{sign} {field[name]:g}" for name, sign in names.items() if field.get(name, LARGEST_SHOWN) < LARGEST_SHOWN
    ]
    return f" {', '.join(bounds)}" if bounds else ""


def _default(field: Schema) -> str:
    if field.get("default") is None or (field["default"] in ({}, [])):
        return "none"
    if isinstance(field["default"], Mapping):
        return "its defaults"
    value = field["default"]
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _meaning(field: Schema) -> str:
    return str(field.get("description", ""))


def _title(name: str) -> str:
    """The heading of a definition: ``TeacherCacheSpec`` -> ``Teacher cache``."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name.removesuffix("Spec"))
    return words.strip().capitalize()


def _cell(text: str) -> str:
    """Text in a table: on one line, without bars. ``<`` outside of code would begin an HTML element."""
    parts = re.split("(`[^`]*`)", text.replace("\n", " ").replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)
