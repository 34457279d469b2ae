"""Results are found by suite, folder, and the key of a run or its beginning."""

import pytest

from harness.api.errors import UserError
from harness.storage.run_lookup import find_run, find_store
from harness.storage.store import Store
from tests.support.results_factory import plan, run_record


@pytest.fixture
def results(tmp_path):
    for suite, keys in {"one": ["ab12", "ab34"], "two": ["cd56"]}.items():
        store = Store(tmp_path / suite)
        store.save_plan(plan())
        for key in keys:
            store.save(run_record(key=key, parts={"data": {"max_length": 64}}))
    return tmp_path


def test_stores(results):
    assert find_store("one", results).folder == results / "one"
    assert find_store(str(results / "two"), results / "elsewhere").folder == results / "two"
    assert find_store("three", results) is None


def test_runs(results):
    assert find_run("cd", results).record.key == "cd56"
    assert find_run("ab3", results).store.folder == results / "one"
    assert find_run(str(results / "one" / "runs" / "ab12"), results / "elsewhere").record.key == "ab12"
    assert find_run("ef", results) is None
    assert find_run("../one", results) is None


def test_the_beginning_of_several_keys(results):
    with pytest.raises(
        UserError, match=r"'ab' is the beginning of the keys of 2 runs: .*ab12, .*ab34; use a longer one"
    ):
        find_run("ab", results)


def test_what_is_known_of_a_run(results):
    run = find_run("cd56", results)
    assert run.max_length == 64
    assert run.task.name == "sst2"
    assert run.paired is None
    assert run.unanswerable is False


def test_unanswerable_questions_are_known_though_all_scored_ones_have_an_answer(results):
    store = Store(results / "two")
    store.save(run_record(key="ef78", metrics={"exact": 50.0, "HasAns_exact": 50.0}))
    assert find_run("ef78", results).unanswerable
