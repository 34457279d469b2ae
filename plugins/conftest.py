"""Fixtures for the tests in the folders of methods."""

from tests.support.training_world import world

__all__ = ["world"]
