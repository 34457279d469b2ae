"""Search spaces of methods: values, membership and error messages."""

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


def test_the_space_has_the_annotated_options_in_their_types():
    assert not list(faults(Good))
    dimensions = space(Good)
    assert list(dimensions) == ["weight", "layers", "top", "views", "on"]
    assert {name: dimension.plain for name, dimension in dimensions.items()} == {
        "weight": {"low": 0.0, "high": 2.0, "log": False},
        "layers": {"low": 1, "high": 8, "log": True},
        "top": [None, 3],
        "views": ["a", "b"],
        "on": [True, False],
    }
    assert isinstance(dimensions["weight"].low, float)
    assert isinstance(dimensions["layers"].high, int)


def test_membership_and_text_of_a_dimension():
    assert 1 in Search(1, 2)
    assert 2.0 in Search(1, 2)
    assert True not in Search(1, 2)
    assert "1" not in Search(1, 2)
    assert True not in Choices(1, 2)
    assert 1 in Choices(1, 2)
    assert [str(dimension) for dimension in (Search(0.1, 10, log=True), Choices(None, True, 0.5, "a"))] == [
        "0.1 to 10, log",
        "none, true, 0.5, a",
    ]


@pytest.mark.parametrize(
    ("annotation", "field", "expected"),
    [
        (
            Annotated[float, Search(2, 1)],
            of(1.5),
            "Search(2 to 1): low and high must be finite numbers with low < high",
        ),
        (Annotated[float, Search(1, float("inf"))], of(1.5), "must be finite numbers"),
        (Annotated[float, Search(0, 1, log=True)], of(0.5), "log=True needs low above 0, found 0"),
        (Annotated[float, Search(0, 1)], of(0.5, gt=0), "the option does not accept 0: should be greater than 0"),
        (Annotated[int, Search(1, 2.5)], of(1), "the option does not accept 2.5"),
        (Annotated[bool, Search(0, 1)], of(True), "the option converts 0 to False"),
        (Annotated[str, Search(0, 1)], of("a"), "the option does not accept 0"),
        (Annotated[float, Search(1, 2)], of(3.0), "does not contain the default 3.0"),
        (Annotated[str, Choices("a", "b")], of("c"), "does not contain the default 'c'"),
        (Annotated[Literal["a", "b"], Choices("a", "x")], of("a"), "does not accept 'x': should be 'a' or 'b'"),
        (Annotated[str, Choices("a")], of("a"), "needs two or more choices without duplicates"),
        (Annotated[str, Choices("a", "a", "b")], of("a"), "without duplicates"),
        (Annotated[Any, Choices([1], [2])], of([1]), "numbers, strings, True, False or None"),
        (Annotated[float, Search(1, 2), Choices(1.0, 2.0)], of(1.0), "'option' has 2 search spaces"),
    ],
)
def test_an_invalid_search_space_is_an_error_that_names_the_option(annotation, field, expected):
    config = create_model("Config", __base__=MethodConfig, option=(annotation, field))
    (fault,) = faults(config)
    assert "option 'option'" in fault
    assert expected in fault
    method = type("Spoilt", (METHODS["finetune"],), {"name": "spoilt", "Config": config})
    assert list(method_faults(method)) == [f"method Spoilt: {fault}"]


def test_options_keyed_separately_cannot_be_tuned():
    class Config(MethodConfig):
        keyed_separately: ClassVar[frozenset[str]] = frozenset({"option"})
        option: Annotated[float, Search(1, 2)] = 1.0

    (fault,) = faults(Config)
    assert "decided before the stages" in fault


@pytest.mark.parametrize("method", METHODS)
def test_the_readme_of_a_method_documents_its_search_space(method):
    text = (Path(inspect.getfile(METHODS[method])).parent / "README.md").read_text(encoding="utf-8")
    table = text.partition("\n## Options\n")[2].partition("\n## ")[0]
    documented = (
        dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|–]+) \|", table, flags=re.M)) if "tuned over" in table else {}
    )
    assert documented == {name: str(dimension) for name, dimension in space(METHODS[method].Config).items()}
