"""Settings of a run as flat names, as experiment trackers show them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.api.tracker import TrackedRun


def identity(run: TrackedRun) -> dict[str, Any]:
    """What names a run: suite, key, task, method's label, student, seed, role and, of a tuning run, the trial."""
    id_ = run.id
    fields = {"suite": run.suite, "key": id_.key, "task": id_.task, "label": id_.label, "student": id_.student}
    trial = {} if id_.trial is None else {"trial": id_.trial}
    return {**fields, "seed": id_.seed, "role": id_.role, **trial}


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name: ``training.lr``. Lists become JSON."""
    result: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value if _is_scalar(value) else json.dumps(value, default=str)
    return result


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))
