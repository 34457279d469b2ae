"""Checks the heads of teachers with `finetune: false` whose files are on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api.errors import UserError

if TYPE_CHECKING:
    from harness.config.diagnostics import Diagnostics
    from harness.resolution.suite import Suite


def check(suite: Suite, diagnostics: Diagnostics) -> None:
    """Add a problem for each teacher and task whose head or classes do not fit.

    Checkpoints whose encoder has problems are skipped: these are reported elsewhere.
    """
    names = [name for name, spec in suite.spec.teachers.items() if not spec.finetune and name in suite.models]
    if not names:
        return
    from harness.models import checkpoint_inspection, finetuned_heads, pretrained  # imports transformers

    trust = suite.spec.trust_remote_code
    for name in names:
        try:
            folder = pretrained.local_path(suite.models[name])
        except UserError:
            continue
        if folder is None or checkpoint_inspection.inspect(folder, trust_remote_code=trust).problems:
            continue
        for task in suite.tasks:
            stated = suite.spec.teachers[name].labels_on(task.name)
            try:
                finetuned_heads.find(folder, task, stated, name, trust_remote_code=trust)
            except UserError as error:
                for problem in error.problems:
                    key = "labels" if (problem.where or "").endswith(".labels") else "model"
                    diagnostics.add(("teachers", name, key), problem.message)
