"""The union of plans: equal plans, other tasks, rows, students and seeds, and everything that contradicts."""

from pathlib import Path

import pytest

from harness.api.errors import UserError
from harness.config.latency_schema import LatencySpec
from harness.storage.plan_file import (
    EncoderShape,
    NotApplicable,
    PlannedGeneral,
    PlannedRow,
    PlannedStudy,
    PlannedTuning,
    TruncatedTexts,
)
from harness.workflow.plan_columns import PlanSource
from harness.workflow.plan_union import union
from tests.support import damaged_results
from tests.support.results_factory import SQUAD, SST2, plan, plan_with_examples


def source(name, planned, parts=None, done=()):
    return PlanSource(Path(name), planned, lambda key: (parts or {}).get(key, {}), lambda task: task in done)


def unite(*plans, prefer=None, to="results/demo", done=((), ()), parts=(None, None)):
    named = zip("ab", plans, parts, done, strict=False)
    return union([source(name, *given) for name, *given in named], Path(to), prefer)


def refusal(*plans, **given):
    with pytest.raises(UserError) as caught:
        unite(*plans, **given)
    return str(caught.value)


def with_runs(planned, change, where=lambda run: True):
    """The plan with changed runs; `change` returns the new fields of a run."""
    runs = [run.model_copy(update=change(run)) if where(run) else run for run in planned.runs]
    return planned.model_copy(update={"runs": runs})


def only(planned, *, tasks=None, labels=None, seeds=None):
    """The plan of a part of the suite."""
    tasks, labels, seeds = tasks or ["sst2", "squad"], labels or planned.labels, seeds or planned.seeds
    runs = [r for r in planned.runs if r.task in tasks and r.label in labels and r.seed in seeds]
    return planned.model_copy(
        update={
            "runs": runs,
            "tasks": [task for task in planned.tasks if task.name in tasks],
            "labels": [label for label in planned.labels if label in labels],
            "seeds": list(seeds),
            "teachers": {
                name: {t: k for t, k in keys.items() if t in tasks} for name, keys in planned.teachers.items()
            },
        }
    )


ROWS = {
    "finetune": PlannedRow(method="finetune", entry=0, plain=True, options={}, teachers=[], protocol="1 epoch"),
    "kd": PlannedRow(method="kd", entry=1, plain=True, options={"temperature": 4.0}, teachers=["base"]),
}


def full():
    return plan(
        command="harness run demo.yaml",
        rows=ROWS,
        shapes={"big": EncoderShape(layers=4, hidden=8, heads=2, ffn=16)},
        na=[NotApplicable(task="squad", label="finetune", student="small", reason="no head")],
        generals=[PlannedGeneral(key="g1", labels=["kd"], student="big", data="text", steps=4)],
        tuning=PlannedTuning(
            trials=2, seed=0, on="train", studies=[PlannedStudy(key="s1", task="sst2", label="kd", student="big")]
        ),
        latency=LatencySpec(),
    )


def test_the_union_of_equal_plans_is_that_plan(tmp_path):
    assert unite(full(), full()).plan == full()
    rich = damaged_results.whole(tmp_path).plan()
    assert unite(rich, rich).plan == rich


def test_parts_of_a_suite_make_the_suite():
    whole = plan(rows=ROWS)
    by_task = [only(whole, tasks=[task]) for task in ("sst2", "squad")]
    assert unite(*by_task).plan == whole
    by_label = [only(whole, labels=[label]) for label in ("finetune", "kd")]
    united = unite(*by_label).plan
    assert sorted(map(repr, united.runs)) == sorted(map(repr, whole.runs))
    assert united.model_copy(update={"runs": whole.runs}) == whole
    by_seed = [only(whole, seeds=seeds) for seeds in ([3, 1], [2])]
    united = unite(*by_seed).plan
    assert united.seeds == [1, 2, 3]
    assert united.teachers == whole.teachers, "the runs of all seeds share the teacher"
    assert {run.key for run in united.runs} == {run.key for run in whole.runs}


def test_a_teacher_of_each_seed_is_joined_by_seed():
    def of(*seeds):
        teachers = {"base": {task: [f"base-{task}-{seed}" for seed in seeds] for task in ("sst2", "squad")}}
        part = only(plan(), seeds=list(seeds)).model_copy(update={"teachers": teachers})
        return with_runs(part, lambda run: {"teacher_seeds": [10 + run.seed] if run.teachers else []})

    assert unite(of(2), of(1, 3)).plan.teachers["base"]["sst2"] == ["base-sst2-1", "base-sst2-2", "base-sst2-3"]
    shared = with_runs(of(2), lambda run: {"teacher_seeds": [11] if run.teachers else []})
    assert "have different teachers base" in refusal(shared, of(1, 3))


def test_seeds_that_some_rows_lack_are_refused():
    message = refusal(only(plan(), seeds=[1, 2]), only(plan(), seeds=[3], labels=["kd"]))
    assert message.startswith("seeds: these are not planned for all seeds (1, 2, 3): finetune on big, sst2; ")


