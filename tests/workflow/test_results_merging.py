"""Merging results folders: parts of a suite, equal and different results, failures, latency, interruptions."""

import shutil

import pytest

from harness.analysis.aggregate import summarize
from harness.api.errors import UserError
from harness.cli.folder_check import check_folder
from harness.execution.claims import Claims
from harness.reporting import report
from harness.storage import checksums
from harness.storage.failure_records import FailureRecord
from harness.storage.store import Store
from harness.storage.tuning_records import Trial, TuningRecord
from harness.workflow.results_merging import merge_results
from tests.support import damaged_results
from tests.support.latency_factory import SETTINGS, latency_record
from tests.support.results_factory import (
    GPU,
    answers,
    cost,
    failed,
    fill,
    in_older_layout,
    plan,
    plan_with_examples,
    provenance,
    run_key,
    run_record,
    teacher_record,
)

KEY = run_key("sst2", "kd", "big", 1)


def tuning_record(score=0.5):
    trial = Trial(number=0, values={"alpha": 0.1}, score=score, steps=5, seconds=1.0)
    given = {"task": "sst2", "method": "kd", "label": "kd", "student": "big", "seed": 1, "metric": "accuracy"}
    return TuningRecord(
        key="study", data_fingerprint="held-out", space={}, trials=[trial], parts={}, provenance=provenance(), **given
    )


