"""Makes stdout and stderr safe to print to: closed streams, encodings with few characters, readers that have left."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.api.errors import Problem

REPLACEMENTS = {
    "±": "+/-",
    "×": "x",
    "–": "-",
    "—": "-",
    "●": "*",
    "†": "+",
    "‡": "++",
    "…": "...",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "─": "-",
    "━": "-",
}
"""What is printed for the harness's own characters where the encoding of the stream lacks them."""

HANDLER = "kd-harness"
"""Name of the handler of encoding errors that uses `REPLACEMENTS`."""


def prepare() -> None:
    """Let prints to stdout and stderr never fail: with a closed stream, they go nowhere; with an encoding that lacks a
    character, it is replaced."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # at once, so that no other file gets the stream's number
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def encodable(text: str, stream: object) -> str:
    """Replace the characters that `stream` cannot encode, as printing would do, so that the width is known before."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, HANDLER).decode(encoding)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    escaped = (REPLACEMENTS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in characters)
    return "".join(escaped), error.end


codecs.register_error(HANDLER, _replace)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Ignore that the reader of stdout has left, as `head` does. What is printed from then on goes nowhere.

    Raises:
        DiskError: as `flush_stdout`.
    """
    try:
        yield
        flush_stdout()
    except BrokenPipeError:
        discard_stdout()


def flush_stdout() -> None:
    """Write what is buffered for stdout. If that fails, what is printed from then on goes nowhere.

    Raises:
        BrokenPipeError: the reader has left.
        DiskError: stdout is a file that cannot be written: its disk is full, for example.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_stdout()
        from harness.storage.disk_errors import AGAIN, DiskError, is_disk_error

        if not is_disk_error(error):
            raise
        remedy = f"write it to another disk, {AGAIN}"
        raise DiskError(Problem(f"{error.strerror}; {remedy}", "stdout")) from error


def discard_stdout() -> None:
    """Send what is still buffered for stdout, and all that follows, nowhere: Python flushes it at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
