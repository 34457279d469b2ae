"""The table in docs/methods.md is that of the installed methods."""

import pytest

from harness.plugin_host.host import Host
from tests.support import method_table

METHODS = sorted(Host.create().methods)


def test_the_table_has_every_method():
    assert sorted(method_table.committed()) == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_the_row_of_a_method_is_current(method):
    assert method_table.committed()[method] == method_table.row(method)
