"""Cached teacher outputs: how they are computed, stored and read in place of a forward pass."""
