"""`harness validate` reports the same model problems as `plan` and `run`: one message, exit code 2."""

import json
import sys
from types import SimpleNamespace

import pytest
import yaml

from harness.cli import app
from harness.models import tokenizers
from tests.execution.test_text_students import pretrained


@pytest.fixture
def suite(small, monkeypatch):
    """The small suite with a pretrained teacher in a folder, with 512 positions."""
    monkeypatch.setattr(app, "gc", SimpleNamespace(disable=lambda: None, freeze=lambda: None))
    pretrained(small.folder / "base")
    content = yaml.safe_load(small.path.read_text(encoding="utf-8"))
    content["teachers"] = {"base": {"model": "./base", "epochs": 1}}
    content["students"]["own"] = {"layers": 2, "init": "./base"}
    small.path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return small


@pytest.fixture
def errors(suite, monkeypatch, capsys):
    """Return a function that runs a command and returns its error messages; empty for a valid suite."""

    def errors(command, *overrides):
        settings = [word for override in overrides for word in ("--set", override)]
        monkeypatch.setattr(sys, "argv", ["harness", command, str(suite.path), *settings])
        code = 0
        try:
            app.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        err = capsys.readouterr().err
        assert code == (2 if "error: " in err else 0)
        assert "Traceback" not in err
        return " ".join(err.split())

    return errors


def configure(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def add_tokens(folder):
    tokenizer = tokenizers.load(folder)
    tokenizer.add_tokens(["one", "two", "three"])
    tokenizer.save_pretrained(folder)


CORRUPTED = {
    "layers": (lambda folder: configure(folder, num_hidden_layers=1), "the weights have 2 layers"),
    "missing": (lambda folder: configure(folder, num_hidden_layers=3), "16 tensors of the encoder are missing"),
    "tokens": (add_tokens, "tokens, and the embedding has"),
    "weights": (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
    "tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "holds no tokenizer"),
    "heads": (lambda folder: configure(folder, num_attention_heads=0), "num_attention_heads in config.json is 0"),
    "huge": (lambda folder: configure(folder, hidden_size=10**30), "hidden_size in config.json is 1000"),
}


@pytest.mark.parametrize("command", ["validate", "plan"])
@pytest.mark.parametrize("case", CORRUPTED)
def test_unusable_checkpoints_are_reported(suite, errors, case, command):
    corrupt, message = CORRUPTED[case]
    corrupt(suite.folder / "base")
    messages = errors(command)
    assert message in messages
    for key in ("teachers.base.model", "students.own.init"):
        assert key in messages
    assert str(suite.folder / "base") in messages or "base: " in messages


def test_usable_checkpoint_is_valid(errors):
    assert errors("validate") == ""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.max_length=513"], "training.max_length: it is 513, but base reads at most 512 tokens; lower it"),
        (["training.max_length=513"], "but own reads at most 512 tokens"),
        (["teachers.base.max_length=600"], "teachers.base.max_length: it is 600, but base reads at most 512 tokens"),
        (
            ["general={data: corpus.txt, steps: 2, max_length: 700}", "methods=[tinybert]"],
            "general.max_length: it is 700, but base reads at most 512 tokens",
        ),
        (
            [
                "teachers={base: {architecture: {layers: 2, hidden: 32, heads: 2, ffn: 64}, max_length: 16}}",
                "students={1x32: {layers: 1}}",
                "training.max_length=600",
            ],
            "training.max_length: it is 600, but base reads at most 512 tokens",
        ),
    ],
)
def test_max_length_beyond_the_positions_of_a_model(suite, errors, overrides, message):
    (suite.folder / "corpus.txt").write_text("sun lamp\n" * 20, encoding="utf-8")
    assert message in errors("validate", *overrides)


@pytest.mark.parametrize(
    "override",
    [
        "training.max_memory_gb=1e308",
        "training.epochs=1e300",
        "training.batch_size=1000000000000000000000",
        "training.max_length=100000000000000000000",
        "training.weight_decay=1e308",
        "training.log_every=100000000000000000000000000",
        "training.limit.train=1000000000000000000000000",
        "teacher_cache.max_gb=1e308",
        "teachers.base.epochs=1e300",
        "teachers={base: {architecture: {layers: 1000000000, hidden: 32, heads: 2, ffn: 64}}}",
        "teachers={base: {architecture: {layers: 2, hidden: 3200000000, heads: 2, ffn: 64}}}",
        "students={small: {layers: 100000000000, hidden: 32, heads: 2, ffn: 64}}",
        "methods=[{finetune: {stages: {finetuning: {steps: 100000000000000000000}}}}]",
        "methods=[{finetune: {stages: {finetuning: {epochs: 1e300}}}}]",
    ],
)
def test_huge_numbers_are_rejected(errors, override):
    assert "less than or equal to" in errors("validate", override)
