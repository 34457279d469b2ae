"""The table in docs/encoders.md is that of the installed transformers."""

import pytest

from tests.support import encoder_table
from tests.support.encoder_families import SETTINGS


def test_the_table_has_every_family():
    assert list(encoder_table.committed()) == list(SETTINGS)


@pytest.mark.parametrize("family", SETTINGS)
def test_the_row_of_a_family_is_right(family):
    committed = encoder_table.committed()[family]  # the column ONNX is checked when the table is written
    assert encoder_table.row(family, onnx=committed[-1]) == committed
