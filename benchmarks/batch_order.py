"""`python -m benchmarks.batch_order RESULTS...`: compares the scores of random, grouped and bucketed batches.

Reads result folders of `benchmarks/batch_order.yaml`, one for each value of `training.batching`, and earlier scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from scipy.stats import ttest_ind
from tabulate import tabulate

from harness.api.errors import UserError
from harness.storage.store import Store

SETTING = ["task", "method", "steps", "batch_size"]
HERE = Path(__file__).parent
ORDER = ["random", "grouped", "bucketed"]
HEADERS = ["task", "method", "steps", "batch size", "random", "grouped - random", "bucketed - random"]

NOTE = """Scores in percent (accuracy; F1 for MRPC; Pearson for STS-B) of `benchmarks/batch_order.yaml` on the whole
validation set. A teacher was fine-tuned once for each task, batch size and kind of batches, with batches of that kind.
`random`: mean and standard deviation over seeds (number of runs). Differences of the means have Welch's 95 % intervals,
which are not corrected for their number. All scores: [batch-order.csv](batch-order.csv)."""


def scores(results: Iterable[Path]) -> pd.DataFrame:
    """Return one line for each completed run: its setting, `batching`, `seed`, and `score` in percent.

    `results` are result folders, or files that this module has written before.

    Raises `UserError` for a folder without results, and if two runs of a setting have the same batches and seed.
    """
    runs = pd.concat([_scores(path) for path in results])
    columns = [*SETTING, "batching", "seed"]
    if runs.duplicated(columns).any():
        repeated = runs.loc[runs.duplicated(columns), columns].iloc[0].to_dict()
        raise UserError(f"two runs of one setting, batches and seed: {repeated}")
    runs["batching"] = pd.Categorical(runs["batching"], ORDER, ordered=True)
    return runs.sort_values(columns, ignore_index=True)


def _scores(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.suffix == ".csv" else pd.DataFrame(_runs(Store.existing(path)))


def _runs(store: Store) -> Iterator[dict[str, object]]:
    for record in store.records():
        if record.status == "completed" and record.score is not None and record.cost is not None:
            training = record.parts["training"]
            yield {
                "task": record.task,
                "method": record.label,
                "steps": record.cost.steps,
                "batch_size": training["batch_size"],
                "batching": training["batching"],
                "seed": record.seed,
                "score": round(100 * record.score, 2),
            }


def table(runs: pd.DataFrame) -> str:
    """Return a line for each setting as markdown: the mean over seeds with random batches, and differences from it."""
    return tabulate(_lines(runs), HEADERS, tablefmt="pipe", disable_numparse=True)


def _lines(runs: pd.DataFrame) -> Iterator[list[str]]:
    for setting, group in runs.groupby(SETTING, sort=True):
        random, *others = (group.loc[group["batching"] == name, "score"] for name in ORDER)
        yield [*map(str, setting), _mean(random), *(_difference(values, random) for values in others)]


def _mean(values: pd.Series) -> str:
    """The mean, standard deviation and number of scores."""
    deviation = f" ± {values.std():.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{deviation} ({len(values)})" if len(values) else ""


def _difference(values: pd.Series, random: pd.Series) -> str:
    """The difference of the means with Welch's 95 % interval, not corrected for the number of comparisons."""
    if values.empty or random.empty:
        return ""
    difference, number = f"{values.mean() - random.mean():+.1f}", f"({len(values)})"
    if min(len(values), len(random)) < 2:
        return f"{difference} {number}"
    interval = ttest_ind(values, random, equal_var=False).confidence_interval()
    return f"{difference} [{interval.low:+.1f}, {interval.high:+.1f}] {number}"


def run(
    results: Annotated[
        list[Path], typer.Argument(help="result folders, and batch-order.csv of an earlier call to add to it")
    ],
    out: Annotated[Path, typer.Option(help="folder of the table and the scores")] = HERE / "results",
) -> None:
    """Write the scores of all runs to batch-order.csv, and print a table, which is written to batch-order.md."""
    try:
        runs = scores(results)
    except UserError as error:
        raise typer.BadParameter(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    runs.to_csv(out / "batch-order.csv", index=False)
    text = table(runs)
    (out / "batch-order.md").write_text(f"# batch-order\n\n{NOTE}\n\n{text}\n")
    typer.echo(text)


if __name__ == "__main__":
    typer.run(run)
