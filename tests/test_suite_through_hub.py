"""The shipped GLUE suite with its hub ids, run against a local hub server."""

import os
import subprocess
import sys

import pandas as pd
import pytest
from transformers import BertConfig, BertForMaskedLM

from harness.models import tokenizers
from harness.storage.store import Store
from tests.support.hub_server import serve
from tests.support.patience import PATIENCE, SLEEP_METER, seconds_slept

WORDS = ["good", "bad", "film", "plot", "fine", "dull", "cast", "story", "a", "the"]
SMALL = [
    "--set=tasks=[sst2, stsb]",
    "--set=methods=[finetune, mt_bert]",
    "--set=seeds=[1]",
    "--set=training.limit={train: 24, validation: 16}",
    "--set=training.epochs=1",
    "--set=latency=null",
    "--set=teachers.base.epochs=1",
    "--set=teachers.large.epochs=1",
]
README = """---
configs:
- config_name: sst2
  data_files: [{split: train, path: sst2/train-*}, {split: validation, path: sst2/validation-*}]
- config_name: stsb
  data_files: [{split: train, path: stsb/train-*}, {split: validation, path: stsb/validation-*}]
---
"""


def texts(count, shift):
    return [" ".join(WORDS[(i * 7 + j * 3 + shift) % len(WORDS)] for j in range(3 + i % 4)) for i in range(count)]


@pytest.fixture(name="glue")
def _glue(tmp_path):
    folder = tmp_path / "glue"
    for split, count in (("train", 40), ("validation", 20)):
        first, second = texts(count, 0), texts(count, 1)
        labels, degrees = [i % 2 for i in range(count)], [i % 6 * 1.0 for i in range(count)]
        tables = {
            "sst2": {"sentence": first, "label": labels},
            "stsb": {"sentence1": first, "sentence2": second, "label": degrees},
        }
        for name, columns in tables.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            table = pd.DataFrame({**columns, "idx": range(count)})
            table.to_parquet(folder / name / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text(README)
    return folder


def encoder(folder, **sizes):
    tokenizer = tokenizers.whole_word(WORDS)
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def harness(*arguments, environment, folder):
    command = [sys.executable, "-c", f"{SLEEP_METER}from harness.cli.app import main\nsys.exit(main())", *arguments]
    environment = {**os.environ, **environment, "HARNESS_CACHE": str(folder / "cache")}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


def test_shipped_glue_suite(tmp_path, glue):
    repositories = {
        ("dataset", "nyu-mll/glue"): glue,
        ("model", "google-bert/bert-base-uncased"): encoder(
            tmp_path / "base", num_hidden_layers=12, hidden_size=24, num_attention_heads=12, intermediate_size=48
        ),
        ("model", "google-bert/bert-large-uncased"): encoder(
            tmp_path / "large", num_hidden_layers=24, hidden_size=32, num_attention_heads=16, intermediate_size=48
        ),
        ("model", "huawei-noah/TinyBERT_General_4L_312D"): encoder(
            tmp_path / "tiny", num_hidden_layers=4, hidden_size=312, num_attention_heads=12, intermediate_size=1200
        ),
    }
    with serve(repositories) as hub:
        done = harness("run", "glue", *SMALL, environment=hub.environment(tmp_path / "home"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    records = Store(tmp_path / "results" / "glue").records()
    assert {(r.task, r.label, r.student, r.status) for r in records} == {
        (task, label, student, "completed")
        for task in ("sst2", "stsb")
        for label in ("finetune", "mt_bert")
        for student in ("6x768", "4x312")
    }
    assert "SUBSET" in done.stdout


def test_an_unreachable_hub_is_one_message_without_retries(tmp_path):
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home")}
    done = harness("run", "glue", *SMALL, environment=environment, folder=tmp_path)
    assert seconds_slept(done.stderr) < 1
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for words in ("google-bert/bert-base-uncased", "http://127.0.0.1:9", "local folder"):
        assert words in done.stderr
