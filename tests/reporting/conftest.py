"""Disables plots, which take most of a report's time; tests/plots tests them."""

import pytest


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch):
    monkeypatch.setattr("harness.plots.draw", lambda summary: ())
