"""Checks the cache: teachers, students distilled on text, tokenized and augmented data, and cached teacher outputs."""

from __future__ import annotations

from pathlib import Path

from harness.storage import checksums
from harness.storage.folder_checks import Findings, State, check_checkpoints, check_leftovers, folders
from harness.teacher_outputs import output_store
from harness.teacher_outputs.fill import PROGRESS, FillProgress

SEALED = ("teachers", "general", "encoded", "augmented")
"""Folders of the cache whose folders have a file of checksums."""

OUTPUTS = "tensors"
"""Folder of the cache with teacher outputs, whose checksums are in their manifests."""

KINDS = (*SEALED, OUTPUTS)


def check(cache: Path) -> Findings:
    """Check a cache folder."""
    findings = Findings()
    for kind in SEALED:
        for path in folders(cache / kind):
            with findings.part(path):
                checksums.verify(path)
        check_checkpoints(cache / kind, findings)
    for path in folders(cache / OUTPUTS):
        with findings.part(path):
            _check_outputs(path, findings)
    check_leftovers(cache, findings)
    return findings


def _check_outputs(folder: Path, findings: Findings) -> None:
    """Check the outputs of one teacher on one data set, those that a pass has written so far included."""
    manifest = folder / output_store.MANIFEST
    if manifest.exists():
        output_store.verify(folder)
    progress = folder / PROGRESS
    if progress.exists():
        checksums.read_json(progress, FillProgress)
    if progress.exists() or not manifest.exists():
        findings.add(folder, State.UNFINISHED, "the outputs are incomplete; the next run completes them")
