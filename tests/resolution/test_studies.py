"""The shipped studies (grids and ablations): every cell can run, and headers state the number of runs."""

from __future__ import annotations

import re
import shlex

import pytest
from transformers import BertConfig

from harness.planning import board_rows
from harness.resolution import load, resolve
from tests.resolution.test_suite_loader import SUITES
from tests.support.checkpoint_folders import save_without_values

SIX = {"emb", "mha", "ffn", "ss", "sc", "kd"}
STUDIES = {"tinybert-study", "mlkd-ablation", "mt-bert-ablation", "heads"}
HEADERS = {
    file.stem: re.match(r"(#.*\n)+", file.read_text(encoding="utf-8"))[0] for file in SUITES if file.stem in STUDIES
}


def commands(name):
    """List (arguments, number of runs) of the commands in the header of the suite."""
    text = HEADERS[name].replace("\\\n#", " ")
    matches = re.findall(r"^#   harness run (.*?)(?:  +(\d+) runs|\n# +a subset, (\d+) runs)", text, re.MULTILINE)
    return [(shlex.split(arguments), int(full or subset)) for arguments, full, subset in matches]


@pytest.fixture
def resolved(tmp_path):
    """Return a function that resolves a suite, with hub models replaced by configurations of the same sizes."""
    large = {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}
    tiny = {"num_hidden_layers": 4, "hidden_size": 312, "intermediate_size": 1200, "num_attention_heads": 12}
    for name, sizes in {"base": {}, "large": large, "4x312": tiny}.items():
        save_without_values(BertConfig(**sizes), tmp_path / name)

    def resolve_here(name, *overrides):
        spec = load(name).suite.spec
        models = [f"teachers.{teacher}.model={tmp_path / teacher}" for teacher in spec.teachers]
        models += [f"students.{student}.init={tmp_path / student}" for student in spec.students if student == "4x312"]
        return resolve(load(name, overrides=[*models, *overrides]), online=False)

    return resolve_here


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_cell_can_run_and_the_header_states_the_number_of_runs(name, resolved):
    (full, full_runs), (subset, subset_runs) = commands(name)
    assert (full, subset[0]) == ([name], name)
    for arguments, runs in ((full, full_runs), (subset, subset_runs)):
        settings = [value for flag, value in zip(arguments[1::2], arguments[2::2], strict=True) if flag == "--set"]
        resolved_suite = resolved(name, *settings)
        assert [cell.reason for cell in resolved_suite.cells if cell.reason] == []
        assert len(resolved_suite.cells) * len(resolved_suite.suite.spec.seeds) == runs
        limited = resolved_suite.suite.spec.training.limit.model_dump(exclude_none=True)
        assert (arguments == subset) == bool(limited) == (set(limited) == {"train", "validation"})
        assert all(line.startswith("source ") for line in resolved_suite.unchecked)


def test_tinybert_study_crosses_loss_mapping_and_weights(resolved):
    suite = resolved("tinybert-study").suite
    cells = [variant.config for variant in suite.variants if variant.method.name == "tinybert"]
    crossed = {(c.attention_loss, c.mapping, c.attention_weight, c.representation_weight) for c in cells}
    assert len(cells) == len(crossed) == 3 * 5 * 2 * 2
    assert {c.mapping for c in cells} == {"uniform", "mean", "random", "first", "last"}
    assert cells[0] == type(cells[0])()


def test_mlkd_ablation_removes_one_loss_at_a_time(resolved):
    rows = board_rows.rows(resolved("mlkd-ablation"), {})
    full = rows["mlkd_bert"]
    assert full.plain
    off = [
        {name for name in row.options if row.options[name] != full.options[name]}
        for label, row in rows.items()
        if row.method == "mlkd_bert" and label != "mlkd_bert"
    ]
    assert off == [{"emb"}, {"mha"}, {"ffn"}, {"ss"}, {"sc"}, {"kd"}, {"one_stage"}]
    assert all(rows[f"no-{name}"].options[name] is False for name in SIX)


def test_mt_bert_ablation_removes_one_part_at_a_time(resolved):
    rows = board_rows.rows(resolved("mt-bert-ablation"), {})
    full = rows["mt_bert"]
    assert full.plain
    assert full.teachers == ["base", "large"]
    variants = [row for label, row in rows.items() if row.method == "mt_bert" and label != "mt_bert"]
    taken = [{key: value for key, value in row.settings.items() if value != full.settings[key]} for row in variants]
    assert taken == [{"cofinetune": False}, {"hidden_loss": False}, {"weighting": False}, {"teachers": ["base"]}]


def test_students_of_the_heads_suite_differ_in_heads_only(resolved):
    resolved_suite = resolved("heads")
    shapes = [
        shape for name, shape in board_rows.shapes(resolved_suite).items() if name in resolved_suite.suite.spec.students
    ]
    assert [shape.heads for shape in shapes] == [12, 6, 3, 2]
    assert len({shape.model_copy(update={"heads": 0}).model_dump_json() for shape in shapes}) == 1
    assert 64 in resolved_suite.suite.spec.latency.batch_sizes
    assert {variant.method.name for variant in resolved_suite.suite.variants} == {"finetune", "mlkd_bert", "minilm"}
