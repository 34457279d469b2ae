"""`harness doctor DIR`: check a results folder or a cache, and set aside what is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from harness.api.errors import Problem, UserError
from harness.api.wording import counted
from harness.cli.terminal_tables import print_table
from harness.storage import cache_dir, folder_checks, set_aside
from harness.storage.folder_checks import Finding, Findings
from harness.storage.store import Store

RESULTS = ("plan.json", "runs", "checkpoints", "examples")
"""Names by which the results folder of a suite is recognized."""

CACHE = ("encoded", "tensors", "augmented")
"""Names by which a cache is recognized. Results folders, too, have folders `teachers` and `general`."""


def check_folder(folder: Path, *, repair: bool) -> int:
    """Check `folder`, or all results folders in it, and print the findings. Returns the exit code.

    With `repair`, damaged parts and leftovers of processes that have ended are moved to ``set-aside`` in the folder.

    Raises:
        UserError: it is neither a results folder nor a cache.
    """
    suites = [path for path in (folder, *folder_checks.folders(folder)) if _has(path, RESULTS)]
    is_cache = _has(folder, CACHE) or (folder.is_dir() and folder.resolve() == cache_dir.root().resolve())
    if not suites and not is_cache:
        problem = "neither a results folder nor a cache" if folder.exists() else "no such folder"
        hint = f"the cache is {cache_dir.root()}" if folder.exists() else "results are in results/<name of the suite>"
        raise UserError(Problem(f"{problem}; {hint}", str(folder)))
    sound = [_report(path, _check_results(path), repair=repair) for path in suites]
    if is_cache:
        from harness.execution import cache_checks  # imports torch

        sound.append(_report(folder, cache_checks.check(folder), repair=repair))
    return 0 if all(sound) else 1


def _has(folder: Path, names: Sequence[str]) -> bool:
    return any((folder / name).exists() for name in names)


def _check_results(folder: Path) -> Findings:
    def check_journal(path: Path) -> None:
        from harness.execution import trial_journal  # imports Optuna

        trial_journal.check(path)

    return folder_checks.check(Store(folder), check_journal)


def _report(folder: Path, findings: Findings, *, repair: bool) -> bool:
    """Print the findings, and set aside what can be. Returns whether the folder is sound then."""
    if findings.items:
        print_table(["path", "state", "detail"], [_row(folder, finding) for finding in findings.items])
    movable = list({finding.path: None for finding in findings.items if finding.to_set_aside})
    remaining = findings.broken
    if repair and movable:
        target = set_aside.move(folder, movable)
        remaining = [finding for finding in findings.broken if not finding.to_set_aside]
        typer.echo(f"{folder}: {len(movable)} set aside in {target}; run the suite again to make what is missing")
    if remaining:
        command = f"`harness doctor {folder} --repair` sets aside what is damaged"
        remedy = "see above" if repair or not movable else command
        typer.echo(f"{folder}: {len(remaining)} of {findings.checked} checked parts cannot be used; {remedy}")
    else:
        typer.echo(f"{folder}: sound ({counted(findings.checked, 'part')} checked)")
    return not remaining


def _row(folder: Path, finding: Finding) -> tuple[str, str, str]:
    path = finding.path.relative_to(folder)
    return str(path), finding.state, finding.detail.replace(f"{finding.path}/", "").replace(f"{finding.path}: ", "")
