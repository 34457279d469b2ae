"""`harness validate`: check a suite and its data without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from harness.api.wording import counted
from harness.cli.command_setup import load_suite
from harness.cli.stderr_warnings import warn_of_data
from harness.cli.terminal_tables import print_table

if TYPE_CHECKING:
    from harness.config.schema import SuiteSpec
    from harness.resolution.suite import Resolved


def validate_suite(name: str, overrides: Sequence[str], plugins: Sequence[str]) -> None:
    """Check a suite and its local data, and print a summary: what it trains, what is n/a, what was not checked.

    Raises:
        UserError: the suite or its data are invalid; it holds every problem.
    """
    loaded = load_suite(name, overrides, plugins)
    from harness.planning.task_data import reports
    from harness.resolution import resolve
    from harness.workflow import plugin_probes

    resolved = resolve(loaded, online=False)
    plugin_probes.check(resolved, loaded.host)
    data_reports = reports(loaded.suite)
    typer.echo(f"{loaded.suite.path}: valid")
    for title, text in _summary(resolved):
        typer.echo(f"  {title:<9} {text}")
    warn_of_data(data_reports)
    rejected = [cell for cell in resolved.cells if cell.reason]
    if rejected:
        typer.echo("\nnot applicable (n/a on the board):")
        print_table(
            ["task", "method", "student", "reason"],
            ((cell.task.name, cell.variant.label, cell.student, cell.reason) for cell in rejected),
        )
    if resolved.unchecked:
        typer.echo("\nnot checked, because it needs the hub:")
        for clause in resolved.unchecked:
            typer.echo(f"  {clause}")


def _summary(resolved: Resolved) -> Iterator[tuple[str, str]]:
    """The lines below ``valid``, as titles and texts."""
    suite, spec = resolved.suite, resolved.suite.spec
    yield "tasks", _listed([task.name for task in suite.tasks])
    yield from (("", f"{task.name}: {task.summary}") for task in suite.tasks if task.key_parts)
    yield "teachers", _listed([_teacher(resolved, teacher) for teacher in spec.teachers])
    yield "students", _listed([str(resolved.shapes.get(student, student)) for student in spec.students])
    yield "methods", _listed([variant.label for variant in suite.variants])
    yield "seeds", _listed([str(seed) for seed in spec.seeds])
    cells = sum(cell.reason is None for cell in resolved.cells)
    parts = f"{counted(cells, 'cell')} of the board, {counted(len(spec.seeds), 'seed')} each"
    yield "runs", f"{cells * len(spec.seeds)} ({parts})"
    yield from _choices(spec)
    limit = spec.training.limit.model_dump(exclude_none=True)
    if limit:
        yield "limit", f"{', '.join(f'{split} {count}' for split, count in limit.items())}, part of the data"


def _choices(spec: SuiteSpec) -> Iterator[tuple[str, str]]:
    """What the suite tunes, and on which examples it chooses."""
    if spec.tuning:
        rates = spec.tuning.lr_range(spec.training.lr)
        learning_rate = f", learning rate from {rates[0]:g} to {rates[1]:g}" if rates else ""
        sizes = f", batch size of {', '.join(map(str, spec.tuning.batch_size))}" if spec.tuning.batch_size else ""
        yield "tuning", f"{spec.tuning.trials} trials of each row, task and student{learning_rate}{sizes}"
    if selection := spec.effective_selection:
        on = "the validation splits" if selection.on == "validation" else "examples held out of the training splits"
        yield "selection", f"{'best epoch, ' if selection.epoch == 'best' else ''}on {on}"


def _teacher(resolved: Resolved, name: str) -> str:
    from harness.resolution import row_teachers

    spec = resolved.suite.spec.teachers[name]
    if assistant := resolved.suite.rows.get(name):
        users = ", ".join(row_teachers.learned_from(resolved.suite.variants, name))
        return f"{name} ({assistant}; {f'teaches {users}' if users else 'no row learns from it'})"
    if not spec.finetune:
        return f"{resolved.shapes.get(name, name)} (fine-tuned already)"
    seeds = spec.seeds
    per_seed = f" (one per seed: {', '.join(map(str, seeds))})" if seeds else ""
    return f"{resolved.shapes.get(name, name)}{per_seed}"


def _listed(names: Sequence[str]) -> str:
    """``3: finetune, pkd, tinybert``, or ``none``."""
    return f"{len(names)}: {', '.join(names)}" if names else "none"
