"""`harness new-method` and `new-task` write plugins that pass their checks; the tutorial makes FitNets of one."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from harness.api.errors import UserError
from harness.cli.new_command import new_method, new_task
from harness.plugin_host.host import Host
from harness.testing import check_method, loss_terms, tiny_batch, tiny_model
from tests.support.forked_commands import run_pytest

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "new-method.md"


def pytest_passes(folder: Path, *arguments: str) -> bool:
    code, output = run_pytest(folder, *arguments, str(folder))
    assert code == 0, output
    assert re.search(r"\d passed", output)
    return True


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.parametrize("package", [False, True])
def test_a_new_method_passes_its_checks_and_its_test(tmp_path, package, capsys):
    new_method("my-kd", tmp_path, package=package)
    root = tmp_path / "my-kd"
    code = root / "my_kd" if package else root
    assert f"wrote {code / '__init__.py'}" in capsys.readouterr().out
    if package:  # with the same code
        assert "my-kd" in Host.at([code]).methods
    else:
        conformance = check_method(code, kinds=["qa"])
        assert conformance.ok, str(conformance)
    assert "pip install -e" in (root / "README.md").read_text() or not package
    assert pytest_passes(root, "-k", "regression or equals")
    assert "@" not in "".join(path.read_text() for path in root.rglob("*.md"))
    if package:
        project = tomllib.loads((root / "pyproject.toml").read_text())
        assert project["project"]["entry-points"]["harness"] == {"my_kd": "my_kd"}


@pytest.mark.parametrize("package", [False, True])
def test_a_new_task_has_data_and_passes_its_test(tmp_path, package):
    new_task("mood", tmp_path, package=package)
    root = tmp_path / "mood"
    task = Host.create([root / "mood" if package else root]).tasks["mood"]
    assert len(task.load(None).train) == 64
    assert pytest_passes(root)


@pytest.mark.parametrize("name", ["1st", "class", "a.b", "My_KD", "kd++", "none", "method", "batch"])
def test_any_valid_name_gives_a_plugin_that_can_be_imported(tmp_path, name):
    new_method(name, tmp_path, package=True)
    (code,) = [path.parent for path in (tmp_path / name).glob("*/__init__.py")]
    assert Host.at([code]).methods[name].__name__.isidentifier()
    project = tomllib.loads((tmp_path / name / "pyproject.toml").read_text())["project"]["name"]
    assert canonicalize_name(project, validate=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a b", "invalid name 'a b'; allowed: letters"),
        ("../up", "invalid name"),
        ("pkd", "there is a method 'pkd' already"),
        ("json", "there is a Python module 'json' already"),
        ("harness", "there is a Python module 'harness' already"),
        ("torch", "there is a Python module 'torch' already"),
        ("there", "exists already; choose another name"),
    ],
)
def test_names_that_cannot_be_used(tmp_path, name, words):
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match=words):
        new_method(name, tmp_path, package=False)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("new", [new_method, new_task])
def test_an_installed_package_is_neither_hidden_nor_replaced(tmp_path, new):
    with pytest.raises(UserError, match="there is a Python module 'typing_extensions' already"):
        new("typing-extensions", tmp_path, package=True)
    with pytest.raises(UserError, match="a package 'PyYAML' is installed already"):
        new("PyYAML", tmp_path, package=True)
    assert not list(tmp_path.iterdir())


def test_the_tutorial_turns_the_plugin_into_fitnets(tmp_path):
    new_method("my_fitnets", tmp_path, package=False)
    source, steps = python_blocks(TUTORIAL)
    assert len([line for line in source.splitlines() if line.strip()]) < 40
    (tmp_path / "my_fitnets" / "__init__.py").write_text(source)
    conformance = check_method(tmp_path / "my_fitnets", kinds=["classification", "qa"])
    assert conformance.ok, str(conformance)
    test = tmp_path / "my_fitnets" / "test_my_fitnets.py"
    (stage,) = re.findall(r"`loss_terms\(METHOD, (.*), \.\.\.\)`", TUTORIAL.read_text(encoding="utf-8"))
    test.write_text(test.read_text().replace("loss_terms(METHOD,", f"loss_terms(METHOD, {stage},"))
    assert pytest_passes(tmp_path / "my_fitnets", "-k", "equals")
    method = Host.at([tmp_path / "my_fitnets"]).methods["my_fitnets"]
    model, batch = tiny_model(), tiny_batch("classification")
    hint = loss_terms(method, student=model, teachers=[model], batch=batch, stage="hint")
    assert hint["hint"].item() == 0
    exec(compile(steps, str(TUTORIAL), "exec"), {})
