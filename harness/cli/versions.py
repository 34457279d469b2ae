"""The line that `harness --version` prints."""

from __future__ import annotations

import platform
from importlib import metadata

from harness import __version__


def version_line() -> str:
    """Versions of kd-harness, Python, torch and transformers, and the device that a suite uses by default.

    A library that is not installed is named as missing, so that the line can be printed in a broken environment.
    """
    libraries = [f"{name} {_version(name)}" for name in ("torch", "transformers")]
    return f"kd-harness {__version__} (python {platform.python_version()}, {', '.join(libraries)}, device {_device()})"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _device() -> str:
    """The best device of this machine; ``unknown`` if torch cannot be imported."""
    try:
        from harness.planning.devices import best_device
    except ImportError:
        return "unknown"
    return best_device()
