"""`harness rerun`: train single runs again, after setting their old results aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.api.errors import Problem, UserError
from harness.cli.run_command import Output, build_plan, train_and_report
from harness.cli.text_lines import print_nothing, print_status
from harness.execution import leftover_checkpoints
from harness.execution.active_processes import held_board, refuse_active
from harness.execution.claims import Claims
from harness.planning import tuning_studies
from harness.planning.plan import Plan
from harness.storage import set_aside
from harness.storage.store import Store
from harness.workflow.suite_command import suite_command
from harness.workflow.suite_execution import RunOptions, SuiteExecution


def rerun_runs(
    name: str, prefixes: Sequence[str], overrides: Sequence[str], plugins: Sequence[str], results: Path, *, quiet: bool
) -> int:
    """Set the results of runs aside and train these runs again. Returns the exit code of `harness run`.

    Raises:
        UserError: the suite is invalid, a tracker cannot be created, the latency section cannot be measured, a key does
            not identify one of the suite's runs, a file that the training reads is damaged, or a process executes a
            suite in the results folder. Then nothing is set aside.
    """
    plan, host = build_plan(name, overrides, plugins)
    keys = matching(prefixes, [job.planned.key for job in plan.runs], name)
    store = Store(results / plan.spec.name)
    options = RunOptions(only=[f"key={key}" for key in keys])
    execution = SuiteExecution(plan, store, host, options, suite_command(name, overrides, plugins, results))
    _read_results(plan, store, but=keys)
    _set_aside(store, keys, print_nothing if quiet else print_status)
    return train_and_report(execution, Output(quiet=quiet))


def _read_results(plan: Plan, store: Store, but: Sequence[str]) -> None:
    """Read the results that the training reads: what is damaged there must stop it before anything is moved.

    Raises:
        UserError: a file is damaged. The results of runs with the keys `but` are not read: they are replaced.
    """
    store.summaries(but=but)
    for teacher in plan.teachers:
        store.teacher(teacher.key, teacher.data.validation_fingerprint)
    for stage in plan.text_stages(plan.runs):
        store.general(stage.key)
    for study in tuning_studies.every(plan.runs, plan.spec):
        store.tuning(study.key)
    for run in plan.runs:
        store.failure(run.planned.key)


def _set_aside(store: Store, keys: Sequence[str], say: Callable[[str], None]) -> None:
    """Set the results of runs aside. Another process may read them while it executes a suite in the folder."""
    old = [folder for key in keys if (folder := store.run_folder(key)).exists()]
    if not old:
        return
    with Claims() as claims, held_board(claims, store.folder, "results to set aside", say):
        refuse_active(claims, store.folder, say)
        leftover_checkpoints.remove(store, claims)  # else the training would resume from them
        say(f"the old results are in {set_aside.move(store.folder, old)}")


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
