"""Puts the factory of records within reach of the tests beside it, which draw plots only where plots are tested."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _drawn_once(request, monkeypatch):
    """Plots take most of a report's time, and say nothing that tests of other files look at."""
    if request.path.stem != "test_plots":
        monkeypatch.setattr("harness.results.plots.draw", lambda summary: ())
