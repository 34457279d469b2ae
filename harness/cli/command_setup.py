"""What several commands do first: load the suite and keep libraries quiet."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.cli.stderr_warnings import warn_of_unused_plugins

if TYPE_CHECKING:
    from harness.resolution.suite_loader import LoadedSuite


def load_suite(name: str, overrides: Sequence[str], plugins: Sequence[str]) -> LoadedSuite:
    """Load a suite file, or a shipped suite by its name. Prints a warning for each plugin that is not used.

    Raises:
        UserError: the suite, an override or a plugin named in `plugins` is invalid.
    """
    quiet_libraries()
    from harness.resolution import load

    loaded = load(name, overrides=overrides, plugins=plugins)
    warn_of_unused_plugins(loaded.host)
    return loaded


def quiet_libraries() -> None:
    """Turn off progress bars and log messages of datasets, transformers and huggingface_hub.

    Call it before these libraries are imported. Environment variables that the user has set are not changed.
    """
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
