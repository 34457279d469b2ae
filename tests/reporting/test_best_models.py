"""A report points at the best student of each size on each task."""

import json
import shutil

from harness.reporting import report
from harness.storage.store import Store
from tests.support.results_factory import fill, plan, run_key
from tests.support.stored_students import fill_with_students


def test_links_lead_to_the_best_student_of_each_size_also_after_a_move(tmp_path):
    store = fill_with_students(tmp_path / "demo", seeds=1)
    report(store.folder)
    shutil.move(tmp_path / "demo", tmp_path / "moved")
    for student in ("big", "small"):
        link = tmp_path / "moved" / "best" / "sst2" / student
        key = run_key("sst2", "kd", student, 1)
        assert link.resolve() == (tmp_path / "moved" / "runs" / key / "student").resolve()
        assert (link / "config.json").is_file()
    report(tmp_path / "moved")
    assert (tmp_path / "moved" / "best" / "sst2" / "big" / "config.json").is_file()


def test_the_json_names_scores_and_paths(tmp_path):
    store = fill_with_students(tmp_path, seeds=1)
    report(store.folder)
    big, small = json.loads((tmp_path / "best" / "sst2.json").read_text())
    assert (big["student"], big["method"], big["seed"], big["metric"], big["score"]) == (
        "big",
        "kd",
        1,
        "accuracy",
        85.0,
    )
    assert small["parameters"] == 10_000_000
    assert small["low"] < small["score"] < small["high"]
    assert (tmp_path / "best" / small["model"] / "config.json").is_file()


def test_students_without_stored_models_have_no_link(tmp_path):
    fill(tmp_path)
    report(tmp_path)
    assert {path.name for path in (tmp_path / "best").iterdir()} == {"sst2.json", "squad.json"}
    assert json.loads((tmp_path / "best" / "squad.json").read_text())[1]["key"] == run_key("squad", "kd", "small", 1)


def test_a_task_without_complete_rows_has_no_pointer(tmp_path):
    store = Store(tmp_path)
    store.save_plan(plan())
    report(tmp_path)
    assert not (tmp_path / "best").exists()
