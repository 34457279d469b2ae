"""Published figures that are matched to the rows of a suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.api.errors import UserError
from harness.planning import figure_matching
from harness.resolution import load, resolve
from tests.support.checkpoint_folders import save_without_values

SUITE = """\
name: matched
tasks: [sst2, mnli, squad]
teachers:
  base: {model: bert-base-uncased}
  other: {architecture: {layers: 12, hidden: 768, heads: 12, ffn: 3072}}
students:
  6x768: {layers: 6, hidden: 768, heads: 12, ffn: 3072}
  4x312: {layers: 4, hidden: 312, heads: 12, ffn: 1200}
methods:
  - finetune
  - tinybert
  - tinybert: {label: tinybert-kl, attention_loss: kl}
  - minilm
  - minilm: {label: second, version: 2}
"""


@pytest.fixture
def match_figures(tmp_path, monkeypatch):
    """Match the figures of a suite whose teacher's shape is read from a local folder, without a network."""
    from transformers import BertConfig

    monkeypatch.chdir(tmp_path)
    save_without_values(BertConfig(), Path("bert-base-uncased"))
    Path("matched.yaml").write_text(SUITE)

    def match_figures(*overrides: str, plugins: tuple[str, ...] = ()) -> list:
        loaded = load("matched.yaml", overrides=overrides, plugins=plugins)
        return figure_matching.matching_figures(resolve(loaded, online=False))

    return match_figures


def test_figures_of_the_same_method_version_and_shape(match_figures):
    printed = {(f.label, f.student, f.model, f.source) for f in match_figures()}
    assert printed == {
        ("base", "", "BERT-base (teacher)", "tinybert-paper"),
        ("base", "", "BERT-base", "tinybert-paper"),
        ("tinybert", "6x768", "TinyBERT 6x768", "tinybert-paper"),
        ("tinybert", "6x768", "TinyBERT6", "tinybert-paper"),
        ("tinybert", "6x768", "TinyBERT", "xtreme-distil-readme"),
        ("tinybert", "4x312", "TinyBERT 4x312", "tinybert-paper"),
        ("tinybert", "4x312", "TinyBERT4", "tinybert-paper"),
        ("minilm", "6x768", "MiniLM", "xtreme-distil-readme"),
        ("second", "6x768", "MiniLMv2", "minilmv2-readme"),
        ("second", "6x768", "MiniLMv2, Bloomberg re-run", "minilmv2-bloomberg"),
    }


def test_a_figure_has_the_published_values_and_source(match_figures):
    (mnli,) = [f for f in match_figures() if (f.task, f.model) == ("mnli", "TinyBERT 4x312")]
    assert (mnli.values, mnli.metrics) == ([82.5, 81.8], ["accuracy_m", "accuracy_mm"])
    assert (mnli.split, mnli.where) == ("GLUE test server", "table 1, GLUE test server")
    assert (mnli.teacher, mnli.url) == ("BERT-base", "https://arxiv.org/abs/1909.10351")
    (teacher,) = [f for f in match_figures() if (f.task, f.label) == ("squad", "base")]
    assert (teacher.values, teacher.metrics, teacher.teacher) == ([80.7, 88.4], ["exact", "f1"], None)


def test_a_teacher_from_scratch_of_the_same_shape_does_not_match(match_figures):
    assert not [f for f in match_figures() if f.label == "other"]


def test_only_tasks_of_the_suite_have_figures(match_figures):
    assert {f.task for f in match_figures("tasks=[sst2]")} == {"sst2"}
    assert not match_figures("tasks=[synthetic_sentiment, wnli]")


def test_a_suite_can_disable_or_select_sources(match_figures):
    assert not match_figures("published=false")
    assert match_figures("published=true") == match_figures()
    chosen = match_figures("published=[minilmv2-readme]")
    assert {(f.label, f.source) for f in chosen} == {("second", "minilmv2-readme")}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[minilmv2-readmes]", "unknown published source 'minilmv2-readmes'; did you mean 'minilmv2-readme'?"),
        ("[tinybert-paper, tinybert-paper]", "duplicate value 'tinybert-paper'"),
        ("some", "published: expected true or false, found 'some'"),
    ],
)
def test_an_invalid_selection_raises_an_error(match_figures, value, words):
    with pytest.raises(UserError) as caught:
        match_figures(f"published={value}")
    assert words in str(caught.value)


PLUGIN = """
from pathlib import Path
from harness import hookimpl

@hookimpl
def harness_register_published(register):
    register(Path(__file__).parent / "mine.yaml")
"""
MINE = """\
title: Mine
url: https://example.org
tables:
  - split: GLUE dev
    teacher: BERT-large
    metrics: {sst2: accuracy}
    rows:
      - {model: Mine-6, method: finetune, shape: {layers: 6, hidden: 768}, scores: {sst2: 90.1}}
"""


def test_a_plugin_registers_figures(match_figures):
    Path("plugin.py").write_text(PLUGIN)
    Path("mine.yaml").write_text(MINE)
    (figure,) = [f for f in match_figures(plugins=("plugin.py",)) if f.source == "mine"]
    assert (figure.label, figure.student, figure.task, figure.values) == ("finetune", "6x768", "sst2", [90.1])


def test_an_invalid_file_of_a_plugin_is_reported_with_its_line(match_figures):
    Path("plugin.py").write_text(PLUGIN)
    Path("mine.yaml").write_text(MINE.replace("accuracy", "accuracy in percent"))
    with pytest.raises(UserError, match=r"mine\.yaml:6: tables\.0\.metrics\.sst2: .*'accuracy in percent'"):
        match_figures(plugins=("plugin.py",))


def test_a_duplicate_source_name_raises_an_error(match_figures):
    for name in ("plugin.py", "other.py"):
        Path(name).write_text(PLUGIN)
    Path("mine.yaml").write_text(MINE)
    with pytest.raises(UserError, match="duplicate published source 'mine'"):
        match_figures(plugins=("plugin.py", "other.py"))


def test_the_plan_file_lists_published_figures(small):
    """Generated tasks have no published figures: the plan lists none."""
    file = small.plan().file("harness run small.yaml")
    assert file.published == []
    assert small.plan("published=false").file("harness run small.yaml") == file
