"""Effect of `selection` on a suite's data and keys."""

import json

import pytest

from harness.api.errors import UserError
from harness.cli.plan_command import plan_suite
from harness.planning import memory_packing


def keys(plan):
    return [job.planned.key for job in plan.runs]


def data(plan):
    (one,) = {id(job.data): job.data for job in (*plan.runs, *plan.teachers)}.values()
    return one


def test_by_default_nothing_is_held_out(small):
    plan = small.plan()
    assert data(plan).selection_fingerprint is None
    assert data(plan).splits.selection is None
    assert keys(small.plan("selection=null")) == keys(plan)
    names = {"method", "student", "teachers", "data", "seed", "data_seed", "training", "numeric", "kept", "code"}
    assert all(job.parts.keys() | {"kept"} == names for job in plan.runs)


def test_teachers_and_students_do_not_train_on_the_held_out_split(small):
    plan, plain = small.plan("selection=train"), small.plan()
    splits, full = data(plan).splits, data(plain).splits.train
    assert len(splits.selection) == 24
    assert sorted([*splits.train["id"], *splits.selection["id"]]) == sorted(full["id"])
    assert data(plan).selection_fingerprint not in (None, data(plan).train_fingerprint)
    assert data(plan).validation_fingerprint == data(plain).validation_fingerprint
    assert {job.parts["data"]["train"] for job in (*plan.runs, *plan.teachers)} == {data(plan).train_fingerprint}
    assert not set(keys(plan)) & set(keys(plain))


@pytest.mark.parametrize("override", ["selection={share: 0.15}", "selection={seed: 2}"])
def test_the_held_out_split_is_part_of_the_keys(small, override):
    # At least 100 examples are held out, but at most 20 %: 24 of 120 for any share.
    same = "share" in override
    assert (keys(small.plan(override)) == keys(small.plan("selection=train"))) == same


def test_a_limit_does_not_change_the_held_out_split(small):
    plan, limited = small.plan("selection=train"), small.plan("selection=train", "training.limit.train=50")
    assert data(limited).selection_fingerprint == data(plan).selection_fingerprint
    assert len(data(limited).splits.train) == 50
    assert set(data(limited).splits.train["id"]) < set(data(plan).splits.train["id"])


PLANNED = {
    "selection=train": "24 of order (96 are trained on). Each run scores all of them after every epoch of its last",
    "selection={epoch: last}": "24 of order (96 are trained on). They are not scored.",
    "tuning={trials: 2}": "24 of order (96 are trained on). Each trial scores all of them once.",
    "selection=validation": None,
    "seeds=[1]": None,
}


@pytest.mark.parametrize(("override", "expected"), PLANNED.items(), ids=PLANNED)
def test_plan_says_how_many_examples_are_held_out_and_how_often_they_are_scored(small, capsys, override, expected):
    def planned(*overrides, as_json=False):
        plan_suite(str(small.path), [override, *overrides], [], small.folder / "results", as_json=as_json)
        return capsys.readouterr().out

    text, content = planned(), json.loads(planned(as_json=True))
    if expected is None:
        assert "held" not in text
        assert "held_out" not in content
        return
    assert f"Held out of the training splits: {expected}" in text
    assert "training.limit" not in text
    assert content["held_out"] == {"order": 24}
    limited = planned("training.limit.train=20")
    assert "24 of order (20 are trained on)" in limited
    assert "more than the training examples of order" in limited
    assert "10 of order (20 are trained on)" in planned("training.limit={train: 20, validation: 10}")


def test_selection_on_the_validation_splits_holds_nothing_out(small):
    plan, plain = small.plan("selection=validation"), small.plan()
    assert data(plan).splits.selection is None
    assert data(plan).selection_fingerprint == data(plan).validation_fingerprint
    assert data(plan).train_fingerprint == data(plain).train_fingerprint
    assert [job.key for job in plan.teachers] == [job.key for job in plain.teachers]


def test_a_training_split_that_is_too_small_raises_an_error(small):
    text = (small.folder / "order.py").read_text(encoding="utf-8")
    (small.folder / "order.py").write_text(text.replace("examples(120, 1)", "examples(40, 1)"), encoding="utf-8")
    with pytest.raises(UserError, match="task 'order' has 40 training examples") as caught:
        small.plan("selection=train")
    assert caught.value.problems[0].where == "selection"


def test_weights_of_the_best_epoch_count_on_a_device_without_its_own_memory(small):
    (best, *_), (last, *_) = (small.plan(f"selection={{epoch: {epoch}}}").runs for epoch in ("best", "last"))
    assert best.best_epoch
    assert not last.best_epoch
    resident = {
        (job.best_epoch, device): memory_packing.of_run(job, device).resident
        for job in (best, last)
        for device in ("cpu", "cuda")
    }
    weights = resident[False, "cpu"] // 3
    assert resident == {
        (True, "cpu"): 4 * weights,
        (True, "cuda"): 3 * weights,
        (False, "cpu"): 3 * weights,
        (False, "cuda"): 3 * weights,
    }


def test_selection_is_in_the_key_only_if_a_run_uses_its_best_epoch(small):
    best, last = small.plan("selection=train"), small.plan("selection={epoch: last}")
    assert {"selection"} == set(best.runs[0].parts) - set(last.runs[0].parts)
    assert best.runs[0].parts["selection"] == {"epoch": "best", "examples": data(best).selection_fingerprint}
    assert data(best).train_fingerprint == data(last).train_fingerprint
    assert [job.key for job in best.teachers] == [job.key for job in last.teachers]
