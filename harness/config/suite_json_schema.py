"""JSON Schema of the suite file, for editors that complete and check keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic import BaseModel

from harness.config.method_schema import RESERVED, MethodOnTask, MethodSpec
from harness.config.schema import SuiteSpec
from harness.config.task_schema import TaskSpec

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def suite_schema(options: Mapping[str, type[BaseModel]], tasks: Iterable[str]) -> Schema:
    """The JSON Schema of a suite file as users write it, with the options of the methods in `options` by name.

    Entries of `methods` are a name, or `name: {options and reserved keys}`; a name that is not in `options` is accepted
    with any options, since a plugin may define it. So is a task that is not in `tasks`. A file with `include` may omit
    every key, also of nested mappings.
    """
    schema = SuiteSpec.model_json_schema()
    definitions, properties = schema["$defs"], schema["properties"]
    reserved = _properties_of(definitions.pop(MethodSpec.__name__), RESERVED)
    on_task = _properties_of(definitions.pop(MethodOnTask.__name__), {"stages"})
    for name, definition in definitions.items():
        if name != TaskSpec.__name__:  # lists replace those of an included file, mappings are merged with them
            definition.pop("required", None)
    for name, config in sorted(options.items()):
        own = config.model_json_schema()
        definitions |= own.pop("$defs", {})
        per_task = {**reserved["per_task"], "additionalProperties": _closed({**on_task, **own["properties"]})}
        definitions[f"method {name}"] = {
            **_closed({**reserved, "per_task": per_task, **own["properties"]}),
            "type": ["object", "null"],
        }
    properties["methods"]["items"] = _entry(sorted(options))
    named, declared = properties["tasks"]["items"]["oneOf"]
    properties["tasks"]["items"] = {"anyOf": [{"enum": sorted(tasks)}, named, declared]}
    properties["include"] = {"type": "string", "description": "another suite file; keys of this file replace its keys"}
    properties["selection"]["anyOf"].insert(0, {"enum": ["train", "validation"]})  # short for {on: ...}
    required = schema.pop("required")
    schema |= {"$schema": DIALECT, "anyOf": [{"required": ["include"]}, {"required": required}]}
    return cast(Schema, _for_editors(schema))


def _entry(names: list[str]) -> Schema:
    """An item of `methods`."""
    by_name = {name: {"$ref": f"#/$defs/method {name}"} for name in names}
    mapping = {"type": "object", "properties": by_name, "minProperties": 1, "maxProperties": 1}
    return {"anyOf": [{"enum": names}, {"type": "string"}, mapping]}


def _properties_of(definition: Schema, names: frozenset[str] | set[str]) -> Schema:
    return {name: value for name, value in definition["properties"].items() if name in names}


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _for_editors(node: Any) -> Any:
    """The schema without titles, which repeat the names of keys, and without the default null of absent keys."""
    if isinstance(node, list):
        return [_for_editors(item) for item in node]
    if not isinstance(node, dict):
        return node
    # A property may itself be called `title` or `default`; its value is then a schema.
    return {
        key: _for_editors(value)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
    }
