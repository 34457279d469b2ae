"""Small grid and ablation studies, from the suite to the sections of the report."""

import os
import re
import subprocess
import sys

import pandas as pd
import pytest
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM

from harness import planning
from harness.execution import local_engine
from harness.execution.plan_execution import PlanExecution
from harness.models import tokenizers
from harness.plugin_host.host import Host
from harness.reporting import report
from harness.resolution import load, resolve
from harness.storage.store import Store
from tests.support.hub_layout import write_dataset

HEADS = "teachers.base.architecture={layers: 2, hidden: 24, heads: 12, ffn: 32}"
STUDENTS = "students={" + ", ".join(f"h{n}: {{layers: 1, heads: {n}, init: uniform}}" for n in (12, 6, 3, 2)) + "}"
LATENCY = (
    "latency={batch_sizes: [4, 1], lengths: [8], backends: [eager], rounds: 8, warmup: 10, max_seconds: 20, "
    "memory: false}"
)


def sections(markdown):
    """Title -> text of every section."""
    parts = re.split(r"^## (.*)\n", markdown, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def scores(small):
    """(label, student) -> seed -> score on the leaderboard, in percent."""
    results = {}
    for record in small.store().records():
        results.setdefault((record.label, record.student), {})[record.seed] = 100 * record.score
    return results


def test_a_grid_end_to_end(small):
    grid = "{tinybert: {label: tb, grid: {attention_loss: [mse, kl], mapping: [uniform, last, random]}}}"
    assert not small.run(f"methods=[finetune, {grid}]", "training.limit.train=32").failed
    folder = small.store().folder
    written = report(folder)
    text = sections(written.markdown)["Study of tinybert, student 1x32"]
    assert "| attention_loss" in text
    results = {label: by_seed for (label, _), by_seed in scores(small).items() if label != "finetune"}
    assert len(results) == 6
    frame = pd.read_csv(folder / "sections" / "study.csv").set_index(["option", "value", "scope"])
    values = {
        value: [
            results[f"tb-attention_loss={value},mapping={m}"][s] for m in ("uniform", "last", "random") for s in (1, 2)
        ]
        for value in ("mse", "kl")
    }
    assert frame.loc["attention_loss", "kl", "order"]["mean"] == pytest.approx(sum(values["kl"]) / 6)
    difference = (sum(values["kl"]) - sum(values["mse"])) / 6
    assert frame.loc["attention_loss", "kl", "order"]["difference"] == pytest.approx(difference)
    # A student of one layer learns from the last of two either way: the runs are other ones, the numbers the same.
    assert frame.loc["mapping", "last", "order"][["difference", "low", "high"]].tolist() == [0, 0, 0]
    again = report(folder)
    assert again.markdown == written.markdown
    assert again.files == written.files


def test_an_ablation_end_to_end(small):
    methods = (
        "methods=[mlkd_bert, {mlkd_bert: {label: no-emb, emb: false}}, {mlkd_bert: {label: one, one_stage: true}}]"
    )
    assert not small.run(methods, "seeds=[1]", "training.limit.train=32").failed
    text = sections(report(small.store().folder).markdown)["Variants of mlkd_bert, student 1x32"]
    results = {label: by_seed[1] for (label, _), by_seed in scores(small).items()}
    for label, differs in (("no-emb", "emb: false"), ("one", "one_stage: true")):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {label} ")]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        difference = results[label] - results["mlkd_bert"]
        assert cells[:2] == [label, differs]
        middle, low, high = (float(number.strip("],")) for number in cells[3].replace("[", "").split())
        assert middle == pytest.approx(difference, abs=0.05)
        assert low <= middle <= high


def test_fewer_heads_end_to_end(small, monkeypatch):
    from harness.cli.app import main

    monkeypatch.chdir(small.folder)
    methods = "methods=[mlkd_bert, {minilm: {version: 2}}]"
    settings = [HEADS, STUDENTS, LATENCY, methods, "seeds=[1]", "training.limit.train=32"]
    monkeypatch.setattr(
        "sys.argv", ["harness", "run", "small.yaml", "-q", *(f"--set={setting}" for setting in settings)]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    records = {(record.label, record.student): record for record in small.store().records()}
    assert {key: record.size.heads for key, record in records.items()} == {
        (label, f"h{heads}"): heads for label in ("mlkd_bert", "minilm") for heads in (12, 6, 3, 2)
    }
    assert len({record.size.parameters for record in records.values()}) == 1
    folder = small.store().run_folder(records["mlkd_bert", "h3"].key) / "student"
    assert AutoModelForSequenceClassification.from_pretrained(folder).config.num_attention_heads == 3
    text = sections((small.store().folder / "leaderboard.md").read_text())["Number of heads: 1 layer, hidden 24"]
    lines = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert [line[:3] for line in lines if line[0] == "minilm"] == [["minilm", str(n), f"h{n}"] for n in (12, 6, 3, 2)]
    timed = [line for line in lines if line[0] == "eager"]
    assert [line[1:3] for line in timed] == [["1", "8"], ["4", "8"]]
    assert all(len(line) == 8 and line[5].endswith("]") for line in timed)


@pytest.fixture
def planned_subset(tmp_path, monkeypatch):
    """Plans a shipped suite with 16 examples and small encoders of the same depths."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    tokenizer = tokenizers.whole_word(["one", "two", "three", "four"])
    sizes = {"base": (12, 24, 12), "large": (24, 32, 16), "4x312": (4, 12, 12)}
    for name, (layers, hidden, heads) in sizes.items():
        config = BertConfig(
            vocab_size=len(tokenizer),
            num_hidden_layers=layers,
            hidden_size=hidden,
            num_attention_heads=heads,
            intermediate_size=24,
        )
        BertForMaskedLM(config).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    words = ["one two", "two three", "three four", "four one"] * 6
    pairs = pd.DataFrame({"sentence1": words, "sentence2": words[::-1], "label": [0, 1] * 12, "idx": range(24)})
    glue = write_dataset(tmp_path / "glue", {"rte": {"train": pairs, "validation": pairs}})

    def planned_subset(name):
        spec = load(name).suite.spec
        settings = [f"teachers.{teacher}.model={tmp_path / teacher}" for teacher in spec.teachers]
        settings += [f"students.4x312={{layers: 4, init: {tmp_path}/4x312}}"] if "4x312" in spec.students else []
        limits = ["training.limit={train: 16, validation: 8}", "training.epochs=1", "latency=null"]
        overrides = [*settings, *limits, f"sources.glue={glue}", "tasks=[rte]", "seeds=[1]"]
        return planning.build(resolve(load(name, overrides=overrides), online=False))

    return planned_subset


STUDIES = {
    "mlkd-ablation": (9, "Variants of mlkd_bert, student 6x768"),
    "mt-bert-ablation": (7, "Variants of mt_bert, student 6x768"),
    "heads": (12, "Number of heads: 6 layers, hidden 24"),
}
"""Shipped suite -> number of runs, and the section of its report."""


@pytest.mark.parametrize("name", STUDIES)
def test_a_shipped_study_has_the_runs_of_its_report_section(planned_subset, tmp_path, name):
    planned, (runs, title) = planned_subset(name), STUDIES[name]
    assert len({job.planned.key for job in planned.runs}) == len(planned.runs) == runs
    Store(tmp_path / "results").save_plan(planned.file(f"harness run {name}"))
    assert [section.title for section in report(tmp_path / "results").sections] == [title]


@pytest.mark.skipif("HARNESS_NIGHTLY" not in os.environ, reason="has teachers of 24 layers; it runs nightly")
@pytest.mark.parametrize("name", STUDIES)
def test_a_shipped_study_gives_its_report_section(planned_subset, tmp_path, name):
    planned, (_, title) = planned_subset(name), STUDIES[name]
    store = Store(tmp_path / "results")
    store.save_plan(planned.file(f"harness run {name}"))
    outcome = PlanExecution(planned, store, Host.create()).run(local_engine.execute)
    assert not outcome.failed
    written = report(store.folder)
    assert [section.title for section in written.sections] == [title]
    assert "Rows with missing results" not in written.markdown
    assert "SUBSET" in written.markdown


def test_the_shipped_grid_has_a_key_for_every_combination(planned_subset, tmp_path):
    planned = planned_subset("tinybert-study")
    assert len({job.planned.key for job in planned.runs}) == 61
    assert len(planned.cohorts(planned.runs)) == 1, "one teacher for all"
    Store(tmp_path / "results").save_plan(planned.file("harness run tinybert-study"))
    (section,) = report(tmp_path / "results").sections
    assert section.title == "Study of tinybert, student 4x312"
    assert "No combination is complete yet." in section.text
    assert "and 52 more." in section.text


def test_a_report_is_written_without_torch(small):
    assert not small.run("methods=[finetune, {tinybert: {grid: {attention_loss: [mse, kl]}}}]", "seeds=[1]").failed
    code = (
        "import sys; from pathlib import Path; from harness.reporting import report; "
        f"written = report(Path({str(small.store().folder)!r})); "
        "assert '## Study of' in written.markdown; "
        "print([name for name in ('torch', 'transformers', 'datasets', 'evaluate') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
