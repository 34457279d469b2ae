"""Each method's README says what its code does: every option with its default, every stage and term, the citation."""

import inspect
import re
from pathlib import Path

import pytest

from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model

METHODS = Host.create().methods
OF_SUITES = {"teachers"}
"""Keys of a suite's entry that a README may list among the options."""


def text(method: str) -> str:
    return (Path(inspect.getfile(METHODS[method])).parent / "README.md").read_text(encoding="utf-8")


def sections(method: str) -> dict[str, str]:
    """The README's sections by their titles; what stands before the first is under ""."""
    parts = re.split(r"^## (.*)\n", text(method), flags=re.M)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def options(method: str) -> dict[str, dict[str, str]]:
    """The rows of the table of options, by option and column. A row may tell of several."""
    lines = [line for line in sections(method).get("Options", "").splitlines() if line.startswith("|")]
    columns, *rows = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
    cells = [dict(zip(columns, row, strict=True)) for row in rows[1:]]
    return {name: row for row in cells for name in re.findall(r"`(\w+)`", row["option"])}


@pytest.mark.parametrize("method", METHODS)
def test_it_has_all_sections(method):
    found = list(sections(method))
    wanted = ["", "Losses", *(["Options", "Where"] if METHODS[method].Config.model_fields else []), "What it needs"]
    wanted += ["Citation"] if METHODS[method].citation else []
    places = [
        next((i for i, title in enumerate(found) if title.startswith(start) and (start or not title)), -1)
        for start in wanted
    ]
    assert -1 not in places, f"{wanted} in {found}"
    assert places == sorted(places)
    idea = sections(method)[""].partition("\n")[2].strip()
    assert 2 <= len(idea.splitlines()) <= 9, "the idea in some five lines"


@pytest.mark.parametrize("method", [name for name, cls in METHODS.items() if cls.Config.model_fields])
def test_every_option_is_there_with_its_default_and_source(method):
    fields, told = METHODS[method].Config.model_fields, options(method)
    assert told.keys() - OF_SUITES == fields.keys()
    for name, field in fields.items():
        row = told[name]
        assert row["meaning"]
        assert row["source"], f"{name} has no source"
        assert field.description, f"{name} is not described in the code"
        if field.default is not None:  # what is chosen for None is told in words
            assert row["default"].strip("`") == shown(field.get_default(call_default_factory=True)), name


def shown(default: object) -> str:
    if isinstance(default, bool) or not isinstance(default, int | float):
        return str(default).lower()
    return f"{default:g}"


VARIANTS = {"version": 2, "one_stage": True, "alpha": 0.5}
"""Options that bring stages and terms of their own."""


def stages_and_terms(method: str) -> dict[str, set[str]]:
    """What the method computes for a task, by stage."""
    cls, stages = METHODS[method], []

    class Watched(cls):
        def losses(self, step, *given):
            stages[:] = [stage.name for stage in self.stages()]
            return super().losses(step, *given)

    teachers = [tiny_model(layers=4, seed=2)][: cls.max_teachers]
    given = {"student": tiny_model(seed=1), "teachers": teachers, "batch": tiny_batch("classification")}
    found: dict[str, set[str]] = {}
    for config in ({}, *({name: value} for name, value in VARIANTS.items() if name in cls.Config.model_fields)):
        loss_terms(Watched, **given, config=config)
        for stage in stages:
            found.setdefault(stage, set()).update(loss_terms(cls, **given, stage=stage, config=config))
    return found


@pytest.mark.parametrize("method", METHODS)
def test_every_stage_and_term_is_there(method):
    losses, found = sections(method)["Losses"], stages_and_terms(method)
    assert found
    for stage, terms in found.items():
        assert f"`{stage}`" in text(method)
        assert {term for term in terms if f"`{term}`" not in losses} == set()


@pytest.mark.parametrize("method", METHODS)
def test_the_citation_is_that_of_the_code(method):
    printed = re.findall(r"^```bibtex\n(.*?)\n```$", text(method), flags=re.M | re.S)
    assert printed == ([METHODS[method].citation] if METHODS[method].citation else [])
