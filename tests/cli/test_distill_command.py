"""Options of `harness distill` as typed."""

import pytest

from harness.api.errors import UserError
from harness.cli.distill_command import DistillOptions, distill_model


@pytest.mark.parametrize("typed", [";;", "", "\n"])
def test_a_delimiter_is_one_character(typed):
    with pytest.raises(UserError, match=r"--delimiter: .* is not a character"):
        distill_model(DistillOptions("teacher", "reviews.csv", delimiter=typed))
