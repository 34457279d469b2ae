"""Plans summarize data without loading them again, and notice every change of them."""

import pickle
from dataclasses import replace
from functools import partial, wraps

import pytest

from harness.api.errors import UserError
from harness.planning.job_inputs import TaskData
from harness.planning.task_data import forget_summary, lazy_splits, summarize
from harness.resolution import load_mapping

SUITE = {
    "name": "own",
    "teachers": {"base": {"architecture": {"layers": 2, "hidden": 32, "heads": 2, "ffn": 64}}},
    "students": {"small": {"layers": 1}},
    "methods": ["finetune"],
    "seeds": [1],
}
ROWS = ["good film,1", "bad film,0", "good book,1", "bad book,0"] * 5


@pytest.fixture
def reviews(tmp_path, monkeypatch, settled_files):
    """A task on a CSV file, in a suite. The cache is empty."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    write(tmp_path, ROWS)
    files = {part: str(tmp_path / "reviews.csv") for part in ("train", "validation")}
    task = {"kind": "classification", **files, "text": "text", "label": "label"}
    return load_mapping({**SUITE, "tasks": [{"reviews": task}]}).suite


def write(folder, rows):
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")


def must_not_load():
    raise AssertionError("the summary is cached")


def test_an_edited_file_gives_another_summary_and_an_unchanged_one_is_not_read_again(reviews, tmp_path):
    (task,) = reviews.tasks
    before = summarize(task, reviews)
    assert before.train_examples == 20
    assert summarize(task, reviews, must_not_load) == before
    write(tmp_path, ["good play,1", *ROWS[1:]])
    after = summarize(task, reviews)
    assert after.train != before.train
    assert after.validation != before.validation


def test_data_that_change_after_the_plan_are_refused(reviews, tmp_path):
    (task,) = reviews.tasks
    found = summarize(task, reviews)
    data = TaskData(task, lazy_splits(task, reviews), found.train, found.validation, 20, found.report)
    write(tmp_path, ["good play,1", *ROWS[1:]])
    with pytest.raises(UserError, match="the data of task 'reviews' have changed"):
        data.splits  # noqa: B018


def test_a_summary_of_other_data_is_forgotten_so_that_the_next_plan_is_right(reviews):
    """Data can change without a change of the files that the task lists."""
    (task,) = reviews.tasks
    found = summarize(task, reviews)
    assert summarize(task, reviews, must_not_load) == found
    forget = partial(forget_summary, task, reviews)
    data = TaskData(task, lazy_splits(task, reviews), "other", found.validation, 20, found.report, forget=forget)
    with pytest.raises(UserError, match="run the command again"):
        data.splits  # noqa: B018
    with pytest.raises(AssertionError, match="cached"):
        summarize(task, reviews, must_not_load)


def same(function):
    @wraps(function)
    def call(*arguments):
        return function(*arguments)

    return call


def named(load, source):
    return load(source)


@pytest.mark.parametrize(
    "replaced",
    [
        lambda load: lambda source: load(source),
        lambda load: lambda source, load=load: load(source),
        lambda load: same(named),
        lambda load: partial(named, lambda source: load(source)),
    ],
)
def test_a_function_that_its_name_does_not_determine_is_not_cached(reviews, replaced):
    (task,) = reviews.tasks
    assert summarize(replace(task, load=partial(named, task.load)), reviews)
    summarize(replace(task, load=partial(named, task.load)), reviews, must_not_load)
    other = replace(task, load=replaced(task.load))
    summarize(other, reviews, lazy_splits(task, reviews))
    with pytest.raises(AssertionError, match="cached"):
        summarize(other, reviews, must_not_load)


def test_pickled_data_have_their_examples(reviews):
    (task,) = reviews.tasks
    found = summarize(task, reviews)
    forget = partial(forget_summary, task, reviews)
    data = TaskData(task, lazy_splits(task, reviews), found.train, found.validation, 20, found.report, forget=forget)
    copy = pickle.loads(pickle.dumps(data))
    assert copy.splits.train["text"][:] == data.splits.train["text"][:]
    assert copy.train_fingerprint == found.train
