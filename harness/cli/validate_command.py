"""`harness validate`: check a suite and its data without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from harness.cli.command_setup import load_suite
from harness.cli.stderr_warnings import warn_of_overlapping_splits
from harness.cli.terminal_tables import print_table

if TYPE_CHECKING:
    from harness.resolution.suite import Resolved


def validate_suite(name: str, overrides: Sequence[str], plugins: Sequence[str]) -> None:
    """Check a suite and its data, as far as these are local, and print what was found. Problems are raised as a
    `UserError`."""
    loaded = load_suite(name, overrides, plugins)
    from harness.analysis.data_notes import overlapping
    from harness.planning.task_data import reports
    from harness.resolution import resolve

    resolved = resolve(loaded, online=False)
    found = reports(loaded.suite)
    typer.echo(f"{loaded.suite.path}: valid")
    for title, text in _summary(resolved):
        typer.echo(f"  {title:<9} {text}")
    warn_of_overlapping_splits(overlapping(found))
    rejected = [cell for cell in resolved.cells if cell.reason]
    if rejected:
        typer.echo("\nn/a on the board:")
        print_table(
            ["task", "method", "student", "reason"],
            ((cell.task.name, cell.variant.label, cell.student, cell.reason) for cell in rejected),
        )
    if resolved.unchecked:
        typer.echo("\nnot checked, since only a hub could tell:")
        for what in resolved.unchecked:
            typer.echo(f"  {what}")


def _summary(resolved: Resolved) -> Iterator[tuple[str, str]]:
    suite, spec = resolved.suite, resolved.suite.spec
    yield "tasks", _listed([task.name for task in suite.tasks])
    yield "teachers", _listed([_teacher(resolved, teacher) for teacher in spec.teachers])
    yield "students", _listed([str(resolved.shapes.get(student, student)) for student in spec.students])
    yield "methods", _listed([variant.label for variant in suite.variants])
    yield "seeds", _listed([str(seed) for seed in spec.seeds])
    cells = sum(cell.reason is None for cell in resolved.cells)
    seeds = "1 seed" if len(spec.seeds) == 1 else f"{len(spec.seeds)} seeds"
    yield "runs", f"{cells * len(spec.seeds)} ({cells} cells of the board, {seeds} each)"
    if spec.tuning:
        rates = spec.tuning.rates(spec.training.lr)
        of_rate = f", learning rate from {rates[0]:g} to {rates[1]:g}" if rates else ""
        yield "tuning", f"{spec.tuning.trials} trials of each row, task and student{of_rate}"
    if spec.selects:
        on = "the validation splits" if spec.selects.on == "validation" else "examples held out of the training splits"
        yield "selection", f"{'best epoch, ' if spec.selects.epoch == 'best' else ''}on {on}"
    limit = spec.training.limit.model_dump(exclude_none=True)
    if limit:
        yield "limit", f"{', '.join(f'{split} {count}' for split, count in limit.items())}: a rehearsal"


def _teacher(resolved: Resolved, name: str) -> str:
    seeds = resolved.suite.spec.teachers[name].seeds
    each = f" (one per seed: {', '.join(map(str, seeds))})" if seeds else ""
    return f"{resolved.shapes.get(name, name)}{each}"


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)}: {', '.join(names)}" if names else "none"
