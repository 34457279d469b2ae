"""The summary of failed runs at the end of a command: each error once, with the runs that it ended."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.api.wording import counted
from harness.cli.output_streams import encodable
from harness.storage.control_characters import visible

if TYPE_CHECKING:
    from harness.execution.outcome import Outcome
    from harness.storage.records import RunRecord

NAMED_RUNS = 3
"""Most runs of one error that are named; the board lists all."""


def print_failures(outcome: Outcome) -> None:
    """Print on stderr what failed, and why."""
    for line in failure_lines(outcome):
        print(encodable(visible(line), sys.stderr), file=sys.stderr)


def failure_lines(outcome: Outcome) -> Iterator[str]:
    """The lines of the summary; none if nothing failed."""
    if outcome.failures:
        yield ""
        yield "failed before the runs that need it:"
        yield from (f"  {record.title}: {record.error}" for record in outcome.failures)
    if outcome.failed:
        yield ""
        yield f"{counted(len(outcome.failed), 'run')} failed:"
        by_error: dict[str | None, list[RunRecord]] = {}
        for record in outcome.failed:
            by_error.setdefault(record.error, []).append(record)
        for error, records in by_error.items():
            yield from _group(error or "no error was recorded", records)


def _group(error: str, records: Sequence[RunRecord]) -> Iterator[str]:
    names = [f"{record.task} {record.label} {record.student} seed {record.seed}" for record in records]
    if len(names) == 1:
        yield f"  {names[0]}: {error}"
        return
    yield f"  {counted(len(records), 'run')}: {error}"
    yield from (f"    {name}" for name in names[:NAMED_RUNS])
    if len(names) > NAMED_RUNS:
        yield f"    and {len(names) - NAMED_RUNS} more"
