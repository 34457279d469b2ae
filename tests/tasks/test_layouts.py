"""Every task of GLUE and SQuAD loads from every layout that the docs promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from harness.tasks import glue, squad
from tests.support.hub_layout import GLUE, squad_rows, write_dataset
from tests.support.hub_server import serve
from tests.support.patience import PATIENCE

TASKS = {task.name: task for task in (*glue.TASKS, *squad.TASKS)}
QUESTIONS = squad_rows(("a", "where", "the cat sat", ["cat"]), ("b", "who", "the dog sat", ["dog"]))
CONFIGS = {"squad": "plain_text", "squad_v2": "squad_v2"}


def rows(config: str, labels: list[float]) -> pd.DataFrame:
    texts = {column: [f"{column} {index}" for index in range(len(labels))] for column in GLUE[config]}
    return pd.DataFrame({**texts, "label": labels, "idx": range(len(labels))})


def splits_of(config: str) -> dict[str, pd.DataFrame]:
    """The splits of a config of GLUE with the hub's names, each with another number of rows."""
    names = {"mnli": ["train", "validation_matched", "validation_mismatched", "test_matched"], "ax": ["test"]}
    label = 2.5 if config == "stsb" else 1
    return {
        split: rows(config, [-1.0 if split.startswith("test") else label] * (3 + index))
        for index, split in enumerate(names.get(config, ["train", "validation", "test"]))
    }


def write(folder: Path) -> dict[str, Path]:
    """Write all data sets with a README.md that names the configs; return them by source."""
    return {
        "glue": write_dataset(folder / "glue", {config: splits_of(config) for config in GLUE}),
        **{
            name: write_dataset(folder / name, {CONFIGS[name]: {"train": QUESTIONS, "validation": QUESTIONS}})
            for name in CONFIGS
        },
    }


def sizes(name: str, source: str) -> dict[str, int]:
    splits = TASKS[name].load(source)
    return {"train": len(splits.train)} | {split: len(part) for split, part in splits.validation.items()}


EXPECTED = {
    **{name: {"train": 3, "validation": 4} for name in GLUE},
    "mnli": {"train": 3, "validation_matched": 4, "validation_mismatched": 5},
    "ax": {"train": 3, "test": 3},
    **{name: {"train": 2, "validation": 2} for name in CONFIGS},
}


@pytest.fixture
def folders(tmp_path, monkeypatch) -> dict[str, Path]:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return write(tmp_path)


def test_folders_with_a_readme_that_names_the_configs(folders):
    assert {name: sizes(name, str(folders[task.source])) for name, task in TASKS.items()} == EXPECTED


def test_one_folder_of_parquet_files_for_each_config(folders):
    for folder in folders.values():
        (folder / "README.md").unlink()
    assert {name: sizes(name, str(folders[task.source])) for name, task in TASKS.items()} == EXPECTED


@pytest.mark.parametrize("declared", [{"train": 67349, "validation": 4, "test": 5}, {"train": 3, "validation": 4}])
def test_other_numbers_of_examples_than_in_the_readme_are_a_warning(folders, caplog, declared):
    readme = folders["glue"] / "README.md"
    metadata = yaml.safe_load(readme.read_text().strip("-\n"))
    splits = [{"name": name, "num_examples": count, "num_bytes": 1} for name, count in declared.items()]
    metadata["dataset_info"] = [{"config_name": "sst2", "splits": splits}]
    readme.write_text(f"---\n{yaml.safe_dump(metadata)}---\n")
    assert sizes("sst2", str(folders["glue"])) == EXPECTED["sst2"]
    assert "the numbers of examples (train 3, validation 4, test 5) differ from those in README.md" in caplog.text


CLIENT = """
import json
from harness.tasks import glue, squad
tasks = [*glue.TASKS, *squad.TASKS]
splits = {task.name: task.load(task.default_source) for task in tasks}
sizes = {name: {"train": len(s.train)} | {k: len(v) for k, v in s.validation.items()} for name, s in splits.items()}
print(json.dumps(sizes))
"""


def test_the_hub_and_its_cache(tmp_path):
    repositories = {
        ("dataset", TASKS[source if source != "glue" else "sst2"].default_source): folder
        for source, folder in write(tmp_path).items()
    }
    with serve(repositories) as hub:
        environment = hub.environment(tmp_path / "home")
        online = client(environment)
    assert json.loads(online.stdout) == EXPECTED, online.stderr
    assert client(environment).stdout == online.stdout


def client(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CLIENT], env=os.environ | environment, capture_output=True, text=True, timeout=PATIENCE
    )
