"""Comparisons of two results folders: settings, environment, rows, equal keys, and the statistics of scores."""

import numpy as np
import pytest

from harness.analysis import pairwise
from harness.analysis.aggregate import summarize
from harness.analysis.folder_comparison import MANY, compare_folders
from harness.analysis.folder_scores import AVERAGE, OTHER_EXAMPLES, OTHER_SEEDS
from harness.analysis.inference import estimate, p_values
from harness.analysis.top_groups import holm
from harness.storage.plan_file import PlannedRow
from tests.support.results_factory import (
    GPU,
    SQUAD,
    SST2,
    answers,
    fill,
    plan,
    provenance,
    run_key,
    run_record,
    teacher_record,
)


def other_runs(change, planned=None):
    """Key -> a record with the score of `fill` plus a random change, for every run."""
    generator = np.random.default_rng(7)
    records = {}
    for run in (planned or plan()).runs:
        low = 0.6 if run.task == "sst2" else 60
        score = float(round(low + (generator.integers(0, 30) / (100 if run.task == "sst2" else 1)), 2))
        records[run.key] = run_record(run.task, run.label, run.student, run.seed, score, **change(run))
    return records


def folder(path, records, planned=None):
    """A folder with these records and predictions that give their scores."""
    store = fill(path, planned, leave_out=list(records), answered=True)
    for record in records.values():
        store.save(record, answers(record.task, record.key, record.score))
    return store


def on_others(task):
    """The task with other examples to score."""
    return task.model_copy(update={"data_fingerprint": "others"})


def compared(first, second):
    return compare_folders(summarize(first), summarize(second), (first.folder_of, second.folder_of))


