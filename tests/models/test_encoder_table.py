"""The table in docs/encoders.md is that of the installed transformers."""

import pytest

from tests.support import encoder_table
from tests.support.encoder_families import SETTINGS


def test_the_table_has_every_family():
    assert list(encoder_table.committed()) == list(SETTINGS)


@pytest.mark.parametrize("family", SETTINGS)
def test_the_row_of_a_family_is_right(family):
    committed = encoder_table.committed()[family]
    assert encoder_table.row(family, onnx=committed[-1]) == committed


@pytest.mark.parametrize("family", ["ModernBERT", "MPNet"])
def test_the_export_of_a_family_works(family):
    """The other families are exported when the table is written."""
    assert encoder_table.row(family)[-1] == encoder_table.committed()[family][-1]
