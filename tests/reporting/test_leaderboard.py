import os
import shutil
from math import isnan
from pathlib import Path

import pandas as pd
import pytest

from harness.analysis.compatibility import OTHER_METRIC, _scored_by, refuse_mixes
from harness.api.errors import UserError
from harness.reporting import report
from harness.storage.plan_file import DataReport, NotApplicable, TruncatedTexts
from harness.storage.records import RunRecord
from harness.storage.store import Store
from tests.support.results_factory import (
    CPU,
    GPU,
    SQUAD,
    SST2,
    failed,
    fill,
    in_older_layout,
    plan,
    plan_with_examples,
    provenance,
    run_key,
    run_record,
    size,
    teacher_record,
)

WHOLE = """\
# demo: leaderboard

|      rank | method            | student   |   sst2 accuracy |       squad f1 |        average |   params (M) |
|----------:|:------------------|:----------|----------------:|---------------:|---------------:|-------------:|
| *teacher* | *base*            | –         |      92.0 ± 8.3 |     88.0 ± 8.5 |     90.0 ± 5.9 |        100.0 |
|         – | *constant answer* | –         |            50.0 |              – |              – |            – |
|           |                   |           |                 |                |                |              |
|       1 ● | kd                | big       |  **86.0 ± 4.7** | **77.0 ± 5.6** | **81.5 ± 3.7** |         50.0 |
|         2 | finetune          | big       |      82.0 ± 5.2 |     71.0 ± 6.2 |     76.5 ± 4.0 |         50.0 |
|           |                   |           |                 |                |                |              |
|       3 ● | kd                | small     |  **75.0 ± 5.4** | **74.0 ± 5.6** | **74.5 ± 3.9** |         10.0 |
|         4 | finetune          | small     |      72.0 ± 5.5 |     61.0 ± 5.8 |     66.5 ± 4.0 |         10.0 |

- ● top group: the best average of its student, and the rows that do not differ significantly from it (paired over seeds and examples, given this teacher; all pairs of the student, Holm-corrected at 5 %)

## Over the whole suite

| method   | student   |           average |   IQM (% of teacher) |    gap closed |    behind the best |   p (Holm) |
|:---------|:----------|------------------:|---------------------:|--------------:|-------------------:|-----------:|
| kd       | big       | 81.5 [77.8, 84.5] |    90.5 [84.8, 96.2] |  37 % [1, 69] |                  – |          – |
| finetune | big       | 76.5 [72.5, 80.0] |    84.6 [78.5, 90.8] |             – |  -5.0 [-9.9, -0.1] |      0.045 |
|          |           |                   |                      |               |                    |            |
| kd       | small     | 74.5 [70.6, 77.9] |    82.2 [76.4, 88.0] | 34 % [13, 54] |                  – |          – |
| finetune | small     | 66.5 [62.5, 70.2] |    73.5 [68.0, 79.1] |             – | -8.0 [-13.3, -2.7] |      0.004 |

## Standard deviation over seeds

| method   | student   |   sst2 |   squad |   average |
|:---------|:----------|-------:|--------:|----------:|
| kd       | big       |    1.0 |     1.0 |       1.0 |
| finetune | big       |    2.0 |     1.0 |       1.5 |
|          |           |        |         |           |
| kd       | small     |    0.0 |     2.0 |       1.0 |
| finetune | small     |    2.0 |     1.0 |       1.5 |

## Size and cost

| method   | student   |   params (M) |   compression |   training cost |   runs |
|:---------|:----------|-------------:|--------------:|----------------:|-------:|
| *base*   | –         |        100.0 |          1.0× |        25.0 min | 2 of 2 |
|          |           |              |               |                 |        |
| kd       | big       |         50.0 |          2.0× |         7.5 min | 6 of 6 |
| finetune | big       |         50.0 |          2.0× |         7.5 min | 6 of 6 |
|          |           |              |               |                 |        |
| kd       | small     |         10.0 |         10.0× |         7.5 min | 6 of 6 |
| finetune | small     |         10.0 |         10.0× |         7.5 min | 6 of 6 |

## How to read it

- A score is the mean over 3 seeds, times 100 (squad: as reported, from 0 to 100). ± is the longer side of its 95 % interval over seeds and examples, given this teacher: examples are resampled (2,000 times, the same resamples for all rows), and Student's t accounts for the small number of seeds. leaderboard.csv has both ends. With another teacher, methods may differ by more than the interval shows, however many seeds there are. To fine-tune one teacher per seed, set the teacher's `seeds` in the suite. A teacher has one seed, so its interval, if its predictions are stored, covers the examples only.
- Constant answer: the best score of one answer for every example, chosen by the labels; correlations and question answering have none. † marks scores that are no better.
- The average is over the tasks. Students of all sizes are ranked by it; equal printed averages share a rank. A row with a missing, failed or n/a cell has no average and no rank. Bold: the best of its student.
- IQM: the interquartile mean over tasks and seeds of the score in percent of the first teacher's on that task, without the best and the worst quarter (rliable, arXiv 2108.13264).
- Gap closed: the share of the gap between finetune on the same student and teacher base that a method closes, on the average; with Fieller's 95 % interval from the variances of these rows alone. It is omitted where the gap does not differ significantly from 0.
- Behind the best: the paired difference from the best average of the same student, with an uncorrected 95 % interval, for which a variance over seeds that is smaller than the mean of all pairs is moderated towards it; p is corrected for all pairs of the student. Methods in one group are not necessarily equal: more seeds may separate them.
- Compression: parameters of teacher base over the student's, heads included.
- Training cost: time of the student's own steps plus its share of its teachers' forward passes, over all tasks and seeds of the row. Fine-tuning a teacher counts in the teacher's row only.

## Where it comes from

- Command: `harness run demo.yaml`
- Seeds: 1, 2, 3
- Examples scored, sst2: `fingerprint-of-sst2`, the same in 13 results
- Examples scored, squad: `fingerprint-of-squad`, the same in 13 results
- Hardware: cpu, Test CPU, 2 cores, 2 threads, 8 GiB
- Packages: kd-harness 0.1.0, python 3.11.9, torch 2.13.0
- Code: git commit `0123456789ab`
"""  # noqa: E501


