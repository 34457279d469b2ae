"""Reads the files of published figures that plugins register."""

from __future__ import annotations

from harness.api.errors import Problem, UserError
from harness.config.published_figures import Published, read
from harness.plugin_host.host import Host


def read_registered(name: str, host: Host) -> Published:
    """Read the file that a plugin registered under this name.

    Raises:
        UserError: with all problems of the file, each with the plugin that registered it.
    """
    try:
        return read(host.published[name])
    except UserError as error:
        origin = f"(registered by {host.origin_of('published source', name)})"
        problems = [Problem(f"{problem.message} {origin}", problem.where) for problem in error.problems]
        raise UserError(*problems) from error
