"""The command that defines a suite: the board shows it, and messages name it to train what is missing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

DEFAULT_RESULTS = Path("results")


def suite_command(
    suite: str | Path, settings: Sequence[str], plugins: Sequence[str | Path], results: str | Path
) -> str:
    """Return the ``harness run`` command of a suite, quoted for a shell.

    It repeats what the suite is and where its results go, but not which part of it a command trained, or how.

    Args:
        suite: a suite file, or the name of a shipped suite.
        settings: ``KEY=VALUE`` for each override.
        plugins: the plugins that the suite does not name itself.
        results: the folder that contains the results folder of the suite; left out if it is the default.
    """
    words = ["harness", "run", str(suite)]
    for option, values in (("--set", settings), ("--plugin", plugins)):
        words += [word for value in values for word in (option, str(value))]
    if Path(results) != DEFAULT_RESULTS:
        words += ["--results", str(results)]
    return shlex.join(words)
