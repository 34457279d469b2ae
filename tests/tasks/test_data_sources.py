import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset, DatasetDict

from harness.api.errors import UserError
from harness.tasks.data_sources import load_source, source_files
from harness.tasks.glue import TASKS
from tests.support.hub_server import serve
from tests.support.patience import PATIENCE, SLEEP_METER, seconds_slept

README = """---
configs:
{configs}---
"""
CONFIG = """- config_name: {name}
  data_files:
  - split: train
    path: {name}/train-*
  - split: validation
    path: {name}/validation-*
"""


def write_config(folder: Path, name: str, rows: pd.DataFrame, splits=("train", "validation")) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for split in splits:
        rows.to_parquet(folder / name / f"{split}-00000-of-00001.parquet")


def sst2_rows() -> pd.DataFrame:
    return pd.DataFrame({"sentence": ["a fine film", "a dull one", "so so"], "label": [1, 0, 1], "idx": [0, 1, 2]})


@pytest.fixture
def glue(tmp_path: Path) -> Path:
    folder = tmp_path / "glue"
    write_config(folder, "sst2", sst2_rows())
    pair = pd.DataFrame({"sentence1": ["one"], "sentence2": ["two"], "label": [2.5], "idx": [7]})
    write_config(folder, "stsb", pair.astype({"label": "float32"}))
    (folder / "README.md").write_text(README.format(configs="".join(CONFIG.format(name=n) for n in ("sst2", "stsb"))))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def task(name: str):
    return next(task for task in TASKS if task.name == name)


def test_single_sentences_from_a_folder(glue):
    splits = task("sst2").load(str(glue))
    assert splits.train[1] == {"id": "1", "text": "a dull one", "label": 0}
    assert splits.validation["validation"].num_rows == 3


def test_pairs_and_float_labels_from_a_folder(glue):
    assert task("stsb").load(str(glue)).train[0] == {"id": "7", "text": "one", "text_pair": "two", "label": 2.5}


def test_folder_without_a_readme(glue):
    (glue / "README.md").unlink()
    assert task("stsb").load(str(glue)).train.num_rows == 1


def test_an_unknown_folder_is_named_with_the_expected_layout(tmp_path):
    with pytest.raises(UserError, match=r"nowhere' does not exist.*README\.md"):
        load_source(str(tmp_path / "nowhere"), "sst2")


def test_an_unknown_config_suggests_the_nearest(glue):
    with pytest.raises(UserError, match=r"no config 'sst3': did you mean 'sst2'\?"):
        load_source(str(glue), "sst3")


def test_files_behind_links_to_folders_are_listed(glue, tmp_path):
    folder = tmp_path / "linked"
    folder.mkdir()
    for name in ("one", "other"):
        (folder / name).symlink_to(glue / "sst2")
    (glue / "sst2" / "again").symlink_to(glue / "sst2")  # an endless path
    names = {path.name for path in (glue / "sst2").iterdir()} - {"again"}
    assert names
    assert set(source_files(str(folder))) == {folder / link / name for link in ("one", "other") for name in names}


def test_a_folder_without_files_does_not_identify_its_data(tmp_path):
    assert source_files(str(tmp_path)) is None


@pytest.mark.parametrize("split", [None, "train"])
def test_a_folder_of_save_to_disk_is_named_with_the_remedy(tmp_path, split):
    rows = Dataset.from_dict({"text": ["x"], "label": [0]})
    (DatasetDict({"train": rows}) if split is None else rows).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"was written by `save_to_disk`.*; write each split with `Dataset"):
        load_source(str(tmp_path / "saved"), None)


def test_folder_without_data(tmp_path):
    with pytest.raises(UserError, match="data files"):
        load_source(str(tmp_path), "sst2")


def test_missing_split(tmp_path):
    write_config(tmp_path / "glue", "sst2", sst2_rows(), splits=("train",))
    with pytest.raises(UserError, match="no split 'validation': allowed: train"):
        task("sst2").load(str(tmp_path / "glue"))


def test_missing_column(tmp_path):
    write_config(tmp_path / "glue", "sst2", sst2_rows().rename(columns={"sentence": "sentences"}))
    with pytest.raises(UserError, match="no column 'sentence': did you mean 'sentences'"):
        task("sst2").load(str(tmp_path / "glue"))


def test_unlabelled_split(tmp_path):
    write_config(tmp_path / "glue", "sst2", sst2_rows().assign(label=-1))
    with pytest.raises(
        UserError, match="found -1 in every row, which means hidden labels, expected a class from 0 to 1"
    ):
        task("sst2").load(str(tmp_path / "glue"))


CLIENT = """
import json, sys
from harness.api.errors import UserError
from harness.tasks.data_sources import load_source
code = 0
for source in sys.argv[1:]:
    try:
        print(json.dumps({name: rows.to_list() for name, rows in load_source(*source.split()).items()}))
    except UserError as error:
        print(error, file=sys.stderr)
        code = 1
sys.exit(code)
"""


