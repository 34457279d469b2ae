"""The files of published figures are valid and agree with their sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.published_figures import NOT_STATED, PublishedRow, PublishedTable, Source, read
from harness.plugin_host.host import Host

FILES = sorted(Path(__file__).parent.glob("*.yaml"))
HOST = Host.create()
METRICS = {
    *("accuracy", "accuracy_m", "accuracy_mm", "accuracy_set_not_stated", "f1", "exact", "matthews_correlation"),
    NOT_STATED,
}


def test_all_files_are_registered():
    assert {file.stem for file in FILES} <= set(HOST.published)
    assert len(FILES) == 7


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_tasks_metrics_and_options_are_known(file):
    for table in read(file).source.tables:
        metrics = [name for names in table.metrics.values() for name in ([names] if isinstance(names, str) else names)]
        assert set(metrics) <= METRICS
        assert set(table.metrics) <= set(HOST.tasks)
        for row in table.rows:
            if row.method in HOST.methods:
                assert set(row.options) <= set(HOST.methods[row.method].Config.model_fields)
            numbers = [n for score in row.scores.values() for n in (score if isinstance(score, list) else [score])]
            assert all(20 < number < 100 for number in numbers)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_methods_are_registered_or_known_to_be_absent(file):
    assert set(read(file).methods) <= {*HOST.methods, "TextBrewer"}


SPOT_VALUES = [
    ("tinybert-paper", "GLUE test server", "BERT-base (teacher)", "qqp", 71.1),
    ("tinybert-paper", "GLUE test server", "TinyBERT 6x768", "mnli", [84.6, 83.2]),
    ("tinybert-paper", "GLUE test server", "TinyBERT 4x312", "cola", 44.1),
    ("tinybert-paper", "GLUE test server", "DistilBERT 6x768", "rte", 58.4),
    ("tinybert-paper", "GLUE test server", "DistilBERT 4 layers", "stsb", 76.1),
    ("tinybert-paper", "GLUE test server", "BERT-PKD 6x768", "mrpc", 85.0),
    ("tinybert-paper", "GLUE test server", "BERT-PKD 4 layers", "qnli", 85.1),
    ("tinybert-paper", "SQuAD dev", "TinyBERT4", "squad", [72.7, 82.1]),
    ("tinybert-paper", "SQuAD dev", "PKD6", "squad_v2", [66.3, 69.8]),
    ("xtreme-distil-readme", "GLUE dev", "MiniLM", "sst2", 92.0),
    ("xtreme-distil-readme", "GLUE dev", "TinyBERT", "rte", 72.2),
    ("xtreme-distil-readme", "SQuAD 2.0 dev", "DistilBERT", "squad_v2", 70.7),
    ("minilmv2-readme", "GLUE dev", "MiniLMv2", "mnli", 84.2),
    ("minilmv2-bloomberg", "GLUE dev", "MiniLMv2, Bloomberg re-run", "rte", 60.65),
    ("distilbert-readme", "GLUE dev", "DistilBERT", "stsb", 86.9),
    ("distilbert-readme", "SQuAD 1.1 dev", "DistilBERT", "squad", 86.9),
    ("textbrewer-readme", "SQuAD 1.1 dev", "T4-tiny", "squad", [73.7, 82.5]),
]


@pytest.mark.parametrize(("source", "split", "model", "task", "printed"), SPOT_VALUES)
def test_spot_values(source, split, model, task, printed):
    (row,) = [
        row
        for table in read(HOST.published[source]).source.tables
        for row in table.rows
        if (table.split, row.model) == (split, model)
    ]
    assert row.scores[task] == printed


def test_printed_averages_agree_with_the_printed_scores():
    """This detects typing mistakes. Both numbers of MNLI count."""
    rows = [row for row in read(HOST.published["tinybert-paper"]).source.tables[0].rows if row.average]
    assert len(rows) == 6
    for row in rows:
        printed = [n for score in row.scores.values() for n in (score if isinstance(score, list) else [score])]
        assert sum(printed) / 9 == pytest.approx(row.average, abs=0.051), row.model


def test_claims_about_a_whole_method_are_read():
    values = [claim.value for claim in read(HOST.published["mlkd-bert-paper"]).source.claims]
    assert values == [99.5, 14.11]


README = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")


def test_the_readme_documents_every_field_and_file(tmp_path):
    (tmp_path / "example.yaml").write_text(README.split("```yaml\n")[1].split("```")[0])
    example = read(tmp_path / "example.yaml").source
    assert [row.model for row in example.tables[0].rows] == ["Student-6", "BERT-base"]
    fields = {*Source.model_fields, *PublishedTable.model_fields, *PublishedRow.model_fields}
    assert {field for field in fields if f"{field}:" not in README} == {"average"}
    assert [file.name for file in FILES if f"`{file.name}`" not in README] == []
