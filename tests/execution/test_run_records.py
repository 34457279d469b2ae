"""Cost of a run: its steps, its share of the teachers' time, and the undivided teachers' time."""

import pytest

from harness.execution import run_checkpoints, run_records


def train(cohort, **options):
    return list(cohort.train(**{"stop": lambda: False, "checkpoint": lambda run: None, **options}))


def test_runs_share_the_cost_of_their_teachers_equally(world):
    here = world()
    runs = [here.run("logit_kd", seed=seed) for seed in (1, 2, 3)] + [here.run("finetune")]
    cohort = here.cohort(*runs)
    train(cohort)
    costs = [run_records.cost(run, cohort_size=4, evaluation_seconds=1.5) for run in runs]
    *sharing, alone = costs
    assert alone.teacher_seconds == alone.teacher_seconds_whole == 0
    for cost in sharing:
        assert cost.teacher_seconds == pytest.approx(cost.teacher_seconds_whole / 3)
        assert cost.teacher_seconds_whole == sharing[0].teacher_seconds_whole > 0
        assert cost.teacher_forwards == cost.steps
    assert all(cost.student_seconds > 0 for cost in costs)
    steps = [here.stream().at(position, here.device) for position in range(costs[0].steps)]
    computed = sum(group.inputs["input_ids"].numel() for step in steps for group in step.groups("tokenizer"))
    assert {cost.padding for cost in costs} == {1 - sum(step.tokens for step in steps) / computed}
    together = sum(cost.student_seconds + cost.teacher_seconds for cost in costs)
    assert together <= max(cost.wall_seconds for cost in costs)
    assert {cost.evaluation_seconds for cost in costs} == {1.5}
    assert all(cost.micro_batch_size is None and cost.skipped_steps == 0 for cost in costs)


def test_costs_before_an_interruption_are_preserved(world, tmp_path):
    here, saved = world(), tmp_path / "run.pt"
    first = here.run("minilm")  # its second stage reads no teacher
    train(
        here.cohort(first), stop=lambda: first.progress.number == 1, checkpoint=lambda r: run_checkpoints.save(r, saved)
    )
    paid = first.cost.teacher_seconds, first.cost.teacher_seconds_whole
    again = here.run("minilm")
    assert run_checkpoints.restore(again, saved)
    train(here.cohort(again))
    assert again.ended
    assert (again.cost.teacher_seconds, again.cost.teacher_seconds_whole) == paid
    assert paid[0] == paid[1] > 0
    assert again.cost.student_seconds > first.cost.student_seconds