def lines(folder: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    """(method, student) -> the strings of that line, the rank without its ●."""
    return {
        (line.cells[1], line.cells[2]): (line.cells[0].removesuffix(" ●"), *line.cells[1:])
        for line in report(folder).board.lines
    }


def costs(folder: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    """(method, student) -> parameters, compression, training cost, runs."""
    (table,) = [table for table in report(folder).board.tables if table.title == "Size and cost"]
    return {(line.cells[0], line.cells[1]): line.cells[2:] for line in table.lines}


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(report(folder).files[1]).set_index(["label", "student"])


def killed(source: Path, target: Path) -> None:
    raise KeyboardInterrupt


def test_complete_board(tmp_path):
    fill(tmp_path, answered=True)
    written = report(tmp_path)
    assert written.markdown == WHOLE
    formats = [f"leaderboard.{name}" for name in ("md", "csv", "tex", "bib", "json")]
    assert [path.name for path in written.files] == [*formats, "index.html"]
    assert written.files[0].read_bytes() == WHOLE.encode()


def test_board_depends_on_the_store_only(tmp_path):
    fill(tmp_path / "a")
    fill(tmp_path / "b", backwards=True)
    for number, path in enumerate(sorted((tmp_path / "b").rglob("*"))):
        os.utime(path, (number, number))
    texts = [[path.read_bytes() for path in report(tmp_path / name).files] for name in ("a", "b", "a")]
    assert texts[0] == texts[1] == texts[2]


def test_killed_report_leaves_the_old_board(tmp_path, monkeypatch):
    store = fill(tmp_path)
    old = {path: path.read_bytes() for path in report(tmp_path).files}
    store.save_teacher(teacher_record("sst2", 0.99))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            report(tmp_path)
    assert {path: path.read_bytes() for path in old} == old
    assert b"99.0" in report(tmp_path).files[0].read_bytes()


def test_scores_with_another_metric_are_refused(tmp_path):
    """The task was changed since, and all metrics are in the records as before."""
    metrics = {SST2.score: 0.8, "other": 0.5}
    now = run_record("sst2", "kd", "big", 1, metrics=metrics)
    of_splits = run_record(
        "sst2", "kd", "big", 2, metrics={f"a_{SST2.score}": 0.7, f"b_{SST2.score}": 0.9, "b_other": 1.0}
    )
    refuse_mixes(Store(tmp_path), plan(), [now])
    refuse_mixes(Store(tmp_path), plan(), [of_splits])
    before = run_record("sst2", "finetune", "big", 1, score=0.5, metrics=metrics)
    for results in ([before], [now, before]):
        with pytest.raises(
            UserError, match=r"results of sst2 scored by another metric(.|\n)*score that is not the task's metric"
        ):
            refuse_mixes(Store(tmp_path), plan(), results)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_fingerprint": "another"}, ["different examples", "data_fingerprint another, 1 of 13"]),
        ({"metrics": {"matthews": 0.5}}, ["different metrics", "metrics matthews, 1 of 13"]),
    ],
)
def test_mixed_examples_are_refused_and_the_old_board_is_kept(tmp_path, changes, words):
    key = run_key("sst2", "kd", "small", 2)
    fill(tmp_path, leave_out=[key])
    old = {path: path.read_bytes() for path in report(tmp_path).files}
    Store(tmp_path).save(run_record("sst2", "kd", "small", 2, **changes))
    with pytest.raises(UserError) as caught:
        report(tmp_path)
    message = str(caught.value)
    everyone = [run_key("sst2", "finetune", "big", 1), "base-sst2"]
    for word in [*words, key, str(tmp_path / "runs" / key / "record.json"), *everyone, "Delete"]:
        assert word in message
    assert "squad" not in message
    assert {path: path.read_bytes() for path in old} == old


