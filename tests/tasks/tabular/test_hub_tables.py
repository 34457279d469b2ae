"""Tasks on data sets in the hub's layout."""

import datasets
import pyarrow.parquet as pq
import pytest

from tests.support.hub_layout import write_dataset
from tests.support.odd_columns import odd_table

ROWS = {"text": ["x", "y", "z"], "label": [1, 0, 1], "text_label": ["a", "b", "a"]}


def write_data(files, monkeypatch, names):
    """Write a folder with a config `main`, whose column `label` has names of classes; return its declaration."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", files.folder / "cache")
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=names),
            "text_label": datasets.Value("string"),
        }
    )
    folder = write_dataset(files.folder / "data", {"main": {}})
    for split in ("train", "dev"):
        datasets.Dataset.from_dict(ROWS, features=features).to_parquet(folder / "main" / f"{split}.parquet")
    parts = "".join(f"  - split: {split}\n    path: main/{split}.parquet\n" for split in ("train", "dev"))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: main\n  data_files:\n{parts}---\n")
    return {"data": "data", "config": "main", "validation": "dev"}


@pytest.fixture
def data(files, monkeypatch):
    return write_data(files, monkeypatch, ["neg", "pos"])


@pytest.mark.parametrize("names", [["False", "True"], ["1.0", "2.0"], [" a", "b "]])
@pytest.mark.parametrize("declared", [False, True])
def test_names_of_classes_are_normalized_as_other_values(files, monkeypatch, names, declared):
    data = write_data(files, monkeypatch, names)
    task = files.task(**data, **({"labels": names} if declared else {}))
    assert task.load(task.default_source).train["label"][:] == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        (None, ("neg", "pos"), [1, 0, 1]),
        (["pos", "neg"], ("pos", "neg"), [0, 1, 0]),
        ({"0": "bad", "1": "good"}, ("bad", "good"), [1, 0, 1]),
    ],
)
def test_class_numbers_have_the_names_of_the_data_set(files, data, labels, names, numbers):
    task = files.task(**data, labels=labels)
    assert task.labels == names
    assert task.load(task.default_source).train["label"][:] == numbers


def test_values_that_python_lacks_are_an_error_of_their_column_alone(files, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", files.folder / "cache")
    (files.folder / "data").mkdir()
    rows = odd_table("a time after the year 9999", text=["w", "x", "y", "z"], label=["a", "b"] * 2)
    for split in ("train", "validation"):
        pq.write_table(rows, files.folder / "data" / f"{split}.parquet")
    task = files.task(data="data")
    assert task.load(task.default_source).train["label"][:] == [0, 1, 0, 1]
    (problem,) = files.problems(data="data", label="odd")
    assert "split 'train', column 'odd' (timestamp[us]): its values cannot be read" in problem


def test_splits_and_columns_are_named_in_messages(files, data):
    assert "no split 'train2': did you mean 'train'?" in files.problems(**data, labels=["a", "b"], train="train2")[0]
    (problem,) = files.problems(**data | {"label": "text_label"}, labels=["a", "c"])[:1]
    assert "config 'main', split 'train', row 1, column 'text_label': found 'b', expected one of a, c" in problem
