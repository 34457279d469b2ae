"""The studies that are shipped: whole grids and ablations, which fit the models they name and cost what they say."""

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
    """(arguments, number of runs) of each command that the suite's header names."""
    text = HEADERS[name].replace("\\\n#", " ")
    found = re.findall(r"^#   harness run (.*?)(?:  +(\d+) runs|\n# +a rehearsal, (\d+) runs)", text, re.MULTILINE)
    return [(shlex.split(arguments), int(whole or rehearsal)) for arguments, whole, rehearsal in found]


@pytest.fixture
def resolved(tmp_path):
    """Resolves a suite with configurations of the size of the models that it names, so that every cell is decided."""
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
def test_every_cell_can_be_and_costs_what_the_header_says(name, resolved):
    (whole, of_whole), (rehearsal, of_rehearsal) = commands(name)
    assert (whole, rehearsal[0]) == ([name], name)
    for arguments, runs in ((whole, of_whole), (rehearsal, of_rehearsal)):
        settings = [value for flag, value in zip(arguments[1::2], arguments[2::2], strict=True) if flag == "--set"]
        found = resolved(name, *settings)
        assert [cell.reason for cell in found.cells if cell.reason] == []
        assert len(found.cells) * len(found.suite.spec.seeds) == runs
        limited = found.suite.spec.training.limit.model_dump(exclude_none=True)
        assert (arguments == rehearsal) == bool(limited) == (set(limited) == {"train", "validation"})
        assert all(line.startswith("source ") for line in found.unchecked)


def test_the_study_crosses_loss_mapping_and_weights_and_begins_with_tinyberts_own(resolved):
    suite = resolved("tinybert-study").suite
    cells = [variant.config for variant in suite.variants if variant.method.name == "tinybert"]
    crossed = {(c.attention_loss, c.mapping, c.attention_weight, c.representation_weight) for c in cells}
    assert len(cells) == len(crossed) == 3 * 5 * 2 * 2
    assert {c.mapping for c in cells} == {"uniform", "mean", "random", "first", "last"}
    assert cells[0] == type(cells[0])()


def test_the_ablation_takes_each_loss_away_alone(resolved):
    found = board_rows.rows(resolved("mlkd-ablation"), {})
    full = found["mlkd_bert"]
    assert full.plain
    off = [
        {name for name in row.options if row.options[name] != full.options[name]}
        for label, row in found.items()
        if row.method == "mlkd_bert" and label != "mlkd_bert"
    ]
    assert off == [{"emb"}, {"mha"}, {"ffn"}, {"ss"}, {"sc"}, {"kd"}, {"one_stage"}]
    assert all(found[f"no-{name}"].options[name] is False for name in SIX)


def test_the_ablation_takes_each_part_of_several_teachers_away_alone(resolved):
    found = board_rows.rows(resolved("mt-bert-ablation"), {})
    full = found["mt_bert"]
    assert full.plain
    assert full.teachers == ["base", "large"]
    variants = [row for label, row in found.items() if row.method == "mt_bert" and label != "mt_bert"]
    taken = [{key: value for key, value in row.settings.items() if value != full.settings[key]} for row in variants]
    assert taken == [{"cofinetune": False}, {"hidden_loss": False}, {"weighting": False}, {"teachers": ["base"]}]


def test_students_of_heads_differ_in_heads_alone(resolved):
    found = resolved("heads")
    shapes = [shape for name, shape in board_rows.shapes(found).items() if name in found.suite.spec.students]
    assert [shape.heads for shape in shapes] == [12, 6, 3, 2]
    assert len({shape.model_copy(update={"heads": 0}).model_dump_json() for shape in shapes}) == 1
    assert 64 in found.suite.spec.latency.batch_sizes
    assert {variant.method.name for variant in found.suite.variants} == {"finetune", "mlkd_bert", "minilm"}
