import json
import os
from pathlib import Path

import pandas as pd
import pytest

from harness.api.errors import UserError
from harness.api.events import LossPoint
from harness.storage import checksums
from harness.storage.store import Store
from tests.support.results_factory import failed, fill, in_older_layout, plan, run_record, teacher_record

PREDICTIONS = pd.DataFrame({"id": ["a", "b"], "prediction": [0, 1], "label": [1, 1]})


class Killed(BaseException):
    """Simulates SIGKILL: nothing may catch it."""


def export(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "weights").mkdir()
    (folder / "weights" / "model.bin").write_bytes(b"123")


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Kill the process at the given replacement of a file, counted from 0."""
    replace, count = os.replace, iter(range(100))

    def dying(source: Path, target: Path) -> None:
        if next(count) == step:
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", dying)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_saved_run_is_read_back(tmp_path):
    store, record = Store(tmp_path / "suite"), run_record()
    assert store.record(record.key) is None
    assert store.save(record, PREDICTIONS, export) is True
    assert store.record(record.key) == record
    folder = store.run_folder(record.key)
    student = {"student/config.json", "student/weights/model.bin"}
    assert files(folder) == {"record.json", "predictions.parquet", "checksums.json", *student}
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "predictions.parquet"), PREDICTIONS)


def test_a_loss_that_is_not_finite_is_read_back_and_is_json(tmp_path):
    store = Store(tmp_path)
    points = [LossPoint(stage="s", step=1, lr=0.1, terms={"loss": float("nan"), "kd": float("inf")})]
    store.save(failed("sst2", "kd", "big", 1).model_copy(update={"losses": points}))
    [record] = store.records()
    assert str(record.losses[0].terms) == "{'loss': nan, 'kd': inf}"
    strict = (store.run_folder(record.key) / "record.json").read_text()
    json.loads(strict, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_kill_leaves_no_run_or_a_complete_one(tmp_path, monkeypatch, step):
    store, record = Store(tmp_path), run_record()
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with pytest.raises(Killed):
            store.save(record, PREDICTIONS, export)
    assert store.record(record.key) is None
    assert store.records() == []
    assert store.run_keys() == []
    store.save(record, PREDICTIONS, export)
    assert store.record(record.key) == record
    assert not [name for name in files(tmp_path) if "partial" in name]


@pytest.mark.parametrize("step", [0, 1, 2, 3, 4])
def test_a_kill_in_a_retry_leaves_the_failed_record(tmp_path, monkeypatch, step):
    store, record = Store(tmp_path), run_record()
    failure = failed("sst2", "kd", "big", 1)
    store.save(failure)
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with pytest.raises(Killed):
            store.save(record, PREDICTIONS, export)
    assert store.record(record.key) == failure
    store.save(record, PREDICTIONS, export)
    assert store.records() == [record]


def test_a_kill_between_a_record_and_its_checksum_leaves_a_complete_run(tmp_path, monkeypatch):
    store, record = Store(tmp_path), run_record()
    with monkeypatch.context() as patch:
        kill_at(patch, 4)
        with pytest.raises(Killed):
            store.save(record, PREDICTIONS, export)
    assert store.record(record.key) == record


def test_all_files_of_a_run_have_checksums(tmp_path):
    store, record = Store(tmp_path), run_record()
    store.save(record, PREDICTIONS, export)
    folder = store.run_folder(record.key)
    for name in files(folder) - {"checksums.json"}:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        with pytest.raises(checksums.CorruptFileError, match=name):
            checksums.verify(folder)
        (folder / name).write_bytes(content)
    checksums.verify(folder)


def test_a_changed_score_is_refused(tmp_path):
    store, record = Store(tmp_path), run_record()
    store.save(record, PREDICTIONS)
    path = store.run_folder(record.key) / "record.json"
    path.write_text(path.read_text().replace(f'"score": {record.score}', '"score": 99.0'))
    with pytest.raises(UserError, match=r"record\.json does not match its checksum; .*harness doctor DIR --repair"):
        store.record(record.key)


def test_a_record_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    store, old = Store(tmp_path), run_record(status="failed")
    store.save(old, PREDICTIONS)
    verify = checksums.verify_content

    def replaced_before(file, content):
        monkeypatch.undo()
        store.save(run_record(), PREDICTIONS)
        verify(file, content)

    monkeypatch.setattr(checksums, "verify_content", replaced_before)
    assert store.record(old.key) == run_record()


def test_results_of_older_versions_have_no_checksums_and_are_read(tmp_path):
    store, record = Store(tmp_path), run_record()
    store.save(record, PREDICTIONS, export)
    (store.run_folder(record.key) / "checksums.json").unlink()
    assert store.record(record.key) == record


def test_damaged_checksums_are_replaced_with_the_result(tmp_path):
    store, record = Store(tmp_path), run_record()
    store.save_teacher(teacher_record("sst2"), PREDICTIONS)
    folder = store.folder_of(teacher_record("sst2"))
    (folder / "checksums.json").write_text("{")
    store.save_teacher(teacher_record("sst2"), PREDICTIONS)
    checksums.verify(folder)
    store.save_teacher(teacher_record("sst2", 0.5))
    assert store.teacher("base-sst2", "fingerprint-of-sst2").score == 0.5
    assert "predictions.parquet" in (folder / "checksums.json").read_text(), "a new record keeps other checksums"
    store.save(record)


def test_a_partly_exported_student_is_exported_again(tmp_path):
    store, record = Store(tmp_path), run_record()

    def dies(folder: Path) -> None:
        export(folder)
        (folder / "stray").touch()
        raise Killed

    with pytest.raises(Killed):
        store.save(record, PREDICTIONS, dies)
    store.save(record, PREDICTIONS, export)
    assert "student/stray" not in files(store.run_folder(record.key))


def test_a_completed_record_is_kept_and_a_failed_one_replaced(tmp_path):
    store, record, failure = Store(tmp_path), run_record(), failed("sst2", "kd", "big", 1)
    second_failure = failed("sst2", "kd", "big", 1, "ValueError: another")
    assert store.save(failure)
    assert store.save(second_failure)
    assert store.record(record.key) == second_failure
    assert store.save(record, PREDICTIONS, export)
    assert not store.save(failure)
    assert not store.save(run_record(score=0.1))
    assert store.record(record.key) == record


def test_records_are_sorted(tmp_path):
    forwards, backwards = fill(tmp_path / "a"), fill(tmp_path / "b", backwards=True)
    assert forwards.records() == backwards.records()
    assert [r.key for r in forwards.records()[:4]] == [
        "squad-finetune-big-1",
        "squad-finetune-big-2",
        "squad-finetune-big-3",
        "squad-finetune-small-1",
    ]


def test_teachers_and_plan(tmp_path):
    store = Store(tmp_path)
    assert store.plan() is None
    assert store.teacher("base-sst2", "fingerprint-of-sst2") is None
    store.save_plan(plan())
    store.save_teacher(teacher_record("sst2", 0.5))
    store.save_teacher(teacher_record("sst2"))
    store.save_teacher(teacher_record("squad"))
    assert store.plan() == plan()
    assert store.teacher("base-sst2", "fingerprint-of-sst2") == teacher_record("sst2")
    assert [t.task for t in store.teachers()] == ["squad", "sst2"]


def test_a_teacher_has_a_record_for_each_set_of_examples(tmp_path):
    store, first = Store(tmp_path), teacher_record("sst2")
    other = teacher_record("sst2", 0.5, data_fingerprint="others")
    store.save_teacher(first, PREDICTIONS)
    before = files(tmp_path)
    store.save_teacher(other, PREDICTIONS[:1])
    assert store.teachers() == [first, other]
    assert store.teacher("base-sst2", "others") == other
    assert store.teacher("base-sst2", "fingerprint-of-sst2") == first
    assert before < files(tmp_path)
    assert len(pd.read_parquet(store.folder_of(first) / "predictions.parquet")) == len(PREDICTIONS)
    (tmp_path / "teachers" / "base-sst2-others").rename(tmp_path / "teachers" / "base-sst2-wrong")
    with pytest.raises(UserError, match="the record has key base-sst2, expected base-sst2-wrong"):
        store.teacher("base-sst2", "wrong")


def test_the_teacher_of_an_older_version_stays_in_its_folder(tmp_path):
    store, record = Store(tmp_path), teacher_record("sst2")
    store.save_teacher(record, PREDICTIONS)
    in_older_layout(store, record)
    older = tmp_path / "teachers" / "base-sst2"
    assert store.folder_of(record) == older
    assert store.teacher("base-sst2", "others") is None
    store.save_teacher(record.model_copy(update={"floor": 0.5}))
    store.save_teacher(teacher_record("sst2", data_fingerprint="others"))
    assert sorted(path.name for path in older.parent.iterdir()) == ["base-sst2", "base-sst2-others"]
    assert store.teacher("base-sst2", "fingerprint-of-sst2").floor == store.teacher("base-sst2", None).floor == 0.5
    checksums.verify(older)


def test_a_kill_leaves_the_old_plan(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.save_plan(plan())
    kill_at(monkeypatch, 0)
    with pytest.raises(Killed):
        store.save_plan(plan(seeds=1))
    assert store.plan() == plan()


def test_a_checkpoint_path_does_not_create_folders(tmp_path):
    store = Store(tmp_path / "suite")
    assert store.checkpoint("k") == tmp_path / "suite" / "checkpoints" / "k.pt"
    assert store.checkpoint("k", "study") == store.trial_checkpoints("study") / "k.pt"
    assert store.trial_checkpoints("study") == tmp_path / "suite" / "checkpoints" / "study"
    assert not (tmp_path / "suite").exists()


def break_with(text: str):
    return lambda path: path.write_text(text)


def change(**keys: object):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | keys))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_with('{"schema_version": 1, "key"'), ["is not valid JSON", "delete it and run the suite again"]),
        (break_with("[]"), ["schema_version is None", "expected 1"]),
        (change(schema_version=99), ["schema_version is 99", "expected 1", "the version that wrote it"]),
        (change(seed="one"), ["not a valid RunRecord", "seed:", "delete it"]),
        (change(colour="red"), ["not a valid RunRecord", "colour:"]),
        (change(key="other"), ["has key other"]),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), ["cannot be read"]),
    ],
)
def test_a_corrupt_record_is_named(tmp_path, damage, words):
    store = Store(tmp_path)
    store.save(run_record())
    path = store.run_folder(run_record().key) / "record.json"
    damage(path)
    with pytest.raises(UserError) as caught:
        store.records()
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_a_folder_without_results(tmp_path):
    with pytest.raises(UserError, match=r"no such results folder.*harness run"):
        Store.existing(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no plan\.json.*harness run"):
        Store.existing(tmp_path)
    fill(tmp_path / "glue")
    fill(tmp_path / "quick")
    with pytest.raises(UserError, match=r"several suites.*glue.*quick"):
        Store.existing(tmp_path)
    assert Store.existing(tmp_path / "quick").plan() == plan()
    assert Store.existing(tmp_path / "quick" / "plan.json").folder == tmp_path / "quick"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file, expected a results folder"):
        Store(tmp_path / "file")