def test_teacher_scored_on_other_examples_is_refused(tmp_path):
    """If the plan, of an older version, does not say which examples are scored."""
    store = fill(tmp_path)
    shutil.rmtree(store.folder_of(teacher_record("squad")))
    store.save_teacher(teacher_record("squad", data_fingerprint="another"))
    with pytest.raises(UserError, match=r"teachers/base-squad-another/record\.json"):
        report(tmp_path)


def test_a_board_reads_the_teachers_on_the_examples_of_its_plan(tmp_path):
    store = fill(tmp_path / "one", plan_with_examples())
    expected = report(store.folder).markdown
    for task in ("sst2", "squad"):
        store.save_teacher(teacher_record(task, 0.1, data_fingerprint="another"))
    assert report(store.folder).markdown == expected
    in_older_layout(store, teacher_record("sst2"))
    assert report(store.folder).markdown == expected
    shutil.rmtree(store.folder / "teachers" / "base-sst2")
    assert "not trained yet" in report(store.folder).markdown


def test_failed_run_is_not_checked_for_mixed_examples(tmp_path):
    key = run_key("sst2", "kd", "big", 1)
    broken = failed("sst2", "kd", "big", 1).model_copy(update={"data_fingerprint": "another"})
    fill(tmp_path, instead={key: broken})
    assert lines(tmp_path)["kd", "big"][0] == "incomplete"


def test_row_with_a_missing_run_has_no_rank_and_no_average(tmp_path):
    gone = [run_key("sst2", "kd", "big", seed) for seed in (1, 3)]
    broken = run_key("squad", "kd", "big", 2)
    fill(
        tmp_path, leave_out=gone, instead={broken: failed("squad", "kd", "big", 2, "ValueError: `x` is bad\nat line 3")}
    )
    cells = lines(tmp_path)
    assert cells["kd", "big"] == ("incomplete", "kd", "big", "missing (a)", "failed (b)", "–", "50.0")
    assert costs(tmp_path)["kd", "big"] == ("50.0", "2.0×", "–", "3 of 6")
    assert [cells[row][0] for row in [("finetune", "big"), ("kd", "small"), ("finetune", "small")]] == ["1", "2", "3"]
    board = report(tmp_path).board
    assert board.notes[1:] == (
        ("a", "seeds 1, 3 not run yet; `harness run demo.yaml` runs only what is missing"),
        (
            "b",
            "seed 2 failed: `ValueError: 'x' is bad` (runs/squad-kd-big-2/record.json); "
            "`harness run demo.yaml` runs only what is missing and repeats failed runs",
        ),
    )
    assert dict(board.marks)["INCOMPLETE"].startswith("1 of 5 rows")
    row = table(tmp_path).loc["kd", "big"]
    assert row["status"] == "incomplete"
    assert (row["runs"], row["completed"]) == (6, 3)
    assert row[["rank", "sst2_accuracy_mean", "squad_f1_mean", "average_mean", "student_seconds"]].isna().all()


def test_cells_that_failed_for_one_reason_share_a_footnote(tmp_path):
    broken = {
        run_key(task, "kd", "big", seed): failed(task, "kd", "big", seed, "teacher base failed")
        for task in ("sst2", "squad")
        for seed in (1, 2, 3)
    }
    fill(tmp_path, instead=broken)
    assert lines(tmp_path)["kd", "big"][3:5] == ("failed (a)", "failed (a)")
    (note,) = report(tmp_path).board.notes[1:]
    assert note[1].startswith("seeds 1, 2, 3 failed: `teacher base failed` (runs/sst2-kd-big-1/record.json); ")


