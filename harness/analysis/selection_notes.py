"""What a board says of choices: what was chosen, on which examples, and where those are the ones that it reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.summary import Summary
from harness.storage.records import RunRecord, SelectionRecord

Chosen = tuple[RunRecord, SelectionRecord]


def marks(summary: Summary) -> Iterator[tuple[str, str]]:
    """Whether scores are of examples that something was chosen on."""
    found = [(run, on) for run, on in _runs(summary) if on.on == "validation" and (on.epochs or run.tuning)]
    if found:
        yield (
            "SELECTED ON VALIDATION",
            f"the scores that stand here ({', '.join(_tasks(found))}) also chose {_what(found)}, so they are likely to"
            " be too high: for reproducing papers that chose so, and not to be compared with other boards",
        )


def reading(summary: Summary) -> Iterator[str]:
    """Which of a run's epochs is scored, if that was chosen."""
    found = [(run, on) for run, on in _runs(summary) if on.epochs]
    if found:
        where = "examples held out of the training split, which neither students nor teachers were trained on"
        on = where if found[0][1].on == "train" else "the validation examples themselves"
        yield (
            "A score is of the best of the epochs of a run's last stage, and of equal ones of the first: chosen by the"
            f" task's score on {on}. Stages before the last, and teachers, keep their last epoch."
        )


def provenance(summary: Summary) -> Iterator[tuple[str, str]]:
    """On which examples, task by task."""
    runs = _runs(summary)
    for task in _tasks(runs):
        found = [(run, on) for run, on in runs if run.task == task]
        on = found[0][1]
        told = f"{on.examples} examples held out of the training split (share {on.share}, seed {on.seed})"
        where = told if on.on == "train" else f"the {on.examples} validation examples"
        yield f"Chosen on, {task}", f"{where}, `{on.fingerprint}`: {_what(found)}"


def _runs(summary: Summary) -> list[Chosen]:
    return [
        (result, result.selection) for result in summary.results if isinstance(result, RunRecord) and result.selection
    ]


def _tasks(found: Sequence[Chosen]) -> list[str]:
    return list(dict.fromkeys(run.task for run, _ in found))


def _what(found: Sequence[Chosen]) -> str:
    """What was chosen."""
    counts = sorted({len(on.epochs) for _, on in found if on.epochs})
    of = "" if not counts else f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    epochs = [f"each run's best of {of} epoch{'s' * (of != '1')}"] if counts else []
    options = ["the options of methods"] if any(run.tuning for run, _ in found) else []
    return " and ".join([*options, *epochs]) or "nothing"
