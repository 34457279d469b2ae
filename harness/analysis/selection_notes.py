"""Notes on selection (best epoch, tuned options): what was selected, and on which examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.summary import Summary
from harness.storage.records import RunRecord, SelectionRecord, TeacherRecord

Selection = tuple[RunRecord, SelectionRecord]


def marks(summary: Summary) -> Iterator[tuple[str, str]]:
    """Mark the board if reported scores were also used for selection."""
    selections = [(run, on) for run, on in _selections(summary) if on.on == "validation" and (on.epochs or run.tuning)]
    if selections:
        yield (
            "SELECTED ON VALIDATION",
            f"the reported scores ({', '.join(_tasks(selections))}) were also used to select {_selected(selections)},"
            " so they are likely to be too high. Use this to reproduce papers that select this way; do not compare with"
            " other boards",
        )


def score_notes(summary: Summary) -> Iterator[str]:
    """How to read scores of selected epochs."""
    selections = [(run, on) for run, on in _selections(summary) if on.epochs]
    if selections:
        on = _held_out(summary) if selections[0][1].on == "train" else "the validation examples themselves"
        yield (
            f"A score is that of the best epoch of a run's last stage, selected by the task's score on {on}; ties take"
            " the first epoch. Earlier stages, and teachers, use their last epoch."
        )


def provenance(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield one line per task for the provenance section of a board: on which examples what was selected."""
    selections = _selections(summary)
    for task in _tasks(selections):
        of_task = [(run, on) for run, on in selections if run.task == task]
        on = of_task[0][1]
        held_out = f"{on.examples} examples held out of the training split (share {on.share}, seed {on.seed})"
        examples = held_out if on.on == "train" else f"the {on.examples} validation examples"
        yield f"Selected on, {task}", f"{examples}, `{on.fingerprint}`: {_selected(of_task)}"


def _held_out(summary: Summary) -> str:
    """The held-out examples in words. A checkpoint that was fine-tuned elsewhere may have been trained on them."""
    before = {
        result.name: None for result in summary.results if isinstance(result, TeacherRecord) and not result.finetune
    }
    if not before:
        return "examples held out of the training split, on which neither students nor teachers were trained"
    return (
        "examples held out of the training split, on which this suite trained no student and no teacher"
        f" (fine-tuned elsewhere, perhaps on them: {', '.join(before)})"
    )


def _selections(summary: Summary) -> list[Selection]:
    return [
        (result, result.selection) for result in summary.results if isinstance(result, RunRecord) and result.selection
    ]


def _tasks(selections: Sequence[Selection]) -> list[str]:
    return list(dict.fromkeys(run.task for run, _ in selections))


def _selected(selections: Sequence[Selection]) -> str:
    """``the options of methods and each run's best of 3 epochs``: what was selected."""
    counts = sorted({len(on.epochs) for _, on in selections if on.epochs})
    number = "" if not counts else f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    epochs = [f"each run's best of {number} epoch{'s' * (number != '1')}"] if counts else []
    options = ["the options of methods"] if any(run.tuning for run, _ in selections) else []
    return " and ".join([*options, *epochs]) or "nothing"
