"""The installed distribution: every package, entry point, suite and README; no tests."""

import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from harness.plugin_host.host import Host
from tests.support.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
INSTALLED_AS = PROJECT["tool"]["setuptools"]["package-dir"]


def test_every_module_is_in_a_package():
    outside = [
        str(file)
        for folder in INSTALLED_AS.values()
        for file in (ROOT / folder).glob("**/*.py")
        if not (file.parent / "__init__.py").exists() and "tests" not in file.parts
    ]
    assert not outside


@pytest.mark.parametrize("name", PROJECT["project"]["entry-points"]["harness"])
def test_entry_point_resolves(name):
    (entry,) = [e for e in importlib.metadata.entry_points(group="harness", name=name) if e.dist.name == "kd-harness"]
    assert entry.value == PROJECT["project"]["entry-points"]["harness"][name]
    assert entry.load() is not None


def test_constraints_pin_every_requirement():
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[name.lower().replace("_", "-")] = version
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    for requirement in map(Requirement, (text for group in groups for text in group)):
        if requirement.name == PROJECT["project"]["name"]:  # its own extras
            continue
        version = pins[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(version), f"{requirement} excludes {version}"
        assert "+" not in version
    assert pins["torch"] == "2.13.0"


NEW_METHOD = """
from harness import Method, Needs, Stage, hookimpl

class Added(Method):
    name = "added"
    summary = "a new folder and nothing else"
    def stages(self): return [Stage("only", Needs(["logits"]))]
    def losses(self, step, batch, student, teachers): return {"zero": student.logits.sum() * 0}

@hookimpl
def harness_register_methods(register): register(Added)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the installed files, so that builds leave nothing in the repository. `editable` adds a method to it."""
    folder = tmp_path_factory.mktemp("checkout") / "kd-harness"
    folder.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    for source in INSTALLED_AS.values():
        shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def add_method(checkout: Path) -> None:
    """Add a method folder to a checkout: code, README and tests."""
    added = checkout / "plugins" / "added"
    (added / "tests" / "data").mkdir(parents=True)
    for name, text in {
        "__init__.py": NEW_METHOD,
        "README.md": "# added",
        "test_added.py": "",
        "tests/__init__.py": "",
        "tests/test_more.py": "",
        "tests/data/__init__.py": "",
    }.items():
        (added / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def editable(checkout, tmp_path_factory) -> Path:
    """The Python of an environment with an editable install of the checkout; the method is added after the install."""
    python = environment(tmp_path_factory.mktemp("editable"))
    install(python, "--editable", str(checkout))
    add_method(checkout)
    return python


@pytest.fixture(scope="module")
def wheel(editable, checkout, tmp_path_factory) -> Path:
    """A wheel of the checkout with the added method, built from the source distribution as for a release."""
    out = tmp_path_factory.mktemp("wheel")
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(out)!r})"
    run(sys.executable, "-c", build, cwd=checkout)
    (source,) = out.glob("*.tar.gz")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), str(source))
    (wheel_file,) = out.glob("*.whl")
    return wheel_file


def environment(folder: Path) -> Path:
    """Create a virtual environment with the packages of this one except kd-harness. Returns its Python."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    # Paths in a .pth file come after site-packages of the environment. Their own .pth files, such as that of an
    # editable install, are not read.
    (site / "packages.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    return python


def install(python: Path, *arguments: str) -> None:
    run(str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", *arguments)


def run(*command: str, cwd: Path | None = None) -> str:
    completed = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


def methods_listed(python: Path, cwd: Path) -> set[str]:
    """The method names that `harness list methods` prints in an environment, run in the folder `cwd`."""
    _, _, *rows = run(str(python.parent / "harness"), "list", "methods", cwd=cwd).splitlines()
    return {row.split()[0] for row in rows}


def test_a_method_needs_no_more_than_a_folder(editable, tmp_path):
    assert methods_listed(editable, tmp_path) == {*Host.create().methods, "added"}


def test_wheel_holds_every_module_suite_and_readme_and_no_tests(wheel, checkout):
    patterns = ("**/*.py", "**/*.yaml", "**/*.csv", "**/README.md", "**/py.typed", "**/*.html", "**/*.css", "**/*.js")
    patterns += ("**/*.schema.json",)
    expected = {
        f"{name}/{file.relative_to(checkout / folder).as_posix()}"
        for name, folder in INSTALLED_AS.items()
        for pattern in patterns
        for file in (checkout / folder).glob(pattern)
        if "tests" not in file.relative_to(checkout).parts and not file.name.startswith(("test_", "conftest"))
    }
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == expected
    assert {"harness_plugins/added/__init__.py", "harness_plugins/added/README.md"} <= packed


def test_an_installed_wheel_lists_every_method(wheel, tmp_path):
    python = environment(tmp_path / "env")
    install(python, str(wheel))
    assert methods_listed(python, tmp_path) == {*Host.create().methods, "added"}
    location = run(str(python), "-c", "import harness, harness_suites; print(harness.__file__)", cwd=tmp_path)
    assert location.startswith(str(tmp_path / "env"))
