"""Commands that use trained students: `latency`, `export`, `predict`, `submit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.commands.shared_options import (
    Delimiter,
    Encoding,
    NoQuoting,
    Overrides,
    Plugins,
    Results,
    SuiteArgument,
    TrustRemoteCode,
)

app = typer.Typer()

Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="cpu, cuda, cuda:1, mps; by default the best one of this machine",
        autocompletion=completion.devices,
    ),
]


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
        typer.Option(
            "--label",
            help="only the row with this label, such as tinybert or minilmv2",
            autocompletion=completion.methods,
        ),
    ] = None,
    student: Annotated[str | None, typer.Option("--student", help="only this student, such as 4x312")] = None,
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
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Export the best student of a suite under limits, or one run, as a folder that works without the harness.

    The folder has the model, its fast tokenizer, a model card and, on request, ONNX files. The output says why the
    model was selected and how it compares with its teacher.

    harness export quick --task synthetic_sentiment_noisy --to ./my-model

    harness export glue --task sst2 --max-latency 5ms --onnx --to ./my-model

    harness export 5239a099 --to ./my-model
    """
    from harness.cli.export_command import ExportOptions, export_model

    options = ExportOptions(task, label, student, seed, max_latency, max_params, onnx, int8, trust_remote_code)
    export_model(target, to, results, options)


@app.command()
def predict(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL | RUN", help="a folder with a model, a hub id, or the key of a run (its beginning suffices)"
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a table: CSV, TSV, JSON, JSONL, parquet or CoNLL")],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="the table with predictions: .csv, .tsv, .jsonl or .parquet"),
    ],
    encoding: Encoding = "utf-8",
    delimiter: Delimiter = None,
    no_quoting: NoQuoting = False,
    text: Annotated[
        str | None,
        typer.Option(
            "--text", metavar="COLUMN", help="the column of texts, or of the first texts (questions) of pairs"
        ),
    ] = None,
    text_pair: Annotated[
        str | None,
        typer.Option(
            "--text-pair", metavar="COLUMN", help="the column of the second texts (contexts) of pairs; '' for none"
        ),
    ] = None,
    scores: Annotated[bool, typer.Option("--scores", help="add the probability of every class")] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="rows of one forward pass")] = 32,
    device: Device = None,
    results: Results = Path("results"),
    trust_remote_code: TrustRemoteCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing")] = False,
) -> None:
    """Predict the rows of a file with an exported model, a run or any checkpoint with a head.

    Rows and columns keep their order; the predictions are added: label and score of a class, a value, an answer or
    entities, by the kind of the model. Without --text, columns with usual names are read (text, sentence, review;
    question and context; ...).

    harness predict ./my-model reviews.csv --out predicted.csv

    harness predict 5239a0 pairs.jsonl --text premise --text-pair hypothesis --out predicted.parquet --scores
    """
    from harness.cli import delimiter as delimiters
    from harness.cli.predict_command import predict_file
    from harness.prediction.file_predictions import PredictionOptions
    from harness.tasks.tabular.table_files import FileOptions

    files = FileOptions(encoding=encoding, delimiter=delimiters.delimiter(delimiter), quoting=not no_quoting)
    options = PredictionOptions(text, text_pair, scores, batch_size)
    predict_file(
        model, file, out, results, files, options, device=device, trust_remote_code=trust_remote_code, quiet=quiet
    )


@app.command()
def submit(
    suite: SuiteArgument,
    label: Annotated[
        str,
        typer.Option(
            "--label",
            help="label of the row whose students predict the test sets",
            autocompletion=completion.methods,
        ),
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
            "--allow-missing", help="write the zip although tasks are missing; their files have one constant prediction"
        ),
    ] = False,
    device: Device = None,
    overrides: Overrides = None,
    results: Results = Path("results"),
    plugins: Plugins = None,
) -> None:
    """Predict GLUE's test sets with the students of a suite, and write the zip for the GLUE server.

    The test splits are read from the suite's data source. Students with code of their own need the suite's
    `trust_remote_code`. MNLI's student also predicts the diagnostic set AX. The server needs all nine tasks, wnli
    included, which the shipped suite glue lacks: add it to the suite's tasks, or use --allow-missing.

    harness submit glue --label tinybert --student 6x768 --seed 1
    """
    from harness.cli.submit_command import SubmitOptions, submit_suite

    options = SubmitOptions(label, seed, student, to, allow_missing, device)
    submit_suite(suite, overrides or [], plugins or [], results, options)