def test_undefined_score_is_never_averaged(tmp_path):
    key = run_key("sst2", "kd", "big", 1)
    fill(tmp_path, instead={key: run_record("sst2", "kd", "big", 1, float("nan"))})
    assert lines(tmp_path)["kd", "big"][3] == "undefined (a)"
    assert lines(tmp_path)["kd", "big"][0] == "incomplete"
    markdown = report(tmp_path).markdown
    assert "nan" not in markdown
    assert "seed 1: accuracy is undefined for its predictions" in markdown
    assert "delete" not in markdown
    assert f"runs/{key}/record.json" in report(tmp_path).board.notes[1][1]


def test_teacher_not_trained_yet(tmp_path):
    fill(tmp_path)
    (Store(tmp_path).folder_of(teacher_record("sst2")) / "record.json").unlink()
    cells = lines(tmp_path)
    assert cells["base", "–"][3:6] == ("missing (a)", "88.0", "–")
    assert cells["kd", "big"][0] == "1"
    assert costs(tmp_path)["kd", "big"][1] == "2.0×", "from the task whose teacher is there"


def test_no_results_yet(tmp_path):
    Store(tmp_path).save_plan(plan())
    written = report(tmp_path)
    assert all(line.cells[0] in ("teacher", "incomplete") for line in written.board.lines)
    assert [line.cells[1:3] for line in written.board.lines[1:]] == [
        ("finetune", "big"),
        ("kd", "big"),
        ("finetune", "small"),
        ("kd", "small"),
    ]
    assert len(written.board.notes) == 2


def test_not_applicable_cells_have_a_reason(tmp_path):
    na = [NotApplicable(task="squad", label="kd", student="small", reason="student small has 3 heads,\n teacher 4")]
    fill(tmp_path, plan(na=na))
    cells = lines(tmp_path)
    assert cells["kd", "small"] == ("–", "kd", "small", "75.0 ± 0.0", "n/a (a)", "–", "10.0")
    assert costs(tmp_path)["kd", "small"] == ("10.0", "10.0×", "3.8 min", "3 of 3")
    assert cells["finetune", "small"][0] == "3"
    board = report(tmp_path).board
    assert board.notes[1:] == (("a", "student small has 3 heads, teacher 4"),)
    assert "INCOMPLETE" not in dict(board.marks)
    assert table(tmp_path).loc["kd", "small"]["status"] == "not applicable"


def test_marks_of_the_board(tmp_path):
    synthetic = SST2.model_copy(update={"synthetic": True})
    fill(tmp_path, plan([synthetic, SQUAD], seeds=2, limits={"train": 512}))
    written = report(tmp_path)
    assert written.markdown.startswith("# demo: leaderboard (SYNTHETIC, SUBSET, PRELIMINARY)\n")
    marks = dict(written.board.marks)
    assert "sst2" in marks["SYNTHETIC"]
    assert "squad" not in marks["SYNTHETIC"]
    assert "train 512" in marks["SUBSET"]
    assert marks["PRELIMINARY"].startswith("2 seeds")
    assert [column.title for column in written.board.columns[3:5]] == ["sst2 accuracy (synthetic)", "squad f1"]


@pytest.mark.parametrize(
    ("training", "marked"), [({"batching": "grouped"}, False), ({"batching": "bucketed"}, True), ({"lr": 0.1}, True)]
)
def test_board_of_bucketed_runs_is_marked(tmp_path, training, marked):
    """So is one of runs that do not say how they were batched: they come from before there was a choice."""
    first = run_key("sst2", "kd", "big", 1)
    parts = {"seed": 1, "training": training}
    fill(tmp_path, instead={first: run_record("sst2", "kd", "big", 1, parts=parts)})
    assert ("BUCKETED" in dict(report(tmp_path).board.marks)) == marked


def test_one_seed_has_no_spread(tmp_path):
    fill(tmp_path, plan(seeds=1))
    written = report(tmp_path)
    assert "±" not in written.markdown
    assert lines(tmp_path)["kd", "big"][3:6] == ("85.0", "76.0", "80.5")
    assert table(tmp_path)["average_std"].isna().all()