def test_other_keys_are_refused_with_the_parts_that_differ():
    other = with_runs(plan(), lambda run: {"key": f"{run.key}-x"}, lambda run: run.task == "sst2" and run.seed == 1)
    keys = [run.key for run in plan().runs]
    before = {key: {"numeric": {"threads": 1}} for key in keys}
    after = {f"{key}-x": {"numeric": {"threads": 4}} for key in keys}
    message = refusal(plan(), other, parts=(before, after))
    assert "task sst2: 4 of 15 keys of runs and teachers differ between a and b: numeric.threads: 1 -> 4" in message
    assert "--prefer first|last" in message
    assert "task squad" not in message
    assert "`harness plan SUITE` names the parts" in refusal(plan(), other)


def test_plans_that_score_different_examples_are_refused():
    known = plan_with_examples()
    sst2, squad = known.tasks
    other = only(known, labels=["kd"])
    other = other.model_copy(update={"tasks": [sst2.model_copy(update={"data_fingerprint": "others"}), squad]})
    mine = only(known, labels=["finetune"])
    expected = "task sst2: runs in a and b score different examples: fingerprint-of-sst2 and others"
    assert expected in refusal(mine, other)
    united = unite(mine, other, prefer="last", done=((), ("sst2",)))
    assert [task.data_fingerprint for task in united.plan.tasks] == ["others", "fingerprint-of-squad"]
    assert expected in united.decisions[0]
    assert unite(only(plan(), labels=["finetune"]), mine).plan.tasks == known.tasks, "plans of older versions lack them"


def truncated(*students, max_length=64):
    return TruncatedTexts(students=list(students), max_length=max_length, examined={"train": 100}, longer={"train": 20})


def with_truncated(known, *entries):
    sst2, *others = known.tasks
    return known.model_copy(update={"tasks": [sst2.model_copy(update={"truncated": list(entries)}), *others]})


def test_equal_truncations_are_one_of_all_their_students():
    big, small, other = truncated("big"), truncated("small"), truncated("small", max_length=32)
    (sst2, _) = unite(with_truncated(plan(), big), with_truncated(plan(), big, small)).plan.tasks
    assert sst2.truncated == [truncated("big", "small")]
    (sst2, _) = unite(with_truncated(plan(), big), with_truncated(plan(), other)).plan.tasks
    assert sst2.truncated == [big, other]
    assert unite(plan(), with_truncated(plan(), big)).plan.tasks[0].truncated == [big], "older plans lack them"


def test_truncations_are_those_of_the_runs_that_are_shown():
    first, second = plan_with_examples(), plan_with_examples()
    sst2, squad = second.tasks
    second = second.model_copy(update={"tasks": [sst2.model_copy(update={"data_fingerprint": "others"}), squad]})
    first, second = with_truncated(first, truncated("big")), with_truncated(second, truncated("big", max_length=32))
    united = unite(first, second, prefer="last", done=((), ("sst2",)))
    assert united.plan.tasks[0].truncated == [truncated("big", max_length=32)]


PARTS = {
    "training": {"epochs": 1.0, "lr": 5e-5},
    "numeric": {"device": "cpu", "teacher_tensors": "fresh", "threads": 1},
    "code": 3,
    "data": {"train": "t1", "tokenizer": "bert", "max_length": 16},
    "method": {"name": "finetune"},
    "teachers": [],
}

OF_THE_SUITE = {
    "training.epochs: 1.0 -> 8.0": {"training": {"epochs": 8.0, "lr": 5e-5}},
    "numeric.threads: 1 -> 4": {"numeric": {"device": "cpu", "teacher_tensors": "fresh", "threads": 4}},
    "code: 3 -> 4": {"code": 4},
    'data.train: "t1" -> "t2"': {"data": {"train": "t2", "tokenizer": "bert", "max_length": 16}},
    'selection.epoch: absent -> "best"': {"selection": {"epoch": "best"}},
}

OF_A_ROW = {
    "method": {"name": "kd"},
    "teachers": ["base"],
    "tuning": {"trials": 8},
    "numeric": {"device": "cpu", "teacher_tensors": "kept", "threads": 1},
    "data": {"train": "t1", "tokenizer": "roberta", "max_length": 16},
}


def rows_of_two_suites(changes):
    """Plans without a common run, the second with `changes` of the parts of its keys; and these parts."""
    plans = only(plan(), labels=["finetune"]), only(plan(), labels=["kd"])
    return plans, [
        {run.key: PARTS | changed for run in part.runs} for part, changed in zip(plans, ({}, changes), strict=True)
    ]


@pytest.mark.parametrize("difference", OF_THE_SUITE)
def test_rows_trained_with_other_settings_of_the_suite_are_refused_without_a_common_run(difference):
    plans, parts = rows_of_two_suites(OF_THE_SUITE[difference])
    message = refusal(*plans, parts=parts)
    assert f"task sst2: runs in a and b have different settings: {difference}; give both folders the same" in message
    united = unite(*plans, parts=parts, prefer="last", done=[["sst2", "squad"]] * 2)
    assert {run.label for run in united.plan.runs} == {"kd"}
    assert all(decision.endswith("; the column is that of b") for decision in united.decisions)


