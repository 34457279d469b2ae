import pytest

from harness.reporting.formatting import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.42, "0.4 s"),
        (59.94, "59.9 s"),
        (59.96, "1.0 min"),
        (125, "2.1 min"),
        (3590, "59.8 min"),
        (3598, "1.0 h"),
        (3780, "1.1 h"),
    ],
)
def test_duration_units(seconds, text):
    assert duration(seconds) == text
