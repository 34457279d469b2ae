"""`harness rerun`: train single runs again, after setting their old results aside."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.api.errors import Problem, UserError
from harness.cli.run_command import Output, build_plan, train_and_report
from harness.storage import set_aside
from harness.storage.store import Store
from harness.workflow.suite_command import suite_command
from harness.workflow.suite_execution import RunOptions


def rerun_runs(
    name: str, prefixes: Sequence[str], overrides: Sequence[str], plugins: Sequence[str], results: Path, *, quiet: bool
) -> int:
    """Set the results of runs aside and train these runs again. Returns the exit code of `harness run`.

    Raises:
        UserError: the suite is invalid, or a key does not identify one of its runs.
    """
    plan, host = build_plan(name, overrides, plugins)
    keys = matching(prefixes, [job.planned.key for job in plan.runs], name)
    store = Store(results / plan.spec.name)
    if old := [folder for key in keys if (folder := store.run_folder(key)).exists()]:
        aside = set_aside.move(store.folder, old)
        if not quiet:
            print(f"the old results are in {aside}", file=sys.stderr)
    options = RunOptions(only=[f"key={key}" for key in keys])
    command = suite_command(name, overrides, plugins, results)
    return train_and_report(plan, store, host, options, Output(quiet=quiet), command)


def matching(prefixes: Sequence[str], keys: Sequence[str], suite: str) -> list[str]:
    """Return the keys that the prefixes identify, in order. `suite` is the suite as typed, for messages.

    Raises:
        UserError: a prefix is the beginning of no key, or of several.
    """
    found, problems = [], []
    for prefix in prefixes:
        matches = sorted({key for key in keys if key.startswith(prefix)})
        if len(matches) == 1:
            found += matches
        elif matches:
            problems.append(Problem(f"{prefix!r} is the beginning of {len(matches)} keys; use a longer one", "rerun"))
        else:
            listed = f"`harness plan {suite} --json` lists the keys"
            problems.append(Problem(f"no run of the suite has a key that begins with {prefix!r}; {listed}", "rerun"))
    if problems:
        raise UserError(*problems)
    return list(dict.fromkeys(found))