def samples_of(found, row, task):
    """The scores of a compared row in both folders."""
    rows = [next(r for r in s.students if (r.label, r.student) == row) for s in (found.first, found.second)]
    return [r.cells[task].sample for r in rows]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The comparison of two folders with the same cells and other keys and scores."""
    root = tmp_path_factory.mktemp("pair")
    keys = {run.key: f"{run.key}-x" for run in plan().runs}
    planned = plan()
    planned = planned.model_copy(
        update={"runs": [run.model_copy(update={"key": keys[run.key]}) for run in planned.runs]}
    )
    changed = other_runs(
        lambda run: {"key": run.key, "parts": {"seed": run.seed, "training": {"lr": 3e-5}, "data": run.task}}, planned
    )
    first = fill(root / "first", answered=True)
    return compared(first, folder(root / "second", changed, planned))


def scores(found, scope, **where):
    return [s for s in found.scores if s.scope == scope and all(getattr(s, name) == v for name, v in where.items())]


def test_equal_folders_do_not_differ(tmp_path):
    one, other = fill(tmp_path / "a", answered=True), fill(tmp_path / "b", answered=True)
    found = compared(one, other)
    assert (found.settings, found.environment, found.own_rows, found.different) == ((), (), (), ())
    assert found.equal_keys == 26
    assert {score.difference.mean for score in found.scores} == {0.0}
    assert {score.p_holm for score in found.scores} == {1.0, None}
    assert {score.role for score in found.scores if score.p_holm is None} == {"teacher"}


def of_one_board(pair, scope, student):
    """Label -> the difference of its rows, from a board with the rows of both folders."""
    tasks, labels = ["sst2", "squad"] if scope == AVERAGE else [scope], ["finetune", "kd"]
    both = {label: [samples_of(pair, (label, student), task) for task in tasks] for label in labels}
    rows = [[samples[folder] for samples in both[label]] for folder in (1, 0) for label in labels]
    estimates = pairwise.differences(rows)  # b.finetune, b.kd, a.finetune, a.kd: pairs 01 02 03 12 13 23
    return dict(zip(labels, (estimates[1], estimates[4]), strict=True))


@pytest.mark.parametrize("scope", [AVERAGE, "sst2", "squad"])
@pytest.mark.parametrize("student", ["big", "small"])
def test_paired_differences_are_those_of_one_board_with_the_rows_of_both(pair, scope, student):
    for label, expected in of_one_board(pair, scope, student).items():
        (score,) = scores(pair, scope, label=label, student=student)
        assert not score.unpaired
        assert score.tasks == (("sst2", "squad") if scope == AVERAGE else (scope,))
        assert score.difference.mean == pytest.approx(score.second - score.first)
        stated = expected.stated
        assert (score.difference.mean, score.difference.low, score.difference.high, score.p) == pytest.approx(
            (stated.mean, stated.low, stated.high, stated.p)
        )


def test_p_values_are_corrected_over_the_rows_of_a_scope(pair):
    rows = scores(pair, AVERAGE, role="student")
    assert len(rows) == 4
    tested = [of_one_board(pair, AVERAGE, row.student)[row.label].tested.p for row in rows]
    expected = [max(row.p, p) for row, p in zip(rows, holm(tested), strict=True)]
    assert [row.p_holm for row in rows] == pytest.approx(expected)
    assert [row.distinguished for row in rows] == [row.p_holm <= 0.05 for row in rows]


def test_a_teacher_with_one_seed_is_compared_over_the_examples_and_has_no_p_value(tmp_path):
    one, other = (fill(tmp_path / name, plan(tasks=[SST2]), answered=True) for name in "ab")
    better = teacher_record("sst2", 0.97)
    other.save_teacher(better, answers("sst2", better.key, 0.97))
    found = compared(one, other)
    (score,) = scores(found, "sst2", role="teacher")
    assert (score.first, score.second, score.p, score.distinguished) == (92.0, 97.0, None, None)
    samples = [summary.teachers[0].cells["sst2"].sample for summary in (found.first, found.second)]
    draws = samples[1].draws[:, 0] - samples[0].draws[:, 0]
    assert score.difference.over == "examples"
    assert score.difference.error == pytest.approx(draws.std(ddof=1))


@pytest.mark.parametrize("reason", [OTHER_EXAMPLES, OTHER_SEEDS])
def test_scores_that_cannot_be_paired_are_independent(tmp_path, reason):
    """The variance of the difference is the sum of those of both means, and Welch's t the multiplier."""
    planned = plan(tasks=[SST2])
    if reason == OTHER_EXAMPLES:
        planned = plan(tasks=[on_others(SST2)])
        changed = other_runs(lambda run: {"data_fingerprint": "others"}, planned)
    else:
        runs = [r.model_copy(update={"seed": r.seed + 3, "key": f"{r.key}+"}) for r in planned.runs]
        planned = planned.model_copy(update={"seeds": [4, 5, 6], "runs": runs})
        changed = other_runs(lambda run: {"key": run.key}, planned)
    one = fill(tmp_path / "a", plan(tasks=[SST2]), answered=True)
    other = folder(tmp_path / "b", changed, planned)
    if reason == OTHER_EXAMPLES:
        teacher = teacher_record("sst2", data_fingerprint="others")
        other.save_teacher(teacher, answers("sst2", teacher.key, teacher.score))
    found = compared(one, other)
    for score in scores(found, "sst2", role="student"):
        samples = samples_of(found, (score.label, score.student), "sst2")
        assert score.unpaired == reason
        parts = [sample.variances() for sample in samples]
        assert score.difference.variances == pytest.approx(np.sum(parts, axis=0))
        seeds = [part.seeds for part in parts]
        welch = sum(seeds) ** 2 / sum(v**2 / 2 for v in seeds) if sum(seeds) else 4.0
        assert score.difference.freedom == pytest.approx(max(1.0, welch))
        assert score.p == p_values([score.difference])[0]


def test_an_average_over_paired_and_unpaired_tasks_adds_their_variances(tmp_path):
    changed = {
        key: record.model_copy(update={"data_fingerprint": "others"}) if record.task == "squad" else record
        for key, record in other_runs(lambda run: {}).items()
    }
    one = fill(tmp_path / "a", answered=True)
    other = folder(tmp_path / "b", changed, plan([SST2, on_others(SQUAD)]))
    teacher = teacher_record("squad", data_fingerprint="others")
    other.save_teacher(teacher, answers("squad", teacher.key, teacher.score))
    found = compared(one, other)
    for score in scores(found, AVERAGE, role="student"):
        assert score.unpaired == OTHER_EXAMPLES
        pairs = [samples_of(found, (score.label, score.student), task) for task in ("sst2", "squad")]
        expected = estimate([pairs[0][1] - pairs[0][0], pairs[1][1], pairs[1][0]], [0.5, 0.5, -0.5])
        assert score.difference.mean == pytest.approx(expected.mean)
        assert tuple(score.difference.variances) == pytest.approx(tuple(expected.variances))


