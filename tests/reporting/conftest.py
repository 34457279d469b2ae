"""Disables plots, which take most of a report's time (tests/plots tests them), and uses a cache of its own."""

import pytest


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch, tmp_path_factory):
    monkeypatch.setattr("harness.plots.draw", lambda summary: ())
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path_factory.getbasetemp() / "cache-of-reports"))
