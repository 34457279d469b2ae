"""What is installed: every package, every entry point, suites and READMEs."""

import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
INSTALLED_AS = PROJECT["tool"]["setuptools"]["package-dir"]


def package_folders() -> set[str]:
    """Every folder that is a package, by the name under which it is installed."""
    return {
        ".".join([name, *init.parent.relative_to(ROOT / folder).parts])
        for name, folder in INSTALLED_AS.items()
        for init in (ROOT / folder).glob("**/__init__.py")
        if "tests" not in init.parent.relative_to(ROOT).parts
    }


def test_every_package_is_listed():
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert set(listed) == package_folders()
    assert listed == sorted(listed)


def test_every_module_lies_in_a_package():
    astray = [
        str(file)
        for folder in INSTALLED_AS.values()
        for file in (ROOT / folder).glob("**/*.py")
        if not (file.parent / "__init__.py").exists() and "tests" not in file.parts
    ]
    assert not astray


@pytest.mark.parametrize("name", PROJECT["project"]["entry-points"]["harness"])
def test_entry_point_resolves(name):
    (entry,) = [e for e in importlib.metadata.entry_points(group="harness", name=name) if e.dist.name == "kd-harness"]
    assert entry.value == PROJECT["project"]["entry-points"]["harness"][name]
    assert entry.load() is not None


def test_every_method_folder_has_an_entry_point():
    folders = {package for package in package_folders() if package.count(".") == 1 and "harness." not in package}
    assert folders <= set(PROJECT["project"]["entry-points"]["harness"].values())


def test_constraints_pin_all_that_is_asked_for():
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[name.lower().replace("_", "-")] = version
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    for requirement in map(Requirement, (text for group in groups for text in group)):
        if requirement.name == PROJECT["project"]["name"]:  # an extra of its own
            continue
        version = pins[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(version), f"{requirement} excludes {version}"
        assert "+" not in version
    assert pins["torch"] == "2.13.0"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    """The names of the files in a wheel, built from a copy so that no build folder is left behind."""
    pytest.importorskip("setuptools")
    source, out = tmp_path_factory.mktemp("source") / "src", tmp_path_factory.mktemp("wheel")
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for folder in INSTALLED_AS.values():
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), str(source)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    (built,) = out.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def test_wheel_holds_every_module_suite_and_readme(wheel):
    wanted = {
        f"{name}/{file.relative_to(ROOT / folder).as_posix()}"
        for name, folder in INSTALLED_AS.items()
        for pattern in ("**/*.py", "**/*.yaml", "**/README.md", "**/py.typed", "**/*.html", "**/*.css", "**/*.js")
        for file in (ROOT / folder).glob(pattern)
        if "tests" not in file.relative_to(ROOT).parts
    }
    assert wanted <= wheel


def test_wheel_holds_nothing_rude(wheel):
    tops = {name.partition("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(INSTALLED_AS)
