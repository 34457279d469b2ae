"""The students of text stages in the results folder, and their copies in the cache, where jobs read them.

That of the results folder counts: it is copied back if the cache was deleted or has other weights, so that all runs
start from the same student.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.execution import stored_students
from harness.execution.cached_folder import CachedFolder
from harness.planning.jobs import TextStageJob
from harness.storage import cache_dir, checksums
from harness.storage.records import GeneralRecord
from harness.storage.store import Store

if TYPE_CHECKING:
    from torch import Tensor

RECORD = "record.json"

MODULES = "modules.safetensors"
"""The method's modules, in the student's folder: transformers does not read the file, and it is copied, transferred and
merged as a part of the student."""


def cached(job: TextStageJob) -> CachedFolder:
    """The student in the cache: its record, a checkpoint that plain transformers can load, and the method's modules."""
    return CachedFolder(cache_dir.root() / "general" / job.key, f"student {job.student} of {job.label}")


def checkpoint(key: str) -> Path:
    """The checkpoint of the unfinished text stage with this key."""
    return cache_dir.root() / "general" / f"{key}.pt"


def write_modules(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the weights of the method's modules into the folder of its student; nothing if it has no modules."""
    from safetensors.torch import save_file

    if weights:
        save_file(dict(weights), folder / MODULES)


def module_weights(job: TextStageJob) -> Mapping[str, Tensor]:
    """The weights of the method's modules at the end of a text stage, by name; empty if it has no modules."""
    from safetensors.torch import load_file

    path = cached(job).path / MODULES
    return load_file(path) if path.exists() else {}


def is_done(job: TextStageJob, store: Store, *, verify: bool) -> bool:
    """Whether the student is made: the store has it and, with `verify`, the cache has an intact copy.

    Without a copy nothing is trained, so a list of jobs, which does not `verify`, has it as done.
    """
    copy, stored = cached(job), store.general_folder(job.key)
    if store.general(job.key) is None:
        return False
    if verify:
        return copy.is_kept() and stored_students.is_current(copy, stored)
    return copy.is_kept(verify=False) or stored_students.exists(stored)


def find(job: TextStageJob, store: Store) -> bool:
    """Whether store or cache have the student. Then the one that lacks it gets a copy.

    Raises:
        CorruptFileError: a copy of the store's student is needed, and it is damaged.
    """
    copy, stored = cached(job), store.general_folder(job.key)
    is_cached = copy.found_intact()
    if store.general(job.key) is None:
        if is_cached:
            copy_to_store(job, store)
        return is_cached
    if is_cached and stored_students.is_current(copy, stored):
        return True
    try:
        student = stored_students.find(stored)
    except stored_students.RemovedStudentError:
        return is_cached
    copy.write(lambda path: _copy_with_record(student, path))
    return True


def copy_to_store(job: TextStageJob, store: Store) -> None:
    """Copy the student from the cache to the store, where it remains if the cache is deleted."""
    path = cached(job).path
    record = (path / RECORD).read_text(encoding="utf-8")
    ignored = shutil.ignore_patterns(RECORD, checksums.NAME)
    store.save_general(
        GeneralRecord.model_validate_json(record), lambda student: shutil.copytree(path, student, ignore=ignored)
    )


def _copy_with_record(student: Path, path: Path) -> None:
    shutil.copytree(student, path)
    shutil.copyfile(student.with_name(RECORD), path / RECORD)
