"""Every task of GLUE, on small data sets in the hub's layout."""

import pandas as pd
import pytest

from harness.api.errors import UserError
from harness.tasks.glue import TASKS
from tests.support.hub_layout import GLUE, write_dataset

BY_NAME = {task.name: task for task in TASKS}


def rows(name: str, labels: list[float], first: int = 0) -> pd.DataFrame:
    """As many examples as `labels`, in the columns of the hub."""
    columns = GLUE[name]
    texts = {column: [f"{column} {index + first}" for index in range(len(labels))] for column in columns}
    return pd.DataFrame({**texts, "label": labels, "idx": range(first, first + len(labels))})


def glue(folder, **configs: dict[str, pd.DataFrame]) -> str:
    return str(write_dataset(folder / "glue", configs))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_all_tasks_of_glue_are_registered():
    assert set(BY_NAME) == set(GLUE)
    assert {task.source for task in TASKS} == {"glue"}


# Names of the classes in the order of the hub's ids.
LABELS = {
    "cola": ("unacceptable", "acceptable"),
    "sst2": ("negative", "positive"),
    "mrpc": ("not_equivalent", "equivalent"),
    "qqp": ("not_duplicate", "duplicate"),
    "qnli": ("entailment", "not_entailment"),
    "rte": ("entailment", "not_entailment"),
    "wnli": ("not_entailment", "entailment"),
}


@pytest.mark.parametrize("name", LABELS)
def test_classes_columns_and_splits(tmp_path, name):
    task = BY_NAME[name]
    assert task.labels == LABELS[name]
    splits = {"train": rows(name, [0, 1, 1]), "validation": rows(name, [1, 0]), "test": rows(name, [-1])}
    loaded = task.load(glue(tmp_path, **{name: splits}))
    assert loaded.train["label"][:] == [0, 1, 1]
    assert list(loaded.validation) == ["validation"]
    texts = {name: f"{column} 1" for name, column in zip(("text", "text_pair"), GLUE[name], strict=False)}
    assert loaded.validation["validation"][1] == {"id": "1", **texts, "label": 0}
    assert task.paired == ("text_pair" in loaded.train.column_names)


def mnli(matched: list[float], mismatched: list[float]) -> dict[str, pd.DataFrame]:
    return {
        "train": rows("mnli", [0, 1, 2, 0]),
        "validation_matched": rows("mnli", matched),
        "validation_mismatched": rows("mnli", mismatched, first=len(matched)),
        "test_matched": rows("mnli", [-1]),
        "test_mismatched": rows("mnli", [-1]),
    }


def test_mnli_has_two_validation_sets(tmp_path):
    task = BY_NAME["mnli"]
    assert task.labels == ("entailment", "neutral", "contradiction")
    loaded = task.load(glue(tmp_path, mnli=mnli([0, 1], [2, 1, 0])))
    assert {name: part["label"][:] for name, part in loaded.validation.items()} == {
        "validation_matched": [0, 1],
        "validation_mismatched": [2, 1, 0],
    }
    assert loaded.validation["validation_mismatched"]["text"][0] == "premise 2"
    assert loaded.validation["validation_mismatched"]["text_pair"][0] == "hypothesis 2"


def test_ax_has_mnlis_training_set_and_the_diagnostic_set(tmp_path):
    source = glue(tmp_path, mnli=mnli([0], [1]), ax={"test": rows("ax", [-1, -1])})
    loaded, mnli_splits = BY_NAME["ax"].load(source), BY_NAME["mnli"].load(source)
    assert loaded.train.to_list() == mnli_splits.train.to_list()
    assert {name: part["label"][:] for name, part in loaded.validation.items()} == {"test": [-1, -1]}
    assert BY_NAME["ax"].labels == BY_NAME["mnli"].labels


def test_ax_with_labels(tmp_path):
    source = glue(tmp_path, mnli=mnli([0], [1]), ax={"test": rows("ax", [2, 0, 1])})
    assert BY_NAME["ax"].load(source).validation["test"]["label"][:] == [2, 0, 1]


