"""What README.md says of the committed board results/laptop is what the board says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
BOARD = json.loads((ROOT / "results" / "laptop" / "leaderboard.json").read_text(encoding="utf-8"))
ROWS = {row["label"]: row for row in BOARD["rows"]}
STUDENTS = {label for label, row in ROWS.items() if row["role"] == "student"}


def better_than(baseline: str) -> set[str]:
    """The rows that are significantly better on the average."""
    found = set()
    for pair in BOARD["comparisons"]:
        first, second = pair["labels"]
        winner = first if pair["difference"] > 0 else second
        if pair["significant"] and baseline in pair["labels"] and winner != baseline:
            found.add(winner)
    return found


def names(text: str) -> set[str]:
    return set(re.split(r", | and ", text))


def test_the_rows_that_are_significantly_better():
    found = re.search(
        r"average, ([^.]*?) are significantly better than fine-tuning for the same three epochs; (.*?) are not\. "
        r"Only (.*?) are significantly better than fine-tuning for ten epochs",
        README,
    )
    assert found is not None
    better, others, longer = map(names, found.groups())
    assert better == better_than("finetune") - {"finetune-10"}
    assert others == STUDENTS - better - {"finetune", "finetune-10"}
    assert longer == better_than("finetune-10")


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("tinybert", "tinybert scores {}"),
        ("mlkd_bert", "mlkd_bert {}"),
        ("finetune", "fine-tuning {}"),
        ("finetune-10", "{} with ten epochs"),
        ("minilm6", "the teacher scores {}"),
    ],
)
def test_the_scores_on_stsb(label, text):
    assert text.format(f"{ROWS[label]['tasks']['stsb']['mean']:.1f}") in README


def test_the_range_on_sst2():
    scores = [ROWS[label]["tasks"]["sst2"]["mean"] for label in STUDENTS]
    assert f"between {min(scores):.1f} and {max(scores):.1f}" in README
