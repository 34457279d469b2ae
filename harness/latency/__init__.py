"""Latency measurement: students next to their teacher, in one process, on one device, in interleaved rounds."""

VERSION = 3
"""Version of the protocol, part of every key. Raise it if a change alters what is measured."""