@pytest.fixture(autouse=True)
def _fast(monkeypatch, tmp_path_factory):
    monkeypatch.setattr("harness.plots.draw", lambda summary: ())
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path_factory.getbasetemp() / "cache-of-merges"))
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def files(folder):
    """Path -> content of all files in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_report_list(contents):
    return {name: content for name, content in contents.items() if name != "report-files.json"}


def halves(folder, *, answered=True):
    """Two folders that have the runs of seed 1, and those of the other seeds; both have the teachers."""
    runs = plan().runs
    fill(folder / "a", leave_out=[run.key for run in runs if run.seed != 1], answered=answered)
    fill(folder / "b", leave_out=[run.key for run in runs if run.seed == 1], answered=answered)
    return folder / "a", folder / "b"


def test_halves_make_the_whole_and_the_sources_do_not_change(tmp_path, capsys):
    sources = halves(tmp_path)
    fill(tmp_path / "whole", answered=True)
    before = [files(source) for source in sources]
    merged = merge_results(sources, tmp_path / "m")
    assert (merged.copied, merged.kept, merged.shared) == ({"runs": 24, "teachers": 2}, {}, 2)
    assert [files(source) for source in sources] == before
    report(tmp_path / "whole")
    assert without_report_list(files(merged.store.folder)) == without_report_list(files(tmp_path / "whole"))
    assert check_folder(merged.store.folder, repair=False) == 0
    assert "sound (27 parts checked)" in capsys.readouterr().out


def test_everything_that_a_report_reads_is_merged(tmp_path, capsys):
    """Tuning, text stage, latency, examples, a failed run, published figures; split between two folders by file."""
    whole = damaged_results.whole(tmp_path / "whole").folder
    for name, number in (("a", 0), ("b", 1)):
        shutil.copytree(whole, tmp_path / name)
        parts = sorted(path for kind in (tmp_path / name).iterdir() if kind.is_dir() for path in kind.iterdir())
        for path in parts[number::2]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    merged = merge_results([tmp_path / "a", tmp_path / "b"], tmp_path / "m")
    assert merged.shared == 0
    report(whole)
    assert without_report_list(files(merged.store.folder)) == without_report_list(files(whole))
    assert check_folder(merged.store.folder, repair=False) == 0


def test_a_merge_adds_to_a_folder_and_can_be_repeated(tmp_path):
    one, other = halves(tmp_path, answered=False)
    again = merge_results([other], one)
    assert (again.copied["runs"], again.kept["runs"], again.copied["teachers"]) == (16, 8, 0)
    before = files(one)
    merged = merge_results([other, one], one)
    assert (merged.copied, merged.kept["runs"], merged.shared) == ({}, 24, 18)
    assert files(one) == before


def test_an_interrupted_merge_leaves_no_record_without_data_and_is_completed(tmp_path, monkeypatch):
    sources = halves(tmp_path)
    copy, copies = shutil.copyfile, []

    def interrupted(source, target):
        copies.append(target)
        if len(copies) == 20:
            raise KeyboardInterrupt
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    target = tmp_path / "demo"
    with pytest.raises(KeyboardInterrupt):
        merge_results(sources, target)
    assert not (target / "plan.json").exists()
    done = [path.parent for path in target.glob("runs/*/record.json")]
    assert done
    assert all((folder / "predictions.parquet").exists() for folder in done)
    monkeypatch.setattr(shutil, "copyfile", copy)
    merged = merge_results(sources, target)
    assert merged.kept["runs"] == len(done)
    assert merged.copied["runs"] == 24 - len(done)
    assert not summarize(merged.store).unsampled


def different(folder, name="b", **changes):
    """A complete folder in which one run has another score."""
    changed = run_record("sst2", "kd", "big", 1, **({"score": 0.5} | changes))
    return fill(folder / name, instead={KEY: changed}).folder


def test_different_results_of_one_key_are_refused_and_nothing_is_written(tmp_path):
    one, other = fill(tmp_path / "a").folder, different(tmp_path)
    with pytest.raises(UserError) as caught:
        merge_results([one, other], tmp_path / "m")
    first, last = str(caught.value).splitlines()
    assert first == (f"{one}/runs/{KEY} and {other}/runs/{KEY}: the same key has different results: score 0.85 and 0.5")
    assert last == ("nothing was merged. Choose with --prefer first or --prefer last; the others stay where they are")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(("prefer", "score"), [("first", 0.85), ("last", 0.5)])
def test_a_preference_decides(tmp_path, prefer, score):
    one, other = fill(tmp_path / "a"), Store(different(tmp_path))
    one.save_tuning(tuning_record(0.5))
    other.save_tuning(tuning_record(0.6))
    merged = merge_results([one.folder, other.folder], tmp_path / "m", prefer=prefer)
    assert merged.store.record(KEY).score == score
    assert merged.shared == 25, "without the run whose results differ"
    assert merged.decisions == (
        f"runs: of different results with the same key the {prefer} counts: {KEY}",
        f"tuning: of different results with the same key the {prefer} counts: study",
    )


def test_what_a_preferred_result_replaces_is_set_aside(tmp_path):
    one, other = fill(tmp_path / "a").folder, different(tmp_path)
    merged = merge_results([other], one, prefer="last")
    assert (merged.store.record(KEY).score, merged.copied) == (0.5, {"runs": 1})
    assert Store(merged.aside).record(KEY).score == 0.85


def test_equal_results_may_differ_in_cost_and_machine_but_not_in_predictions(tmp_path):
    one = fill(tmp_path / "a", answered=True)
    elsewhere = run_record("sst2", "kd", "big", 1, 0.85, provenance=provenance(GPU), cost=cost(7), method="kd2")
    other = fill(tmp_path / "b", instead={KEY: elsewhere}, answered=True)
    assert merge_results([one.folder, other.folder], tmp_path / "m").shared == 26
    table = answers("sst2", "another draw", 0.85)
    table.to_parquet(other.run_folder(KEY) / "predictions.parquet", index=False)
    checksums.seal(other.run_folder(KEY))
    with pytest.raises(UserError, match=r"different results: \d+ of 100 predictions differ"):
        merge_results([one.folder, other.folder], tmp_path / "m2")


def test_of_equal_results_that_with_the_data_is_kept(tmp_path):
    one, other = fill(tmp_path / "a"), fill(tmp_path / "b", answered=True)
    merged = merge_results([one.folder, other.folder], tmp_path / "m")
    assert (merged.store.run_folder(KEY) / "predictions.parquet").exists()


def test_a_completed_run_replaces_a_failed_one_and_the_newest_failure_is_kept(tmp_path):
    broken, done = run_key("sst2", "finetune", "big", 1), run_key("sst2", "finetune", "big", 2)
    late = provenance(ended="2026-05-05T00:00:00+00:00")
    old = {key: failed("sst2", "finetune", "big", seed, "old") for key, seed in ((broken, 1), (done, 2))}
    one = fill(tmp_path / "a", instead=old)
    newer = failed("sst2", "finetune", "big", 1, "new").model_copy(update={"provenance": late})
    other = fill(tmp_path / "b", instead={broken: newer})
    store = merge_results([other.folder], one.folder).store
    assert store.record(done).status == "completed"
    assert store.record(broken).error == "new"


def test_failures_of_what_another_folder_has_built_are_dropped(tmp_path):
    one, other = halves(tmp_path, answered=False)
    for key in ("base-sst2", "augmentation"):
        Store(one).save_failure(FailureRecord(key=key, title=key, error="x", cause="x", provenance=provenance()))
    shutil.rmtree(Store(one).folder_of(teacher_record("sst2")))
    store = merge_results([other], one).store
    assert store.failure("base-sst2") is None
    assert store.failure("augmentation") is not None


def test_teachers_of_different_scores_are_refused(tmp_path):
    one, other = fill(tmp_path / "a"), fill(tmp_path / "b")
    other.save_teacher(teacher_record("sst2", 0.5))
    with pytest.raises(
        UserError, match="teachers/base-sst2-fingerprint-of-sst2: the same key has different results: score"
    ):
        merge_results([one.folder, other.folder], tmp_path / "m")


def test_a_teacher_on_other_examples_is_another_result(tmp_path):
    """Both records are kept, also if a folder is of an older version; the board shows that of the planned examples."""
    one, other = (fill(tmp_path / name, plan_with_examples(), answered=True) for name in "ab")
    others = teacher_record("sst2", 0.5, data_fingerprint="others")
    other.save_teacher(others)
    in_older_layout(other, others)
    in_older_layout(one, teacher_record("sst2"))
    before = files(one.folder / "teachers" / "base-sst2")
    merged = merge_results([other.folder], one.folder)
    assert (merged.copied["teachers"], merged.kept["teachers"], merged.shared) == (1, 2, 26)
    assert merged.aside is None
    assert files(one.folder / "teachers" / "base-sst2") == before
    assert merged.store.teacher("base-sst2", "others") == others
    assert merged.store.folder_of(others).name == "base-sst2-others"
    assert "92.0" in merged.report.markdown
    assert check_folder(one.folder, repair=False) == 0


def test_latency_stays_with_its_machine_and_the_newest_measurement_of_a_key_is_kept(tmp_path):
    planned = plan(latency=SETTINGS)
    one, other = fill(tmp_path / "a", planned), fill(tmp_path / "b", planned)
    one.save_latency(latency_record("cpu", rounds=10))
    other.save_latency(latency_record("gpu", hardware=GPU))
    times = {"base": 9, "small": 3, "small (second copy)": 3}
    newer = latency_record("cpu", times=times, ended="2026-02-02T00:00:00+00:00")
    other.save_latency(newer)
    merged = merge_results([one.folder, other.folder], tmp_path / "m")
    assert {record.key: record for record in merged.store.latencies()} == {
        "cpu": newer,
        "gpu": latency_record("gpu", hardware=GPU),
    }
    speed_ups = summarize(merged.store).speed_ups
    assert sorted(column.hardware.device for column in speed_ups) == ["cpu", "cuda"]


def test_tunings_text_stages_examples_and_unfinished_work(tmp_path):
    one, other = (fill(tmp_path / name, leave_out=[run.key for run in plan().runs]) for name in "ab")
    other.save_tuning(tuning_record())
    for store, name, text in (
        (one, "tuning/unfinished.log", "one"),
        (other, "tuning/unfinished.log", "other"),
        (other, "tuning/study.log", "journal"),
        (one, "examples/f1.parquet", "texts"),
        (other, "examples/f1.parquet", "texts"),
        (one, f"checkpoints/{KEY}.pt", "state"),
        (other, f"checkpoints/{run_key('sst2', 'kd', 'big', 2)}.pt", "state"),
        (one, "checkpoints/study/ended.pt", "state"),
        (other, "checkpoints/unfinished/running.pt", "state"),
    ):
        (store.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (store.folder / name).write_text(text)
    one.save(run_record("sst2", "kd", "big", 2, 0.86))
    store = merge_results([one.folder, other.folder], tmp_path / "m").store
    assert store.tuning("study") == other.tuning("study")
    journals = {path.stem: path.read_text() for path in store.folder.glob("tuning/*.log")}
    assert journals == {"unfinished": "one", "study": "journal"}
    assert (store.folder / "examples" / "f1.parquet").read_text() == "texts"
    assert [path.stem for path in store.folder.glob("checkpoints/*.pt")] == [KEY], "the other run is completed"
    assert list(store.folder.glob("checkpoints/*/*")) == [store.checkpoint("running", "unfinished")]


def test_different_tunings_are_refused(tmp_path):
    one, other = fill(tmp_path / "a"), fill(tmp_path / "b")
    one.save_tuning(tuning_record(0.5))
    other.save_tuning(tuning_record(0.6))
    with pytest.raises(UserError, match="trial 0 has another score or other values") as caught:
        merge_results([one.folder, other.folder], tmp_path / "m")
    assert str(caught.value).startswith(f"{one.folder}/tuning/study.json and {other.folder}/tuning/study.json: ")


def test_results_on_different_examples_are_refused_with_their_folders(tmp_path):
    one = fill(tmp_path / "a", leave_out=[run.key for run in plan().runs if run.seed != 1])
    others = {
        run.key: run_record(run.task, run.label, run.student, run.seed, 0.5, data_fingerprint="others")
        for run in plan().runs
        if run.task == "sst2" and run.seed != 1
    }
    other = fill(tmp_path / "b", instead=others, leave_out=[run.key for run in plan().runs if run.seed == 1])
    with pytest.raises(UserError) as caught:
        merge_results([one.folder, other.folder], tmp_path / "m")
    assert "results of sst2 scored different examples" in str(caught.value)
    assert f"{other.folder}/runs/{run_key('sst2', 'kd', 'big', 2)}/record.json" in str(caught.value)
    assert not (tmp_path / "m").exists()


def test_damaged_sources_are_refused(tmp_path):
    one, other = halves(tmp_path)
    path = Store(one).run_folder(KEY) / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"predictions\.parquet has \d+ bytes, expected"):
        merge_results([one, other], tmp_path / "m")
    assert not (tmp_path / "m" / "plan.json").exists()


@pytest.mark.parametrize("name", ["plan.json", "runs", f"runs/{KEY}/student", f"runs/{KEY}/student/new.txt", "tuning"])
def test_symbolic_links_are_refused(tmp_path, name):
    """A copy of what they point to would put files of this machine into the merged folder."""
    source, private = fill(tmp_path / "a").folder, tmp_path / "private"
    place = source / name
    if place.exists():
        place.rename(private)
    else:
        private.mkdir()
        place.parent.mkdir(exist_ok=True)
    place.symlink_to(private)
    with pytest.raises(UserError, match=f"{name}: is a symbolic link to {private}; only files of the folder itself"):
        merge_results([source], tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_only_files_of_a_result_are_copied(tmp_path):
    source, old = fill(tmp_path / "a"), run_key("sst2", "kd", "big", 2)
    (source.folder / "best").mkdir()
    (source.folder / "best" / "foreign").symlink_to(source.run_folder(KEY))
    for path in ("notes.txt", "student/foreign.txt", "student/config.json"):
        (source.run_folder(KEY) / path).parent.mkdir(exist_ok=True)
        (source.run_folder(KEY) / path).write_text(path)
    (tmp_path / "outside.txt").write_text("outside")
    checksums.add(
        source.run_folder(KEY),
        source.run_folder(KEY) / "student" / "config.json",
        source.run_folder(KEY) / "../../../outside.txt",
    )
    (source.run_folder(old) / "student").mkdir()
    (source.run_folder(old) / "student" / "config.json").write_text("of a version without checksums")
    checksums.discard(source.run_folder(old), source.run_folder(old))
    store = merge_results([source.folder], tmp_path / "other" / "m").store
    assert {*files(store.run_folder(KEY))} == {"checksums.json", "record.json", "student/config.json"}
    assert {*files(store.run_folder(old))} == {"checksums.json", "record.json", "student/config.json"}
    assert not (tmp_path / "other" / "outside.txt").exists()
    assert not (store.folder / "best" / "foreign").exists()


def test_data_of_a_killed_run_in_the_target_is_set_aside(tmp_path, capsys):
    one, other = fill(tmp_path / "a", leave_out=[KEY]), fill(tmp_path / "b")
    one.run_folder(KEY).mkdir()
    (one.run_folder(KEY) / "predictions.parquet").write_text("of the killed run")
    merged = merge_results([other.folder], one.folder)
    assert files(one.run_folder(KEY)) == files(other.run_folder(KEY))
    assert files(merged.aside) == {f"runs/{KEY}/predictions.parquet": b"of the killed run"}
    assert check_folder(one.folder, repair=False) == 0


def test_wrong_folders_are_refused(tmp_path):
    one = fill(tmp_path / "suites" / "a").folder
    with pytest.raises(UserError, match="not a results folder, and it contains a; name a new folder"):
        merge_results([one], tmp_path / "suites")
    with pytest.raises(UserError, match="nothing to merge: name at least one other results folder"):
        merge_results([one, one], one)
    with pytest.raises(UserError, match="no such results folder"):
        merge_results([one, tmp_path / "nowhere"], tmp_path / "m")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, expected a results folder"):
        merge_results([one], tmp_path / "file")


def test_a_merge_waits_for_a_process_that_writes_the_board(tmp_path, monkeypatch):
    sources, lines = halves(tmp_path, answered=False), []
    target = tmp_path / "m"
    with Claims() as claims:
        assert claims.take(target / "leaderboard", "the board")

        def say(line):
            lines.append(line)
            claims.release(target / "leaderboard")

        merge_results(sources, target, say=say)
    assert lines[0].startswith("waiting for process ")


def test_a_merge_into_a_folder_in_which_a_process_trains_is_refused(tmp_path):
    source, target = halves(tmp_path)
    with Claims() as claims:
        assert claims.take(target / "runs" / KEY, "kd on sst2")
        before = files(target)
        with pytest.raises(UserError, match=r"process .* works in this folder \(kd on sst2\)"):
            merge_results([source], target)
        assert files(target) == before
    assert merge_results([source], target).copied["runs"] == 8
