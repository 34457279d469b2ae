"""Records of tunings."""

import math

import pytest
from pydantic import ValidationError

from harness.storage.tuning_records import Trial


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_the_score_of_a_trial_is_finite(score):
    with pytest.raises(ValidationError, match="finite"):
        Trial(number=0, values={}, score=score, steps=1, seconds=1.0)