def test_rows_may_differ_in_what_is_their_own():
    plans, parts = rows_of_two_suites(OF_A_ROW)
    assert {run.label for run in unite(*plans, parts=parts).plan.runs} == {"finetune", "kd"}
    plans, parts = rows_of_two_suites(OF_THE_SUITE["code: 3 -> 4"])
    assert len(unite(*plans, parts=[parts[0], {}]).plan.runs) == len(plan().runs), "the other folder has no result"


@pytest.mark.parametrize(("prefer", "done", "chosen"), [("first", "ab", "a"), ("last", "ab", "b"), ("first", "b", "b")])
def test_a_preference_takes_the_whole_column_of_a_folder_with_results(prefer, done, chosen):
    other = with_runs(plan(), lambda run: {"key": f"{run.key}-x"}, lambda run: run.task == "sst2" and run.seed == 1)
    teachers = {"base": {"sst2": ["base-sst2-x"], "squad": ["base-squad"]}}
    other = other.model_copy(update={"teachers": teachers})
    united = unite(plan(), other, prefer=prefer, done=[("sst2",) if name in done else () for name in "ab"])
    assert united.plan == {"a": plan(), "b": other}[chosen]
    (decision,) = united.decisions
    assert decision.endswith(f"; the column is that of {chosen}")


def test_the_rows_of_a_grid_stay_one_entry():
    def grid(*values):
        rows = {f"kd-t={t}": ROWS["kd"].model_copy(update={"options": {"t": t}}) for t in values}
        return plan(tasks=[SST2]).model_copy(update={"rows": {**rows, "finetune": ROWS["finetune"]}})

    rows = unite(grid(1, 2), grid(2, 3)).plan.rows
    assert {label: row.entry for label, row in rows.items()} == {"kd-t=1": 1, "kd-t=2": 1, "finetune": 0, "kd-t=3": 1}


CONTRADICTIONS = {
    "row kd: differs between a and b: options.temperature: 4.0 -> 2.0": {
        "rows": {**ROWS, "kd": ROWS["kd"].model_copy(update={"options": {"temperature": 2.0}})}
    },
    "architecture of big: differs between a and b: layers: 4 -> 6": {
        "shapes": {"big": EncoderShape(layers=6, hidden=8, heads=2, ffn=16)}
    },
    'task sst2: differs between a and b: score: "accuracy" -> "f1"': {
        "tasks": [SST2.model_copy(update={"score": "f1"}), SQUAD]
    },
    "training.limit: differs between a and b: train: absent -> 100": {"limits": {"train": 100}},
    "tuning: differs between a and b": {"tuning": None},
    "latency: the settings differ in a, b; choose with --prefer first|last": {"latency": LatencySpec(rounds=99)},
}


@pytest.mark.parametrize("message", CONTRADICTIONS)
def test_contradictions_name_what_differs_and_where(message):
    assert message in refusal(full(), full().model_copy(update=CONTRADICTIONS[message]))


def test_all_contradictions_are_reported_at_once():
    changes = {name: value for update in list(CONTRADICTIONS.values())[:2] for name, value in update.items()}
    assert len(refusal(full(), full().model_copy(update=changes)).splitlines()) == 2


def test_latency_settings_of_one_plan_are_kept_and_a_preference_chooses():
    assert unite(full().model_copy(update={"latency": None}), full()).plan.latency == LatencySpec()
    other = full().model_copy(update={"latency": LatencySpec(rounds=99)})
    assert unite(full(), other, prefer="first").plan.latency == LatencySpec()
    assert unite(full(), other, prefer="last").plan.latency.rounds == 99


def test_a_cell_with_runs_in_one_plan_is_applicable():
    na = [NotApplicable(task="sst2", label="kd", student="big", reason="too deep")]
    without = with_runs(plan(na=na), lambda run: {})
    assert unite(without, plan()).plan.not_applicable == []
    assert unite(without, without).plan.not_applicable == na


PART = "harness run s.yaml --only task=a --results x"


@pytest.mark.parametrize(
    ("commands", "to", "expected"),
    [
        ([PART, "harness run s.yaml --only=task=b"], "results/demo", "harness run s.yaml"),
        ([PART, "harness run s.yaml"], "m/demo", "harness run s.yaml --results m"),
        ([PART, "harness.run(...)"], "m/other", "harness run s.yaml; harness.run(...)"),
        (["harness run a; harness run b --results x", "harness run a"], "results/demo", "harness run a; harness run b"),
        (["harness run 'a b.yaml' --set 'x=[1]'"], "results/demo", "harness run 'a b.yaml' --set 'x=[1]'"),
    ],
)
def test_the_command_repeats_what_is_missing(commands, to, expected):
    plans = [plan(command=command) for command in commands]
    assert unite(*plans, to=to, done=[()] * len(plans), parts=[None] * len(plans)).plan.command == expected


def test_suites_of_different_names_get_that_of_the_folder():
    assert unite(plan(), plan(suite="other"), to="results/both").plan.suite == "both"
    assert unite(plan(), plan(), to="results/both").plan.suite == "demo"
