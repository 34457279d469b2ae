"""Plots take most of a report's time: they are drawn only where plots are tested."""

import pytest


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch):
    monkeypatch.setattr("harness.plots.draw", lambda summary: ())
