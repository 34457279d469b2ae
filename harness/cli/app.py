"""The command line: arguments and help of every command, error output, exit codes.

A command imports its module (`harness.cli.run_command`, ...) when it is called, so that `harness --help` is fast.
"""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.api.errors import UserError
from harness.cli import completion, output_streams
from harness.storage.control_characters import visible

app = typer.Typer(
    name="harness",
    pretty_exceptions_enable=False,  # typer's tracebacks would print local variables, whole tensors too
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compare knowledge-distillation methods for BERT-like models.\n\n"
    "A suite file (YAML) names tasks, teachers, students, methods and seeds. [bold]validate[/] checks it, "
    "[bold]plan[/] shows what it would train, [bold]run[/] trains what is missing and prints the board (leaderboard), "
    "[bold]report[/] rebuilds the board from stored results. Start with: harness run quick",
    epilog="Exit codes: 0 success; 1 a run failed (all others are finished), or a check of a plugin or folder failed; "
    "2 invalid input or a failing disk, explained on stderr; 130 interrupted (run the same command again to resume).",
)

SuiteArgument = Annotated[
    str,
    typer.Argument(
        help="a suite file, or the name of a shipped suite, such as quick", autocompletion=completion.suites
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="set a key of the suite: a dotted path and a YAML value that replaces the value in the file, "
        "such as training.epochs=1, 'tasks=\\[sst2]' or latency=null; repeatable",
    ),
]
Results = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="results folder; the suite writes to DIR/<suite name>/")
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="PATH", help="load a plugin: a .py file or a folder; repeatable"),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        envvar="SLURM_NTASKS",
        help="number of processes that share the suite; cohorts are split among them if that saves time",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]


class Kind(StrEnum):
    """The arguments of `harness list`."""

    methods = "methods"
    tasks = "tasks"
    suites = "suites"
    plugins = "plugins"
    published = "published"


class Schema(StrEnum):
    """The arguments of `harness schema`."""

    suite = "suite"


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="print the versions of kd-harness, Python, torch and transformers, and the device"
        ),
    ] = False,
) -> None:
    if version:
        from harness.cli.versions import version_line

        typer.echo(version_line())
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def run(
    suite: SuiteArgument,
    overrides: Overrides = None,
    results: Results = Path("results"),
    plugins: Plugins = None,
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="print one JSON object per line on stdout for every event, and no board")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="print no progress, only the board and failures")
    ] = False,
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
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="print no progress, only the board and failures")
    ] = False,
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


@app.command()
def report(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR...", help="results folders, such as results/quick, or patterns such as 'results/*'"
        ),
    ],
    plugins: Plugins = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="print only this format: md, csv, tex, bib, json, or one of a plugin",
            autocompletion=completion.formats,
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="NAME,...",
            help="with --format tex: print the LaTeX table with these columns, and write no file: rank, method, "
            "student, tasks (or the names of tasks), average, params, speed-up, iqm, gap, behind, p, std, compression, "
            "cost, tuning, runs, protocol",
        ),
    ] = None,
) -> None:
    """Rebuild the board and its files from stored results, of one folder or of several.

    A folder whose board cannot be rebuilt does not stop the others: its error is printed at the end, with exit code 2.

    harness report 'results/*'
    """
    from harness.cli.report_command import report_folders

    report_folders(folders, plugins or [], format, columns)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="DIR", help="a results folder, such as results/quick")],
    second: Annotated[Path, typer.Argument(metavar="DIR", help="another one")],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two results folders: settings, versions, machines, rows and scores.

    Differences of scores have intervals and p-values, paired where both folders scored the same examples with the same
    seeds. The exit code is 0 whether or not they differ.
    """
    from harness.cli.compare_command import compare

    compare(first, second, as_json=as_json)


@app.command()
def merge(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="results folders, each of one suite, such as machine-1/results/glue"),
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="the merged results folder: a new one, or one to add to")
    ],
    prefer: Annotated[
        Literal["first", "last"] | None,
        typer.Option(
            "--prefer",
            help="whose results to take where folders contradict each other: those of the first or the last one; an "
            "existing --to is the first",
        ),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Merge the results of several machines into one board. The merged folders do not change.

    Results with the same key are stored once; if they differ, it is an error, unless --prefer decides. Tasks, rows,
    students and seeds of all folders are united. Repeat an interrupted merge: it copies what is missing.

    harness merge machine-1/results/glue machine-2/results/glue --to results/glue
    """
    from harness.cli.merge_command import merge_folders

    merge_folders(folders, to, prefer, plugins or [])


