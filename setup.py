"""Computes what pyproject.toml cannot state: the packages, found in folders that are installed under other names."""

import tomllib
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

PYPROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
TESTS = ["tests", "tests.*", "*.tests", "*.tests.*"]
FOLDERS: dict[str, str] = PYPROJECT["tool"]["setuptools"]["package-dir"]


def packages() -> list[str]:
    """Every package, by the name it is installed under: a new folder in plugins/ or baselines/ needs no entry."""
    inside = {name: find_packages(folder, exclude=TESTS) for name, folder in FOLDERS.items()}
    return [".".join(filter(None, (name, package))) for name, found in inside.items() for package in ["", *found]]


class BuildWithoutTests(build_py):
    """Leaves out the tests in the folders of the code they test."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        modules = super().find_package_modules(package, package_dir)
        return [module for module in modules if not module[1].startswith(("test_", "conftest"))]


setup(packages=packages(), cmdclass={"build_py": BuildWithoutTests})
