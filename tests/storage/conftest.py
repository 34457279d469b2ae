"""Fixtures of the storage tests: reports without plots, which are slow to draw."""

import pytest


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch):
    monkeypatch.setattr("harness.plots.draw", lambda summary: ())