@app.command()
def latency(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="SUITE | MODEL...",
            help="a suite that has been run, or folders and hub ids of models",
            autocompletion=completion.suites,
        ),
    ],
    overrides: Overrides = None,
    results: Results = Path("results"),
    plugins: Plugins = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print no progress, only the tables")] = False,
) -> None:
    """Measure the latency of a suite's students and teachers, or of checkpoints relative to the first one.

    Models that were measured on this machine with the same settings are not measured again.
    """
    from harness.cli.latency_command import measure_latency

    measure_latency(targets, overrides or [], plugins or [], results, quiet=quiet)


@app.command()
def export(
    target: Annotated[
        str,
        typer.Argument(
            metavar="SUITE | RUN",
            help="a suite that has been run (its name, file or results folder), or the beginning of a run's key",
            autocompletion=completion.suites,
        ),
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="the folder to write; it must not exist, or be empty")
    ],
    task: Annotated[
        str | None,
        typer.Option("--task", help="the task, if the suite has several", autocompletion=completion.tasks),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="only students trained with this method", autocompletion=completion.methods),
    ] = None,
    student: Annotated[str | None, typer.Option("--student", help="only students of this size")] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="the run with this seed; by default the best on held-out data, else the first"),
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option("--max-latency", metavar="TIME", help="largest measured median latency, such as 5ms")
    ] = None,
    max_params: Annotated[
        str | None, typer.Option("--max-params", metavar="NUMBER", help="largest number of parameters, such as 20M")
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="add onnx/model.onnx, checked for equal outputs")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="add onnx/model_int8.onnx, with the share of equal predictions")
    ] = False,
    results: Results = Path("results"),
) -> None:
    """Export the best student of a suite under limits, or one run, as a folder that works without the harness.

    The folder has the model, its fast tokenizer, a model card and, on request, ONNX files. The output says why the
    model was selected and how it compares with its teacher.

    harness export quick --task synthetic_sentiment_noisy --to ./my-model

    harness export glue --task sst2 --max-latency 5ms --onnx --to ./my-model

    harness export 5239a099 --to ./my-model
    """
    from harness.cli.export_command import ExportOptions, export_model

    export_model(target, to, results, ExportOptions(task, label, student, seed, max_latency, max_params, onnx, int8))


@app.command()
def predict(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL | RUN", help="a folder with a model, a hub id, or the key of a run (its beginning suffices)"
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a table: .csv, .tsv, .jsonl or .parquet")],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="where to write the table with the predictions, in any of these"),
    ],
    text: Annotated[
        str | None,
        typer.Option(
            "--text", metavar="COLUMN", help="the column of texts, or of the first texts (questions) of pairs"
        ),
    ] = None,
    text_pair: Annotated[
        str | None,
        typer.Option("--text-pair", metavar="COLUMN", help="the column of the second texts (contexts) of pairs"),
    ] = None,
    scores: Annotated[bool, typer.Option("--scores", help="add the probability of every class")] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="rows of one forward pass")] = 32,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="cpu, cuda, cuda:1, mps; by default the best one of this machine",
            autocompletion=completion.devices,
        ),
    ] = None,
    results: Results = Path("results"),
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="run the Python code of a checkpoint that brings its own")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing")] = False,
) -> None:
    """Predict the rows of a file with an exported model, a run or any checkpoint with a head.

    Rows and columns keep their order; the predictions are added: label and score of a class, a value, an answer or
    entities, by the kind of the model. Without --text, columns with usual names are read (text, sentence, review;
    question and context; ...).

    harness predict ./my-model reviews.csv --out predicted.csv

    harness predict 5239a0 pairs.jsonl --text premise --text-pair hypothesis --out predicted.parquet --scores
    """
    from harness.cli.predict_command import predict_file
    from harness.prediction.file_predictions import FileOptions

    options = FileOptions(text, text_pair, scores, batch_size)
    predict_file(model, file, out, results, options, device=device, trust_remote_code=trust_remote_code, quiet=quiet)


