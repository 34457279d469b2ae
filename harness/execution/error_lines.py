"""Errors in one line, as records and tables of failures have them."""

from __future__ import annotations

from harness.api.errors import UserError
from harness.plugin_host.discovery import describe


def one_line(error: BaseException) -> str:
    """An exception in one line. A `UserError` is its message."""
    return " ".join(str(error).split()) if isinstance(error, UserError) else describe(error)
