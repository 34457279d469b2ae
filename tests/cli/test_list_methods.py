"""`harness list methods`: groups, what each method supports and reads, and JSON."""

import json
from typing import get_args

import pytest

from harness.api.errors import UserError
from harness.api.method import MethodGroup
from harness.cli.list_command import print_list
from harness.plugin_host.host import Host

PLUGIN = """
from harness import Method, Needs, Stage, hookimpl

class {name}(Method):
    name = "{name}"
    {body}
    def stages(self):
        return [Stage("only", Needs(["logits"]))]
    def losses(self, step, batch, student, teachers):
        return {{}}

@hookimpl
def harness_register_methods(register):
    register({name})
"""


def write(folder, name, body=""):
    path = folder / f"{name}.py"
    path.write_text(PLUGIN.format(name=name, body=body or "pass"))
    return str(path)


def listed(capsys, *arguments, **options):
    print_list("methods", *arguments, **options)
    return capsys.readouterr().out


def rows_of(text):
    """method -> its cells; programs rely on two lines of headers and the name in the first column."""
    _, _, *rows = text.splitlines()
    return {row.split()[0]: [cell.strip() for cell in row.split("  ") if cell.strip()] for row in rows}


def test_methods_are_listed_by_group(capsys, tmp_path):
    """A third-party method without a group is among the others."""
    rows = rows_of(listed(capsys, [write(tmp_path, "mine"), write(tmp_path, "logitary", 'group = "logits"')]))
    methods = Host.create().methods
    groups = {name: cells[1] for name, cells in rows.items()}
    assert groups == {**{name: each.group for name, each in methods.items()}, "mine": "other", "logitary": "logits"}
    order = get_args(MethodGroup)
    assert list(groups) == sorted(groups, key=lambda name: (order.index(groups[name]), name))
    assert {name for name, group in groups.items() if group == "other"} == {"mine", "finetune", "matches"}


def test_a_row_says_what_a_method_supports_and_reads(capsys):
    rows = rows_of(listed(capsys, []))
    assert rows["tinybert"][:6] == [
        "tinybert",
        "attention and relations",
        "1",
        "all, text",
        "equal heads; 1, 2, 3, 4, 6, 12 of 12 layers",
        "logits, embeddings, hidden, queries, keys",
    ]
    assert rows["logit_kd"][3:6] == ["all", "any", "logits"]


def test_a_method_that_cannot_be_asked_does_not_stop_the_list(capsys, tmp_path):
    body = "def check(self, task, student, teachers):\n        1 / 0"
    rows = rows_of(listed(capsys, [write(tmp_path, "broken", body)]))
    assert rows["broken"][:6] == ["broken", "other", "1", "?", "?", "ZeroDivisionError: division by zero"]
    assert "tinybert" in rows


def test_json_has_every_method(capsys):
    methods = Host.create().methods
    found = {method["name"]: method for method in json.loads(listed(capsys, [], as_json=True))}
    assert found.keys() == methods.keys()
    for name, method in found.items():
        cls = methods[name]
        assert method["group"] == cls.group
        assert method["teachers"] == {"least": cls.min_teachers, "most": cls.max_teachers}
        defaults = cls.Config().model_dump(mode="json")
        assert {option["name"]: option["default"] for option in method["options"]} == defaults
        assert method["error"] is None
    pkd = found["pkd"]
    assert pkd["student"]["equal_widths"] is True
    assert pkd["student"]["layers_for_12_of_the_teacher"] == [2, 3, 4, 6, 12]
    assert pkd["reads"] == {"student": ["logits", "hidden"], "teachers": ["logits", "hidden"]}
    assert pkd["stages"] == ["distill"]


@pytest.mark.parametrize(
    ("method", "option", "meaning"),
    [
        ("pkd", "strategy", "the last ones; allowed: skip, last"),
        ("ted", "mapping", "student's layers; allowed: uniform, first, last, random, mean, a list"),
        ("mlkd_bert", "views", "; allowed: teacher, dropout"),
        ("minilm", "version", "; allowed: 1, 2"),
        ("tinybert", "attention_weight", "weight of the attention loss"),
    ],
)
def test_the_values_of_an_option_are_named(capsys, method, option, meaning):
    (line,) = (line for line in listed(capsys, [], method).splitlines() if line.startswith(f"{option} "))
    assert line.rstrip().endswith(meaning)


@pytest.mark.parametrize(
    ("allowed", "meaning"),
    [
        ("Literal[1, 'b'] | None", "text; allowed: 1, b, null"),
        ("float | Literal['a']", "text"),
        ("int | list[int]", "text"),
        ("Literal[1] | dict[str, float]", "text"),
    ],
)
def test_values_are_named_only_if_all_are(capsys, tmp_path, allowed, meaning):
    config = f"class Config(MethodConfig):\n        way: {allowed} = Field(1, description='text')"
    source = PLUGIN.format(name="mine", body=config).replace("import Method,", "import Method, MethodConfig,")
    path = tmp_path / "mine.py"
    path.write_text(f"from typing import Literal\nfrom pydantic import Field\n{source}")
    (line,) = (line for line in listed(capsys, [path], "mine").splitlines() if line.startswith("way "))
    assert line.split(maxsplit=2)[2] == meaning


def test_json_of_one_method(capsys):
    one = json.loads(listed(capsys, [], "tinybert", as_json=True))
    assert one["name"] == "tinybert"
    assert one["text_stage"] is True
    temperature = next(option for option in one["options"] if option["name"] == "temperature")
    assert temperature["tuned_over"] == "1 to 10, log"


def test_only_methods_have_json():
    with pytest.raises(UserError, match="`harness list tasks` has no --json; use `harness list methods --json`"):
        print_list("tasks", [], as_json=True)


def test_an_unknown_group_is_an_error(tmp_path):
    with pytest.raises(UserError, match="method mine: unknown group 'logit'; allowed: 'logits', 'hidden states'"):
        print_list("methods", [write(tmp_path, "mine", 'group = "logit"')])