def test_best_of_each_student_and_column_is_bold(tmp_path):
    fill(tmp_path, leave_out=[run_key("squad", "kd", "big", 1)])
    best = {line.cells[1:3]: line.best for line in report(tmp_path).board.lines}
    assert best == {
        ("base", "–"): frozenset(),
        ("finetune", "big"): frozenset({4, 5}),
        ("kd", "big"): frozenset({3}),
        ("finetune", "small"): frozenset(),
        ("kd", "small"): frozenset({3, 4, 5}),
    }
    assert "**86.0 ± 2.5**" in report(tmp_path).markdown


def test_equal_printed_averages_share_a_rank(tmp_path):
    same = {
        run_key(task, "kd", "small", seed): run_record(task, "kd", "small", seed, score)
        for task, scores in {"sst2": [0.85001, 0.86, 0.87], "squad": [76.0, 77.0, 78.0]}.items()
        for seed, score in enumerate(scores, start=1)
    }
    fill(tmp_path, instead=same)
    ranks = {row: cells[0] for row, cells in lines(tmp_path).items()}
    assert ranks["kd", "small"] == ranks["kd", "big"] == "1"
    assert ranks["finetune", "big"] == "3"
    assert report(tmp_path).markdown.count("**81.5 ± 1.1**") == 2


def test_lower_is_better(tmp_path):
    error = SST2.model_copy(update={"higher_is_better": False})
    fill(tmp_path / "less", plan([error]))
    cells = lines(tmp_path / "less")
    assert (cells["finetune", "small"][0], cells["kd", "big"][0]) == ("1", "4")
    assert "**72.0 ± 5.0**" in report(tmp_path / "less").markdown
    fill(tmp_path / "both", plan([error, SQUAD]))
    assert {cells[0] for cells in lines(tmp_path / "both").values()} == {"teacher", "–"}
    assert {cells[5] for cells in lines(tmp_path / "both").values()} == {"–"}
    assert "there is no average and no rank" in report(tmp_path / "both").markdown


def test_other_hardware_is_marked(tmp_path):
    key = run_key("sst2", "kd", "big", 3)
    fill(tmp_path, instead={key: run_record("sst2", "kd", "big", 3, 0.87, provenance=provenance(GPU))})
    written = report(tmp_path)
    assert lines(tmp_path)["kd", "big"][3] == "86.0 ± 2.5 (a)"
    assert written.board.notes[1:] == (("a", "trained on other hardware than most: cuda Test GPU"),)
    origin = dict(written.board.provenance)["Hardware"]
    assert "cpu, Test CPU, 2 cores, 2 threads, 8 GiB (25 results); cuda, Test GPU" in origin


def test_thread_counts_are_listed_but_not_marked(tmp_path):
    key = run_key("sst2", "kd", "big", 3)
    threads = provenance(CPU.model_copy(update={"threads": 1}))
    fill(tmp_path, instead={key: run_record("sst2", "kd", "big", 3, 0.87, provenance=threads)})
    assert [mark for mark, _ in report(tmp_path).board.notes] == ["●"]
    assert "1 threads" not in report(tmp_path).markdown
    assert "1 thread, 8 GiB (1 result)" in report(tmp_path).markdown


def test_beaten_teacher_marks_the_board(tmp_path):
    store = fill(tmp_path)
    store.save_teacher(teacher_record("sst2", 0.82))
    assert "TEACHER BEATEN" not in dict(report(tmp_path).board.marks), "kd may beat it, and finetune only equals it"
    store.save_teacher(teacher_record("sst2", 0.81))
    mark = dict(report(tmp_path).board.marks)["TEACHER BEATEN"]
    assert "finetune on big scores 82.0 on sst2, teacher base 81.0" in mark
    assert "kd" not in mark


def test_results_with_other_settings_are_only_counted(tmp_path):
    store = fill(tmp_path)
    before = report(tmp_path).markdown
    store.save(run_record(key="old", data_fingerprint="another", score=0.999))
    (tmp_path / "runs" / "half-done").mkdir()
    after = report(tmp_path).markdown
    assert after == before + "- Not counted: 1 result with other settings in the same folder\n"


def test_mixed_code_versions_are_listed(tmp_path):
    changed = provenance(git_dirty=True, packages={"harness": "0.2.0"})
    key = run_key("sst2", "kd", "big", 3)
    fill(tmp_path, instead={key: run_record("sst2", "kd", "big", 3, 0.87, provenance=changed)})
    origin = dict(report(tmp_path).board.provenance)
    assert origin["Code"].endswith("; git commit `0123456789ab`, with uncommitted changes (1 result)")
    assert origin["Packages"].endswith("; kd-harness 0.2.0 (1 result)")


