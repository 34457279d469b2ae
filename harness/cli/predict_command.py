"""`harness predict`: predictions of a model for the rows of a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError
from harness.api.wording import counted
from harness.cli.command_setup import quiet_libraries
from harness.storage.run_lookup import find_run

if TYPE_CHECKING:
    from harness.prediction.file_predictions import PredictionOptions, Written
    from harness.prediction.loaded_model import LoadedModel
    from harness.tasks.tabular.table_files import FileOptions


def predict_file(
    name: str,
    file: Path,
    out: Path,
    results: Path,
    files: FileOptions,
    options: PredictionOptions,
    *,
    device: str | None,
    trust_remote_code: bool,
    quiet: bool,
) -> None:
    """Predict the rows of `file`, read as `files` says, and write them to `out`. Prints on stderr what was done.

    Raises:
        UserError: the model or the file cannot be read, or a column is missing.
    """
    quiet_libraries()
    from harness.prediction import file_predictions, tables
    from harness.tasks.tabular.option_names import FILE_OPTIONS, named_as_options

    tables.format_of(out)
    if out.resolve() == file.resolve():
        raise UserError(Problem("is the input file, which is not replaced; write to another file", "--out"))
    with named_as_options(FILE_OPTIONS):
        table = tables.read(file, files).storable(out)  # an error now, and not after all rows are predicted
    from harness.planning import devices

    used = devices.selected(device)
    model = load_model(name, results, trust_remote_code=trust_remote_code)
    with _progress(len(table), quiet=quiet) as on_progress:
        written = file_predictions.predict_file(model, table, out, used, options, on_progress)
    if not quiet:
        _print_written(written, out)


def load_model(name: str, results: Path, *, trust_remote_code: bool = False) -> LoadedModel:
    """Load a folder with a model, the run with the key `name` below `results`, or a hub id.

    Raises:
        UserError: there is no such model, or it cannot be loaded.
    """
    from harness.prediction import loaded_model

    is_model = (Path(name).expanduser() / "config.json").is_file()
    if not is_model and (run := find_run(name, results)) is not None:
        return loaded_model.of_run(run, trust_remote_code=trust_remote_code)
    try:
        return loaded_model.of_checkpoint(name, trust_remote_code=trust_remote_code)
    except UserError as error:
        if is_model or "/" in name:
            raise
        message = f"no run below {results} has a key that starts with {name!r}; --results names another folder"
        raise UserError(*error.problems, Problem(message)) from error


@contextmanager
def _progress(rows: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A function that shows how many rows are done: as a bar in a terminal, else not at all."""
    if quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("rows", total=rows)
        yield lambda done: progress.update(bar, completed=done)


def _print_written(written: Written, out: Path) -> None:
    read, added = ", ".join(written.read), ", ".join(written.added)
    print(f"{out}: {counted(written.rows, 'row')}; read {read}; added {added}", file=sys.stderr)
    for old, new in written.renamed.items():
        print(f"the file has a column {old!r}; the prediction is in {new!r}", file=sys.stderr)
