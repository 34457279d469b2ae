"""The version of the plugin interface that a plugin may state with ``harness_api = "1"``."""

from __future__ import annotations

import ast
from pathlib import Path

from harness import __version__
from harness.api import API_VERSION

STATEMENT = "harness_api"
"""The name of the module attribute with which a plugin states the version that it was written for."""


def mismatch(plugin: object) -> str | None:
    """Return why a plugin does not fit this version of the interface; None if it fits or states no version."""
    return _mismatch(getattr(plugin, STATEMENT, API_VERSION))


def mismatch_in_source(file: Path) -> str | None:
    """Return the same for a file that cannot be imported, from an assignment at its top level."""
    try:
        statements = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return None
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            if STATEMENT in names:
                return _mismatch(statement.value.value)
    return None


def _mismatch(stated: object) -> str | None:
    if stated == API_VERSION:
        return None
    provided = f"kd-harness {__version__} provides {API_VERSION!r}"
    if not isinstance(stated, str):
        return f"{STATEMENT} is {stated!r}; it must be a string, and {provided}"
    newer = stated.isdecimal() and int(stated) > int(API_VERSION)
    remedy = "install a newer kd-harness" if newer else "install a version of the plugin for this interface"
    return f"it states {STATEMENT} = {stated!r}, but {provided}; {remedy}"