def client(environment: dict[str, str], *sources: str) -> subprocess.CompletedProcess[str]:
    """Load sources, given as ``ID CONFIG``, in a process with these variables: libraries read them when imported."""
    return subprocess.run(
        [sys.executable, "-c", SLEEP_METER + CLIENT, *sources],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_a_hub_id_is_loaded_from_the_cache_when_the_hub_is_unreachable(glue, tmp_path):
    with serve({("dataset", "nyu-mll/glue"): glue}) as hub:
        environment = hub.environment(tmp_path / "home")
        online = client(environment, "nyu-mll/glue sst2", "nyu-mll/glue sst", "nyu-mll/glu sst2")
    expected = sst2_rows().to_dict("records")
    assert json.loads(online.stdout) == {"train": expected, "validation": expected}, online.stderr
    assert "no config 'sst': did you mean 'sst2'?" in online.stderr
    assert "'nyu-mll/glu'" in online.stderr
    assert "no dataset of this id" in online.stderr
    offline = client(environment, "nyu-mll/glue sst2")
    assert offline.stdout == online.stdout, offline.stderr


def test_an_unreachable_hub_fails_without_retries_and_names_the_remedy(tmp_path):
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = client({"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)}, "nyu-mll/glue sst2")
    assert seconds_slept(done.stderr) < 1
    assert done.returncode == 1
    message = done.stderr.strip()
    for word in ("'nyu-mll/glue'", endpoint, "cannot be reached", "sources:", "local folder"):
        assert word in message
    assert "Traceback" not in message


@pytest.mark.parametrize("readme", [True, False])
@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_edited_files_are_reloaded_and_folders_are_distinguished(tmp_path, readme, form):
    def write(folder: Path, label: float) -> Path:
        rows = pd.DataFrame({"sentence1": ["one"], "sentence2": ["two"], "label": [label], "idx": [7]})
        (folder / "stsb").mkdir(parents=True, exist_ok=True)
        for split in ("train", "validation"):
            path = folder / "stsb" / f"{split}-00000-of-00001.{form}"
            if form == "parquet":
                rows.to_parquet(path)
            elif form == "csv":
                rows.to_csv(path, index=False)
            else:
                rows.to_json(path, orient="records", lines=True)
            os.utime(path, (1, 1))  # as after a copy that preserves times
        if readme:
            (folder / "README.md").write_text(README.format(configs=CONFIG.format(name="stsb")))
        return folder

    def label_in(folder: Path) -> float:
        return task("stsb").load(str(folder)).train["label"][0]

    first, second = write(tmp_path / "a" / "glue", 2.5), write(tmp_path / "b" / "glue", 4.5)
    assert [label_in(first), label_in(second)] == [2.5, 4.5]
    write(first, 1.5)
    assert [label_in(first), label_in(second)] == [1.5, 4.5]


def test_a_new_revision_on_the_hub_is_loaded(glue, tmp_path, monkeypatch):
    environment = {}
    labels = []
    for revision, label in (("a" * 40, 1), ("b" * 40, 0)):
        write_config(glue, "sst2", sst2_rows().assign(label=label))
        monkeypatch.setattr("tests.support.hub_server.COMMIT", revision)
        with serve({("dataset", "nyu-mll/glue"): glue}) as hub:
            environment = hub.environment(tmp_path / "home")
            online = client(environment, "nyu-mll/glue sst2")
        labels.append({row["label"] for row in json.loads(online.stdout)["train"]})
    offline = client(environment, "nyu-mll/glue sst2")
    assert json.loads(offline.stdout) == json.loads(online.stdout), offline.stderr
    assert labels == [{1}, {0}]


DECLARED = """---
dataset_info:
- config_name: sst2
  features:
  - name: sentence
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': negative
          '1': positive
  - name: idx
    dtype: int32
configs:
{configs}---
"""


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("label", ["positive", "fine", "x"], "row {row}: found '.*', expected"),
        ("label", [1, 7, 9], "row 1.*: found 7, expected"),
        ("idx", ["1", "2", "three"], "row 2: found 'three', expected Value"),
        ("sentence", ["a", None, "b"], "row 1 .*: found null, expected text"),
    ],
)
def test_values_of_a_wrong_type_are_named_by_split_column_and_row(glue, capfd, column, values, message, declared):
    write_config(glue, "sst2", sst2_rows().assign(**{column: values}), splits=("validation",))
    if declared:
        (glue / "README.md").write_text(DECLARED.format(configs=CONFIG.format(name="sst2")))
    message = message.format(row=1 if declared else 0)
    with pytest.raises(UserError, match=rf"glue', config 'sst2', split 'validation', column '{column}', {message}"):
        task("sst2").load(str(glue))
    assert "Failed" not in capfd.readouterr().err
