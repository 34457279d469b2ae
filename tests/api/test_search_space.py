"""Marks on a method's options: what they say, and what is said of those that cannot be."""

import inspect
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, create_model

from harness import Choices, MethodConfig, Search
from harness.api.search_space import faults, space
from harness.plugin_host.contribution_checks import method_faults
from harness.plugin_host.host import Host

METHODS = Host.create().methods

of = partial(Field, description="an option of the test")


class Good(MethodConfig):
    weight: Annotated[float, Search(0, 2)] = Field(1.0, ge=0)
    layers: Annotated[int, Search(1, 8, log=True)] = Field(2, ge=1)
    top: Annotated[int | None, Choices(None, 3)] = None
    views: Annotated[Literal["a", "b"], Choices("a", "b")] = "a"
    on: Annotated[bool, Choices(True, False)] = True
    plain: float = 1.0


def test_the_space_has_the_marked_options_in_their_own_types():
    assert not list(faults(Good))
    found = space(Good)
    assert list(found) == ["weight", "layers", "top", "views", "on"]
    assert {name: each.plain for name, each in found.items()} == {
        "weight": {"low": 0.0, "high": 2.0, "log": False},
        "layers": {"low": 1, "high": 8, "log": True},
        "top": [None, 3],
        "views": ["a", "b"],
        "on": [True, False],
    }
    assert isinstance(found["weight"].low, float)
    assert isinstance(found["layers"].high, int)


def test_what_is_in_a_dimension():
    assert 1 in Search(1, 2)
    assert 2.0 in Search(1, 2)
    assert True not in Search(1, 2)
    assert "1" not in Search(1, 2)
    assert True not in Choices(1, 2)
    assert 1 in Choices(1, 2)
    assert [str(each) for each in (Search(0.1, 10, log=True), Choices(None, True, 0.5, "a"))] == [
        "0.1 to 10, log",
        "none, true, 0.5, a",
    ]


@pytest.mark.parametrize(
    ("annotation", "field", "expected"),
    [
        (Annotated[float, Search(2, 1)], of(1.5), "Search(2 to 1): the first number has to be less than the second"),
        (Annotated[float, Search(1, float("inf"))], of(1.5), "the first number has to be less"),
        (Annotated[float, Search(0, 1, log=True)], of(0.5), "log needs numbers above 0, found 0"),
        (Annotated[float, Search(0, 1)], of(0.5, gt=0), "the option does not take 0: should be greater than 0"),
        (Annotated[int, Search(1, 2.5)], of(1), "the option does not take 2.5"),
        (Annotated[bool, Search(0, 1)], of(True), "the option makes False of 0"),
        (Annotated[str, Search(0, 1)], of("a"), "the option does not take 0"),
        (Annotated[float, Search(1, 2)], of(3.0), "the default, 3.0, is not among it"),
        (Annotated[str, Choices("a", "b")], of("c"), "the default, 'c', is not among it"),
        (Annotated[Literal["a", "b"], Choices("a", "x")], of("a"), "does not take 'x': should be 'a' or 'b'"),
        (Annotated[str, Choices("a")], of("a"), "there have to be two or more, and no two the same"),
        (Annotated[str, Choices("a", "a", "b")], of("a"), "no two the same"),
        (Annotated[Any, Choices([1], [2])], of([1]), "numbers, texts, True, False and None"),
        (Annotated[float, Search(1, 2), Choices(1.0, 2.0)], of(1.0), "'option' is marked 2 times"),
    ],
)
def test_a_mark_that_cannot_be_is_told_with_the_option(annotation, field, expected):
    config = create_model("Config", __base__=MethodConfig, option=(annotation, field))
    (fault,) = faults(config)
    assert "option 'option'" in fault
    assert expected in fault
    method = type("Spoilt", (METHODS["finetune"],), {"name": "spoilt", "Config": config})
    assert list(method_faults(method)) == [f"method Spoilt: {fault}"]


def test_what_is_decided_before_the_task_cannot_be_tuned():
    class Config(MethodConfig):
        keyed_separately: ClassVar[frozenset[str]] = frozenset({"option"})
        option: Annotated[float, Search(1, 2)] = 1.0

    (fault,) = faults(Config)
    assert "decided before the stages" in fault


@pytest.mark.parametrize("method", METHODS)
def test_the_readme_of_a_method_says_over_what_it_is_tuned(method):
    text = (Path(inspect.getfile(METHODS[method])).parent / "README.md").read_text(encoding="utf-8")
    table = text.partition("\n## Options\n")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|–]+) \|", table, flags=re.M)) if "tuned over" in table else {}
    assert told == {name: str(each) for name, each in space(METHODS[method].Config).items()}
