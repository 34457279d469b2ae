"""The README of each method matches its code: options and defaults, stages, loss terms, citation."""

import inspect
import re
from pathlib import Path

import pytest

from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model

METHODS = Host.create().methods
SUITE_KEYS = {"teachers"}
"""Keys of a method's entry in a suite that a README may list with the options."""


def text(method: str) -> str:
    return (Path(inspect.getfile(METHODS[method])).parent / "README.md").read_text(encoding="utf-8")


def sections(method: str) -> dict[str, str]:
    """title -> text of each section of the README; the text before the first title has the key ""."""
    parts = re.split(r"^## (.*)\n", text(method), flags=re.M)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def options(method: str) -> dict[str, dict[str, str]]:
    """option -> column -> cell of the table of options. A row may describe several options."""
    lines = [line for line in sections(method).get("Options", "").splitlines() if line.startswith("|")]
    columns, *rows = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
    cells = [dict(zip(columns, row, strict=True)) for row in rows[1:]]
    return {name: row for row in cells for name in re.findall(r"`(\w+)`", row["option"])}


@pytest.mark.parametrize("method", METHODS)
def test_readme_has_all_sections(method):
    titles = list(sections(method))
    required = ["", "Losses", *(["Options", "Where"] if METHODS[method].Config.model_fields else []), "What it needs"]
    required += ["Citation"] if METHODS[method].citation else []
    positions = [
        next((i for i, title in enumerate(titles) if title.startswith(start) and (start or not title)), -1)
        for start in required
    ]
    assert -1 not in positions, f"{required} in {titles}"
    assert positions == sorted(positions)
    idea = sections(method)[""].partition("\n")[2].strip()
    assert 2 <= len(idea.splitlines()) <= 9, "the idea takes about five lines"


@pytest.mark.parametrize("method", [name for name, cls in METHODS.items() if cls.Config.model_fields])
def test_readme_has_every_option_with_default_and_source(method):
    fields, documented = METHODS[method].Config.model_fields, options(method)
    assert documented.keys() - SUITE_KEYS == fields.keys()
    for name, field in fields.items():
        row = documented[name]
        assert row["meaning"]
        assert row["source"], f"{name} has no source"
        assert field.description, f"{name} is not described in the code"
        if field.default is not None:  # for None, the table describes the choice in words
            assert row["default"].strip("`") == formatted(field.get_default(call_default_factory=True)), name


def formatted(default: object) -> str:
    if isinstance(default, bool) or not isinstance(default, int | float):
        return str(default).lower()
    return f"{default:g}"


VARIANTS = {"version": 2, "one_stage": True, "alpha": 0.5}
"""Option values that add stages and terms."""


def stages_and_terms(method: str) -> dict[str, set[str]]:
    """stage -> names of the loss terms that the method computes for a classification task."""
    cls, stages = METHODS[method], []

    class RecordsStages(cls):
        def losses(self, step, *arguments):
            stages[:] = [stage.name for stage in self.stages()]
            return super().losses(step, *arguments)

    count = max(1, cls.min_teachers)
    teachers = [tiny_model(layers=4, seed=2 + i) for i in range(count)][: cls.max_teachers]
    inputs = {"student": tiny_model(seed=1), "teachers": teachers, "batch": tiny_batch("classification")}
    terms: dict[str, set[str]] = {}
    for config in ({}, *({name: value} for name, value in VARIANTS.items() if name in cls.Config.model_fields)):
        loss_terms(RecordsStages, **inputs, config=config)
        for stage in stages:
            terms.setdefault(stage, set()).update(loss_terms(cls, **inputs, stage=stage, config=config))
    return terms


@pytest.mark.parametrize("method", METHODS)
def test_readme_has_every_stage_and_term(method):
    losses, terms_of_stage = sections(method)["Losses"], stages_and_terms(method)
    assert terms_of_stage
    for stage, terms in terms_of_stage.items():
        assert f"`{stage}`" in text(method)
        assert {term for term in terms if f"`{term}`" not in losses} == set()


@pytest.mark.parametrize("method", METHODS)
def test_readme_and_code_have_the_same_citation(method):
    printed = re.findall(r"^```bibtex\n(.*?)\n```$", text(method), flags=re.M | re.S)
    assert printed == ([METHODS[method].citation] if METHODS[method].citation else [])