@app.command()
def submit(
    suite: SuiteArgument,
    label: Annotated[
        str,
        typer.Option("--label", help="the method whose students answer", autocompletion=completion.methods),
    ],
    seed: Annotated[int | None, typer.Option("--seed", help="the seed of the runs; by default the first one")] = None,
    student: Annotated[str | None, typer.Option("--student", help="the student, if the suite has several")] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="the zip; by default in DIR/<suite name>/submissions/"),
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing", help="write the zip although tasks are missing; their files have one constant answer"
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="cpu, cuda, cuda:1, mps; by default the best one of this machine",
            autocompletion=completion.devices,
        ),
    ] = None,
    overrides: Overrides = None,
    results: Results = Path("results"),
    plugins: Plugins = None,
) -> None:
    """Predict GLUE's test sets with the students of a suite, and write the zip for the GLUE server.

    The test splits are read from the suite's data source. MNLI's student also answers the diagnostic set AX.

    harness submit glue --label tinybert --seed 1
    """
    from harness.cli.submit_command import SubmitOptions, submit_suite

    options = SubmitOptions(label, seed, student, to, allow_missing, device)
    submit_suite(suite, overrides or [], plugins or [], results, options)


@app.command("list")
def list_(
    kind: Annotated[Kind, typer.Argument(help="what to list")],
    name: Annotated[
        str | None,
        typer.Argument(metavar="METHOD", help="explain the options of this method", autocompletion=completion.methods),
    ] = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """List methods, tasks, shipped suites, plugins with their errors, or published figures.

    Methods are listed by group, with the tasks, teachers and students that they support and the outputs that they read.

    harness list methods METHOD explains the options of one method.

    harness list methods --json
    """
    from harness.cli.list_command import print_list

    print_list(kind.value, plugins or [], name, as_json=as_json)


@app.command()
def check(
    plugin: Annotated[
        str,
        typer.Argument(
            help="the name of a method, a .py file or folder, or the name of an entry point",
            autocompletion=completion.methods,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Test on tiny models whether the methods of a plugin meet the requirements of the harness. Needs no data."""
    from harness.cli.check_command import check_plugin

    raise typer.Exit(check_plugin(plugin, as_json=as_json))


NewName = Annotated[str, typer.Argument(metavar="NAME", help="the name in suites and on boards")]
NewFolder = Annotated[Path, typer.Option("--to", metavar="DIR", help="the folder to write NAME/ into")]
AsPackage = Annotated[bool, typer.Option("--package", help="write a package with an entry point, to install with pip")]


@app.command("new-method")
def new_method(name: NewName, to: NewFolder = Path(), package: AsPackage = False) -> None:
    """Write a plugin with a new method, which trains already and passes its checks, with a test and a README."""
    from harness.cli.new_command import new_method

    new_method(name, to, package=package)


@app.command("new-task")
def new_task(name: NewName, to: NewFolder = Path(), package: AsPackage = False) -> None:
    """Write a plugin with a new task on a few examples, which you replace with yours, with a test and a README."""
    from harness.cli.new_command import new_task

    new_task(name, to, package=package)


@app.command()
def distill(
    teacher: Annotated[
        str, typer.Option("--teacher", metavar="MODEL", help="folder or hub id of a fine-tuned model, or of an encoder")
    ],
    data: Annotated[
        str,
        typer.Option("--data", metavar="FILE", help="labelled texts: CSV, TSV, JSON, JSONL or parquet, or a folder"),
    ],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="where everything is written; default: NAME-distilled")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="name of the task; default: that of the file")] = None,
    encoding: Annotated[str, typer.Option("--encoding", help="of text files, such as latin-1 or cp1252")] = "utf-8",
    delimiter: Annotated[
        str | None, typer.Option("--delimiter", metavar="CHAR", help="between the cells of CSV files, such as ';'")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="COLUMN", help="column of the text")] = None,
    text_pair: Annotated[
        str | None, typer.Option("--text-pair", metavar="COLUMN", help="column of the second text of a pair")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", metavar="COLUMN", help="column of the label")] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="VALUE=NAME", help="the teacher's class for a value of the label; repeatable"),
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option("--separator", metavar="TEXT", help="between several labels of a text in one cell, such as ';'"),
    ] = None,
    validation: Annotated[
        str, typer.Option("--validation", metavar="FILE|SHARE", help="scored examples: a file, or a share of the data")
    ] = "0.2",
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="METHOD",
            help="compare these methods only; repeatable",
            autocompletion=completion.methods,
        ),
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option("--max-latency", metavar="TIME", help="of one text on this machine, such as 5ms")
    ] = None,
    max_params: Annotated[str | None, typer.Option("--max-params", metavar="NUMBER", help="such as 20M")] = None,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="of the training, approximately, such as 30min or 2h")
    ] = "30min",
) -> None:
    """Make a small, fast model from a fine-tuned one and a file of labelled texts.

    Trains students of several sizes with several methods, within the budget, and exports the best one: harness distill
    --teacher ./my-classifier --data reviews.csv --max-latency 5ms. The suites that it writes can be edited and run
    with `harness run`.
    """
    from harness.cli.distill_command import DistillOptions, distill_model

    options = DistillOptions(
        teacher,
        data,
        to,
        name,
        encoding,
        delimiter,
        text,
        text_pair,
        label,
        classes or (),
        separator,
        validation,
        methods or (),
        max_latency,
        max_params,
        budget,
    )
    raise typer.Exit(distill_model(options))


@app.command()
def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="a results folder or a cache to check; without it: the environment"),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="move what is damaged to DIR/set-aside; the next run makes it again"),
    ] = False,
) -> None:
    """Describe the environment: versions, device, cache, network, broken plugins. With DIR, check its files instead.

    The check reads every file and compares it with its checksum. Exit code 1: something is damaged.
    """
    if folder is None:
        from harness.cli.doctor_command import print_environment

        if repair:
            raise UserError("--repair needs a folder: harness doctor DIR --repair")
        print_environment()
    else:
        from harness.cli.folder_check import check_folder

        raise typer.Exit(check_folder(folder, repair=repair))


@app.command()
def schema(
    what: Annotated[Schema, typer.Argument(help="suite: the keys of a suite file, with the options of every method")],
    plugins: Plugins = None,
) -> None:
    """Print the JSON Schema of suite files, with which editors complete and check keys.

    Write it to a file, and name the file in the first line of your suite:
    # yaml-language-server: $schema=suite.schema.json
    """
    from harness.cli.schema_command import print_suite_schema

    print_suite_schema(plugins or ())


def main() -> None:
    """The `harness` command. Prints a `UserError` on stderr, one message for each problem, and exits with 2.

    It does the same for errors of the disk that nothing else has explained.
    """
    # Importing torch creates a million objects, and each garbage collection would visit them again: without it `list`
    # takes half as long. `run` and `check` turn it on again.
    gc.disable()
    output_streams.prepare()
    try:
        _run_command()
    except UserError as error:
        for problem in error.problems:
            _print_error(str(problem))
        sys.exit(2)
    except Exception as error:
        from harness.storage.disk_errors import problem_of

        disk_problem = problem_of(error)
        if disk_problem is None:  # a bug: its traceback helps to find it
            raise
        _print_error(str(disk_problem))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        with suppress(OSError, UserError):  # after an error, which has been printed
            output_streams.flush_stdout()
        gc.freeze()  # nor does the collection at interpreter exit visit them


def _run_command() -> None:
    """Run the command of `sys.argv`, and write what it has printed.

    Raises:
        SystemExit: it has ended. If the reader of stdout has left, such as `head`, that is no failure.
        UserError: a user can correct its error, or stdout cannot be written.
    """
    try:
        app()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            output_streams.discard_stdout()
            sys.exit(0)
        with output_streams.reader_may_leave():
            output_streams.flush_stdout()
        raise
    except OSError:
        with output_streams.reader_may_leave():
            output_streams.flush_stdout()  # names stdout if that is what cannot be written
        raise


def _print_error(message: str) -> None:
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(visible("\n  ".join(message.splitlines())), err=True)