def test_settings_come_from_the_suites_and_from_the_parts_of_keys(pair, tmp_path):
    parts = {setting.name: setting for setting in pair.settings}
    assert (parts["training.lr"].first, parts["training.lr"].second, parts["training.lr"].results) == (
        "absent",
        "3e-05",
        24,
    )
    assert (parts["data"].first, parts["data"].second) == ("absent", MANY)
    row = PlannedRow(method="kd", entry=0, plain=True, options={"t": 4.0}, teachers=["base"])
    changes = {"options": {"t": 2.0}, "entry": 3}
    one = fill(tmp_path / "a", plan(rows={"kd": row}))
    other = fill(tmp_path / "b", plan(rows={"kd": row.model_copy(update=changes)}, seeds=2, limits={"train": 64}))
    found = {setting.name: (setting.first, setting.second) for setting in compared(one, other).settings}
    assert found == {
        "row.kd.options.t": ("4.0", "2.0"),
        "seeds": ("[1, 2, 3]", "[1, 2]"),
        "training.limit": ("null", "absent"),
        "training.limit.train": ("absent", "64"),
    }


def test_versions_and_machines_are_listed_where_they_differ(tmp_path):
    newer = provenance(GPU, packages={"harness": "0.1.0", "torch": "2.14.0", "python": "3.11.9"}, git_dirty=True)
    one = fill(tmp_path / "a")
    other = fill(tmp_path / "b", instead=other_runs(lambda run: {"provenance": newer}))
    found = {item.name: (item.first, item.second) for item in compared(one, other).environment}
    cpu = "cpu, Test CPU, 2 cores, 2 threads"
    assert found == {
        "machine": (cpu, f"{cpu}; cuda, Test GPU, 16 cores, 8 threads"),
        "torch": ("2.13.0", "2.13.0; 2.14.0"),
        "git commit": ("0123456789ab", "0123456789ab; 0123456789ab with changes"),
    }


def test_rows_in_one_folder_only(tmp_path):
    planned = plan()
    kd = [run for run in planned.runs if run.label == "kd"]
    one = fill(tmp_path / "a")
    other = fill(tmp_path / "b", planned.model_copy(update={"runs": kd, "teachers": {"base": {}, "more": {}}}))
    own = [(row.folder, row.role, row.label, row.student) for row in compared(one, other).own_rows]
    assert own == [
        ("first", "student", "finetune", "big"),
        ("first", "student", "finetune", "small"),
        ("second", "teacher", "more", ""),
    ]


def test_results_with_the_same_key_that_differ_are_listed(tmp_path):
    key = run_key("sst2", "kd", "big", 1)
    one = fill(tmp_path / "a")
    other = fill(tmp_path / "b", instead={key: run_record("sst2", "kd", "big", 1, 0.5)})
    found = compared(one, other)
    assert found.equal_keys == 26
    (different,) = found.different
    assert (different.kind, different.key, different.name, different.difference) == (
        "run", key, "kd on big, sst2, seed 1", "score 0.85 and 0.5",
    )  # fmt: skip


def test_tasks_with_another_metric_are_not_compared(tmp_path):
    one = fill(tmp_path / "a")
    other = fill(tmp_path / "b", plan(tasks=[SST2.model_copy(update={"score": "f1"}), SQUAD]))
    assert {score.scope for score in compared(one, other).scores} == {"squad"}


def test_errors_of_several_tasks_have_no_average(tmp_path):
    errors = [task.model_copy(update={"percent": True, "higher_is_better": False}) for task in (SST2, SQUAD)]
    one, other = (fill(tmp_path / name, plan(errors)) for name in "ab")
    assert {score.scope for score in compared(one, other).scores} == {"sst2", "squad"}