def test_parameters_that_differ_between_tasks_are_a_range(tmp_path):
    wide = size("small").model_copy(update={"parameters": 10_200_000})
    instead = {
        run_key("squad", "kd", "small", seed): run_record("squad", "kd", "small", seed, 74.0, size=wide)
        for seed in (1, 2, 3)
    }
    fill(tmp_path, instead=instead)
    assert lines(tmp_path)["kd", "small"][6] == "10.0–10.2"
    assert costs(tmp_path)["kd", "small"][:2] == ("10.0–10.2", "9.9×")
    row = table(tmp_path).loc["kd", "small"]
    assert (row["parameters_min"], row["parameters_max"]) == (10_000_000, 10_200_000)


def test_csv_and_markdown_agree(tmp_path):
    fill(tmp_path, leave_out=[run_key("squad", "finetune", "small", 3)], answered=True)
    frame, board = table(tmp_path), report(tmp_path).board
    assert len(frame) == len(board.lines) == 6
    for line, (_, row) in zip(board.lines, frame.reset_index().iterrows(), strict=True):
        assert line.cells[1] == row["label"]
        if line.role == "constant":
            continue
        for column, name in enumerate(["sst2_accuracy", "squad_f1", "average"], start=3):
            mean, low, high = row[f"{name}_mean"], row[f"{name}_low"], row[f"{name}_high"]
            shown = line.cells[column].split(" (")[0]
            absent = "missing" if column == 4 else "–"
            assert shown == (absent if pd.isna(mean) else f"{mean:.1f} ± {max(high - mean, mean - low):.1f}")
        rank = "" if pd.isna(row["rank"]) else str(int(row["rank"])) + " ●" * (row["top_group"] is True)
        assert rank == (line.cells[0] if line.cells[0][0].isdigit() else "")
        assert line.cells[6] == f"{row['parameters_min'] / 1e6:.1f}"
        parameters, compression, cost, runs = costs(tmp_path)[line.cells[1], line.cells[2]]
        assert (parameters, compression) == (line.cells[6], f"{row['compression']:.1f}×")
        seconds = row["student_seconds"] + row["teacher_seconds"]
        assert cost == ("–" if pd.isna(seconds) else f"{seconds / 60:.1f} min")
        assert runs == f"{row['completed']} of {row['runs']}"


def test_corrupt_record_is_named(tmp_path):
    path = fill(tmp_path).run_folder(run_key("sst2", "kd", "big", 1)) / "record.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(UserError, match=r"sst2-kd-big-1/record\.json: is not valid JSON"):
        report(tmp_path)


def test_overlap_with_training_texts_is_marked_and_in_the_provenance(tmp_path):
    data = DataReport(examples={"validation": 872}, overlap={"validation": 16}, repaired={"train": 2})
    fill(tmp_path, plan([SST2.model_copy(update={"data": data}), SQUAD]))
    board = report(tmp_path).board
    share = "16 of 872 validation examples (1.8 %)"
    assert dict(board.marks)["OVERLAP"] == f"validation texts also occur in the training split: sst2: {share}"
    assert dict(board.provenance)["Validation texts in the training split, sst2"] == share
    assert dict(board.provenance)["Answers whose start was corrected, sst2"] == "2 in train"
    assert "Validation texts in the training split, squad" not in dict(board.provenance), (
        "planned before it was recorded"
    )


def test_truncated_texts_are_in_the_provenance(tmp_path):
    cut = TruncatedTexts(
        students=["big", "small"], max_length=64, examined={"train": 2000, "dev": 872}, longer={"train": 740, "dev": 0}
    )
    fill(tmp_path, plan([SST2.model_copy(update={"truncated": [cut]}), SQUAD]))
    text = "37.0 % of 2000 train examples have more than 64 tokens"
    assert dict(report(tmp_path).board.provenance)["Truncated texts, sst2"] == text


def test_undefined_score_does_not_refuse_a_board():
    undefined = run_record("sst2", "kd", "big", 1, float("nan"), metrics={"accuracy": float("nan")})
    assert _scored_by(SST2, undefined) == "score accuracy"
    assert _scored_by(SST2, undefined.model_copy(update={"score": 0.5})) == OTHER_METRIC
    assert isnan(RunRecord.model_validate_json(undefined.model_dump_json()).metrics["accuracy"])
