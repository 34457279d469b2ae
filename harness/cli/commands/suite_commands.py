"""Commands that train or check a suite: `run`, `rerun`, `plan`, `validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.commands.shared_options import AsJson, Overrides, Plugins, Results, SuiteArgument, Workers

app = typer.Typer()

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print no progress, only the board and failures")]


@app.command()
def run(
    suite: SuiteArgument,
    overrides: Overrides = None,
    results: Results = Path("results"),
    plugins: Plugins = None,
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="print one JSON object per line on stdout for every event, and no board")
    ] = False,
    quiet: Quiet = False,
    workers: Workers = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed/--no-retry", help="whether to try what failed before again")
    ] = True,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="COLUMN=VALUE",
            help="train only a part of the runs: task=, label=, method=, student=, seed= or key=; values of one column "
            "are alternatives; repeatable",
            autocompletion=completion.selections,
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="what executes the jobs: local (this process), ray (workers on a Ray cluster), or one of a plugin",
            autocompletion=completion.engines,
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="the Ray cluster: its head node, or auto for that of this machine; by default one is started here",
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            "--gpus-per-worker",
            metavar="F",
            min=0.01,
            help="GPUs of each Ray worker, 1 by default; with 0.25, four workers share a GPU",
        ),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            "--track",
            metavar="NAME",
            help="also record the runs with a tracker: json, tensorboard, mlflow, wandb, or a plugin's; repeatable",
            autocompletion=completion.trackers,
        ),
    ] = None,
) -> None:
    """Train and score the missing runs of a suite, then print the board.

    Finished runs are not repeated. Runs on the same task and batches train together and share their teachers. Several
    processes may run the same suite at the same time: they share the work, and the last one writes the board.
    """
    from harness.cli.run_command import Output, run_suite
    from harness.workflow.suite_execution import RunOptions

    options = RunOptions(engine, workers, retry_failed, only or (), address, gpus_per_worker, track or ())
    raise typer.Exit(run_suite(suite, overrides or [], plugins or [], results, options, Output(json_logs, quiet)))


@app.command()
def rerun(
    suite: SuiteArgument,
    keys: Annotated[
        list[str],
        typer.Argument(metavar="KEY...", help="keys of runs, as in `harness plan --json`, or their beginnings"),
    ],
    overrides: Overrides = None,
    results: Results = Path("results"),
    plugins: Plugins = None,
    quiet: Quiet = False,
) -> None:
    """Train single runs of a suite again. Their old results are set aside in the results folder, not deleted."""
    from harness.cli.rerun_command import rerun_runs

    raise typer.Exit(rerun_runs(suite, keys, overrides or [], plugins or [], results, quiet=quiet))


@app.command()
def plan(
    suite: SuiteArgument,
    overrides: Overrides = None,
    results: Results = Path("results"),
    plugins: Plugins = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Show which runs of a suite are done, why the others are not, and the jobs that remain. Trains nothing."""
    from harness.cli.plan_command import plan_suite

    plan_suite(suite, overrides or [], plugins or [], results, workers=workers or 1, as_json=as_json)


@app.command()
def validate(
    suite: SuiteArgument,
    overrides: Overrides = None,
    plugins: Plugins = None,
) -> None:
    """Check a suite and its local data without training. Reports every problem with file and line."""
    from harness.cli.validate_command import validate_suite

    validate_suite(suite, overrides or [], plugins or [])
