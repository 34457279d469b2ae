"""How long a model takes: students beside their teacher, in one process, on one device, in interleaved rounds."""

VERSION = 3
"""Raised when the protocol changes what is measured: records of another version are measured again."""
