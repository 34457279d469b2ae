"""leaderboard.md and leaderboard.csv: written from the store alone, and byte for byte the same when written again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from harness.host import Host
from harness.results import atomic, latency, published, sections
from harness.results.board import Board, Line, build
from harness.results.latency import SpeedUp, machine
from harness.results.sections import Section
from harness.results.store import Store
from harness.results.summary import Row, Statistic, Summary
from harness.results.tally import summarize


@dataclass(frozen=True)
class Report:
    """A leaderboard that was written: its data, its text, and where it is."""

    board: Board
    markdown: str
    files: tuple[Path, ...]
    sections: tuple[Section, ...] = ()


def write(folder: Path, host: Host | None = None) -> Report:
    """Write the leaderboard of the results in `folder`, and the latency tables if there are measurements.

    `host` has the plugins that are asked for sections; by default those that are installed for it.

    Raises:
        UserError: `folder` holds no results, a record cannot be read, or the results cannot stand on one board. The
            files that were there are left as they were.
    """
    store = Store.existing(folder)
    summary = summarize(store)
    board = build(summary)
    parts = sections.collect(host or Host.reporting(), summary)
    texts = {store.folder / "leaderboard.md": markdown(board, parts), store.folder / "leaderboard.csv": csv(summary)}
    texts |= _latency_texts(store, summary.plan.suite)
    texts |= {
        store.folder / sections.FOLDER / f"{name}.csv": _table_csv(rows) for name, rows in sections.data(parts).items()
    }
    for path, text in texts.items():
        atomic.write_text(path, text)
    for path in set(store.folder.glob(f"{sections.FOLDER}/*.csv")) - set(texts):
        atomic.remove(path)  # of a section that is no longer there
    return Report(board, texts[store.folder / "leaderboard.md"], tuple(texts), parts)


def write_latency(folder: Path) -> tuple[Path, ...]:
    """Write the latency tables of `folder` alone, and say where they are. Raises `UserError` as `write` does."""
    texts = _latency_texts(Store(folder), folder.name)
    for path, text in texts.items():
        atomic.write_text(path, text)
    return tuple(texts)


def _latency_texts(store: Store, title: str) -> dict[Path, str]:
    """latency.md and latency.csv, if there are measurements."""
    measured = store.latencies()
    if not measured:
        return {}
    return {
        store.folder / "latency.md": latency.markdown(title, measured),
        store.folder / "latency.csv": _table_csv(latency.csv_rows(measured)),
    }


def markdown(board: Board, parts: Sequence[Section] = ()) -> str:
    """The whole file. It reads well as it is, and as GitHub shows it."""
    return "\n\n".join(_parts(board, parts)) + "\n"


def _parts(board: Board, parts: Sequence[Section]) -> Iterator[str]:
    yield f"# {board.title}"
    if board.marks:
        yield "\n".join(f"- **{word}**: {text}" for word, text in board.marks)
    yield _table(board)
    if board.notes:
        yield "\n".join(f"- ({mark}) {text}" for mark, text in board.notes)
    yield from (section.markdown for section in parts)
    yield "## How to read it"
    yield "\n".join(f"- {text}" for text in board.reading)
    yield "## Where it comes from"
    yield "\n".join(f"- {what}: {text}" for what, text in board.provenance)


def _table(board: Board) -> str:
    """Teachers in italics, and an empty row between teachers and students and between students of two sizes."""
    rows: list[list[str]] = []
    for before, line in zip((None, *board.lines), board.lines, strict=False):
        if before is not None and (before.role, before.group) != (line.role, line.group):
            rows.append([""] * len(board.columns))
        rows.append(_marked(line))
    return tabulate(
        rows,
        headers=[column.title.replace("|", r"\|") for column in board.columns],
        tablefmt="pipe",
        colalign=[column.align for column in board.columns],
        disable_numparse=True,
    )


def _marked(line: Line) -> list[str]:
    cells = [cell.replace("|", r"\|") for cell in line.cells]
    if line.role == "teacher":
        return [f"*{cells[0]}*", f"*{cells[1]}*", *cells[2:]]
    return [f"**{cell}**" if index in line.best else cell for index, cell in enumerate(cells)]


def csv(summary: Summary) -> str:
    """One row for each teacher and each (label, student), in the board's order and on its scale, unrounded."""
    rows = [_csv_row(row, summary) for row in (*summary.teachers, *summary.students)]
    return _table_csv(rows)


def _table_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    return pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")


def _csv_row(row: Row, summary: Summary) -> dict[str, Any]:
    least, most = row.parameters or (None, None)
    values: dict[str, Any] = {
        "role": row.role,
        "rank": row.rank,
        "label": row.label,
        "student": row.student,
        "status": row.status,
    }
    for task in summary.plan.tasks:
        cell = row.cells[task.name]
        values |= {f"{task.name}_state": cell.state, **_statistic(f"{task.name}_{task.score}", cell.score)}
        of_task = [figure for figure in summary.plan.published if figure.task == task.name]
        values |= dict.fromkeys(name for figure in of_task for name in published.columns(figure))
        for figure in published.of_row(of_task, task.name, row.label, row.student):
            values |= published.columns(figure)
    return values | {
        **_statistic("average", row.average),
        "parameters_min": least,
        "parameters_max": most,
        "compression": _exact(row.compression),
        **_speed_ups(row, summary.speed_ups),
        "student_seconds": _exact(row.student_seconds),
        "teacher_seconds": _exact(row.teacher_seconds),
        "runs": row.runs,
        "completed": row.completed,
    }


def _speed_ups(row: Row, columns: Sequence[SpeedUp]) -> dict[str, Any]:
    """Of each machine: ``speed_up``, its interval and where; those of a second machine are ``speed_up_2``..."""
    values: dict[str, Any] = {}
    for number, column in enumerate(columns, start=1):
        name = "speed_up" if number == 1 else f"speed_up_{number}"
        found = column.of.get((row.role, row.student or row.label))
        low, high = (found.low, found.high) if found else (None, None)
        values |= {
            name: _exact(found.median) if found else None,
            f"{name}_low": _exact(low),
            f"{name}_high": _exact(high),
            f"{name}_on": f"{machine(column.hardware)}; {column.backend}; {column.shape[0]} x {column.shape[1]}",
        }
    return values


def _statistic(name: str, value: Statistic | None) -> dict[str, Any]:
    mean, std, n = (value.mean, value.std, value.n) if value else (None, None, None)
    return {f"{name}_mean": _exact(mean), f"{name}_std": _exact(std), f"{name}_n": n}


def _exact(value: float | None) -> float | None:
    """Without the last bits, which scaling and summing leave behind."""
    return None if value is None else round(value, 9)
