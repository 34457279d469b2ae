"""docs/tasks.md against the tasks that it lists."""

from pathlib import Path

import pytest

from harness.tasks import glue, squad

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
ROWS = {
    cells[0].strip("`"): cells[1:]
    for line in PAGE.splitlines()
    if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 6
}
TASKS = {task.name: task for task in (*glue.TASKS, *squad.TASKS)}


def test_every_task_has_its_row_and_no_other():
    assert set(ROWS) == set(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_a_row_says_what_the_task_says(name):
    task, (source, _, _, metrics, score) = TASKS[name], ROWS[name]
    assert source.split(", ")[0] == task.source
    assert score.split(", ")[0] == task.score
    assert task.score in metrics
    assert f"`{task.source}` is `{task.default_source}`" in PAGE