@pytest.mark.parametrize("labels", [[-1, 0], [3], [-2]])
def test_ax_with_some_labels_hidden_or_unknown_labels(tmp_path, labels):
    source = glue(tmp_path, mnli=mnli([0], [1]), ax={"test": rows("ax", labels)})
    with pytest.raises(
        UserError, match=rf"config 'ax', split 'test', column 'label', row 0 .*found {min(labels)}, .*in every row"
    ):
        BY_NAME["ax"].load(source)


def test_a_folder_without_ax(tmp_path):
    with pytest.raises(UserError, match="no config 'ax'"):
        BY_NAME["ax"].load(glue(tmp_path, mnli=mnli([0], [1])))


def test_mnli_without_its_second_validation_set(tmp_path):
    splits = mnli([0], [1])
    del splits["validation_mismatched"]
    with pytest.raises(UserError, match="no split 'validation_mismatched': did you mean 'validation_matched'"):
        BY_NAME["mnli"].load(glue(tmp_path, mnli=splits))


BAD = [
    ("sst2", {"label": ["negative", "positive"]}, "column 'label': found values of type string, such as 'negative'"),
    ("sst2", {"label": [0, None]}, r"column 'label', row 1 \(id '1'\): found null, expected a class from 0 to 1"),
    ("sst2", {"label": [0, 7]}, r"column 'label', row 1 \(id '1'\): found 7, expected a class from 0 to 1"),
    ("sst2", {"label": [0.5, 1.0]}, r"column 'label', row 0 \(id '0'\): found 0.5"),
    ("sst2", {"idx": [0, None]}, "column 'idx'(, row 1: found null, expected text|: found values of type double)"),
    ("sst2", {"idx": [3, 3]}, r"column 'idx', row 0: found the duplicate id '3' in 2 rows, expected unique ids"),
    ("sst2", {"sentence": [None, "b"]}, r"column 'sentence', row 0 \(id '0'\): found null, expected text"),
    ("sst2", {"sentence": [1, 2]}, "column 'sentence': found values of type int64, such as 1, expected text"),
    ("mrpc", {"sentence2": ["a", None]}, r"column 'sentence2', row 1 \(id '1'\): found null, expected text"),
    ("stsb", {"label": [1.0, float("nan")]}, r"column 'label', row 1 .*found (nan|null), expected a finite number"),
    (
        "stsb",
        {"label": [1.0, float("inf")]},
        r"column 'label', row 1 .*found inf, expected a finite number from 0 to 5",
    ),
    ("stsb", {"label": [-1.0, -1.0]}, r"column 'label', row 0 .*found -1 in every row, which means hidden labels"),
    ("stsb", {"label": ["1.0", "2.0"]}, "column 'label': found values of type string, such as '1.0'"),
]


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(("name", "columns", "expected"), BAD)
def test_files_are_checked_before_they_are_converted(tmp_path, name, columns, expected, split):
    bad, good = rows(name, [0, 1]).assign(**columns), rows(name, [0, 1])
    if split == "train" or "type" in expected:  # all splits of a data set have columns of the same types
        splits, split = {"train": bad, "validation": bad}, "train"
    else:
        splits = {"train": good.astype({column: bad[column].dtype for column in columns}), "validation": bad}
    with pytest.raises(UserError, match=rf"config '{name}', split '{split}', {expected}"):
        BY_NAME[name].load(glue(tmp_path, **{name: splits}))


def test_classes_written_as_floats_and_ids_written_as_text(tmp_path):
    good = rows("sst2", [0.0, 1.0]).assign(idx=["x", "y"])
    loaded = BY_NAME["sst2"].load(glue(tmp_path, sst2={"train": good, "validation": good}))
    assert loaded.train["label"][:] == [0, 1]
    assert loaded.train["id"][:] == ["x", "y"]
