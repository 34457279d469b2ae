"""Placeholder until the merge."""

from harness.api.errors import UserError


class DiskError(UserError):
    """A disk is full, failing, or refuses access."""
