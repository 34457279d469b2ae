"""docs/suites.md documents every key with its default, and its examples are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic_core import PydanticUndefined

from harness.api.method import Method
from harness.config.latency_schema import LatencySpec
from harness.config.method_schema import MethodSpec, StageOverride
from harness.config.schema import SuiteSpec
from harness.config.selection_schema import SelectionSpec, TuningSpec
from harness.config.shipped_suites import shipped_suites
from harness.config.strict_model import Strict
from harness.config.student_schema import StudentSpec
from harness.config.teacher_schema import Architecture, TeacherCacheSpec, TeacherSpec
from harness.config.text_stage_schema import GeneralSpec
from harness.config.training_schema import Limit, TrainingSpec
from harness.plugin_host.host import Host
from harness.resolution import load

DOCS = (Path(__file__).parents[2] / "docs" / "suites.md").read_text(encoding="utf-8")
SECTIONS = {
    "Top level": SuiteSpec,
    "Teachers": TeacherSpec,
    "Students": StudentSpec,
    "Methods": MethodSpec,
    "Training": TrainingSpec,
    "General": GeneralSpec,
    "Selection": SelectionSpec,
    "Tuning": TuningSpec,
    "Latency": LatencySpec,
    "Teacher cache": TeacherCacheSpec,
}
EXTRA = {"Top level": {"include"}}
UNWRITTEN = {"Methods": {"name", "options"}}


def rows(section: str) -> dict[str, str]:
    """key -> default of the table below a heading."""
    body = DOCS.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|", body, re.MULTILINE))


@pytest.mark.parametrize("section", SECTIONS)
def test_tables_list_exactly_the_keys_of_the_schema(section):
    keys = set(SECTIONS[section].model_fields) - UNWRITTEN.get(section, set())
    assert set(rows(section)) == keys | EXTRA.get(section, set())


@pytest.mark.parametrize("section", SECTIONS)
def test_documented_defaults_match_the_schema(section):
    for key, written in rows(section).items():
        field = SECTIONS[section].model_fields.get(key)
        if field is not None and field.default not in (PydanticUndefined, None) and written.startswith("`"):
            default = field.default
            plain = default.model_dump() if isinstance(default, Strict) else default
            assert yaml.safe_load(written.strip("`")) == plain, key


@pytest.mark.parametrize("model", [Architecture, Limit, StageOverride], ids=["architecture", "limit", "stages"])
def test_keys_of_nested_mappings_are_documented(model):
    assert [key for key in model.model_fields if f"`{key}`" not in DOCS] == []


def test_the_methods_with_a_text_stage_are_named():
    named = DOCS.split("\n## General\n")[1].split("(")[1].split(")")[0]
    methods = Host.create().methods.items()
    assert sorted(named.split(", ")) == sorted(name for name, cls in methods if cls.general is not Method.general)


def test_every_shipped_suite_is_listed():
    listed = DOCS.split("\n## Shipped suites\n")[1].split("\n## ")[0]
    assert set(re.findall(r"`([a-z0-9-]+)`", listed)) == set(shipped_suites())


def test_first_example_is_a_valid_suite(tmp_path):
    example = DOCS.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "first.yaml").write_text(example)
    assert load(tmp_path / "first.yaml").suite.spec.name == "first"


def test_selection_example_is_valid(tmp_path):
    first = DOCS.split("```yaml\n")[1].split("```")[0]
    example = DOCS.split("\n## Selection\n")[1].split("```yaml\n")[1].split("```")[0]
    (tmp_path / "s.yaml").write_text(first + example)
    assert load(tmp_path / "s.yaml").suite.spec.effective_selection == SelectionSpec(on="train")
    other = example.split("# or: ")[1].strip()
    chosen = load(tmp_path / "s.yaml", overrides=[f"selection={other}"]).suite.spec.selection
    assert (chosen.on, chosen.share, chosen.seed, chosen.epoch) == ("train", 0.05, 2, "best")


def test_the_example_of_teacher_seeds_is_valid(tmp_path):
    first = DOCS.split("```yaml\n")[1].split("```")[0]
    example = DOCS.split("\n## Teachers\n")[1].split("```yaml\n")[1].split("```")[0]
    teachers = first.index("teachers:"), first.index("students:")
    (tmp_path / "s.yaml").write_text(first[: teachers[0]] + example + first[teachers[1] :])
    spec = load(tmp_path / "s.yaml").suite.spec
    assert spec.teachers["base"].seeds == spec.seeds == [1, 2, 3]


def test_methods_example_is_valid(tmp_path):
    first = DOCS.split("```yaml\n")[1].split("```")[0]
    methods = DOCS.split("\n## Methods\n")[1].split("```yaml\n")[1].split("```")[0]
    (tmp_path / "s.yaml").write_text(first.replace("methods: [finetune, logit_kd]\n", methods))
    assert len(load(tmp_path / "s.yaml").suite.variants) == 8


def test_the_examples_of_fine_tuned_teachers_are_valid(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "teachers.md").read_text(encoding="utf-8")
    suite, *others = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "my-classifier").mkdir()
    start, end = suite.index("teachers:"), suite.index("students:")
    teachers = []
    for example in (suite[start:end], *others):
        (tmp_path / "s.yaml").write_text(suite[:start] + example + suite[end:])
        teachers.append(load(tmp_path / "s.yaml").suite.spec.teachers["base"])
    assert [teacher.finetune for teacher in teachers] == [False] * 3
    assert [teacher.labels_on("sst2") for teacher in teachers] == [None, *[["negative", "positive"]] * 2]
