"""The table in docs/methods.md is that of the installed methods."""

import inspect
import re
from pathlib import Path

import pytest

from harness.plugin_host.host import Host
from tests.support import method_table

METHODS = sorted(Host.create().methods)


def test_the_table_has_every_method():
    assert sorted(method_table.committed()) == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_the_readme_of_a_method_names_its_basis(method):
    """A README that is from neither paper nor authors' code says so at once, see docs/methods.md."""
    basis = method_table.DESCRIPTIONS[method].basis
    if not {"P", "A", method_table.NOTHING} & {*basis.split()}:
        folder = Path(inspect.getfile(Host.create().methods[method])).parent
        beginning = (folder / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
        assert "as described by" in " ".join(beginning.split())


@pytest.mark.parametrize("method", METHODS)
def test_source_and_summary_have_the_years_of_the_citation(method):
    source, cls = method_table.DESCRIPTIONS[method].source, Host.create().methods[method]
    if source != method_table.NOTHING:
        published = re.findall(r"year\s*=\s*\{(\d+)\}", cls.citation)
        assert re.findall(r"\b(\d{4}), \[", source) == published
        assert {*re.findall(r"\b((?:19|20)\d{2})\b", cls.summary)} <= {*published}


@pytest.mark.parametrize("method", METHODS)
def test_the_row_of_a_method_is_current(method):
    assert method_table.committed()[method] == method_table.row(method)
