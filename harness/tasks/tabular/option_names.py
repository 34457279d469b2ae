"""Names the options of a command in messages that name keys of a declared task."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from harness.api.errors import Problem, UserError

FILE_OPTIONS: Mapping[str, str] = {
    "encoding": "--encoding",
    "delimiter": "--delimiter",
    "quoting": "--no-quoting",
}
"""Key that says how files are read -> option of a command; the only value of `quoting` to set is false."""

_KEY = re.compile(r"`(\w+)(?:: \w+)?`")


@contextmanager
def named_as_options(options: Mapping[str, str]) -> Iterator[None]:
    """Let the `UserError`s raised inside name the option of each key, for users who wrote no suite.

    Args:
        options: key of a declared task -> option, and perhaps the place of a problem, such as ``tasks.NAME.label`` ->
            option. Other keys and places are left as they are.
    """
    try:
        yield
    except UserError as error:
        raise UserError(*(_renamed(problem, options) for problem in error.problems)) from error


def _renamed(problem: Problem, options: Mapping[str, str]) -> Problem:
    where, message = problem.where, problem.message
    place, _, rest = message.partition(": ")
    if place in options:
        where, message = place, rest
    return Problem(_KEY.sub(lambda found: options.get(found[1], found[0]), message), options.get(where or "", where))
