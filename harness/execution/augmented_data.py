"""Augmented training data of methods, made once for each (task, data, model, options) and cached by key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.engine import Interrupted
from harness.api.errors import UserError, describe
from harness.execution.cached_folder import CachedFolder
from harness.execution.context import JobContext
from harness.execution.progress_events import Tell, preparing
from harness.models import masked_lm
from harness.planning.jobs import AugmentationJob
from harness.storage import cache_dir
from harness.storage.frozen_model import FrozenModel
from harness.tasks.fingerprints import fingerprint

if TYPE_CHECKING:
    from datasets import Dataset

CHUNK = 1000
"""Rows per written chunk."""


class AugmentedData(FrozenModel):
    """Description of cached augmented rows, stored with them as `made.json`.

    Attributes:
        rows: number of rows.
        fingerprint: fingerprint of exactly these rows.
        seconds: time that making them took.
        parts: the parts of the job's key.
    """

    rows: int
    fingerprint: str
    seconds: float
    parts: dict[str, Any]


def cached(job: AugmentationJob) -> CachedFolder:
    """The rows in the cache."""
    path = cache_dir.root() / "augmented" / job.key
    return CachedFolder(path, f"training data of {job.data.task.name} for {job.label}")


def load(job: AugmentationJob) -> Dataset:
    """Load the cached rows as a memory-mapped data set."""
    from datasets import Dataset

    return Dataset.from_file(str(cached(job).path / "rows.arrow"))


def make(job: AugmentationJob, context: JobContext) -> AugmentedData:
    """Make the augmented rows, unless the cache has them, and return their description.

    Raises:
        Interrupted: the process was asked to stop; nothing is stored.
        UserError: the model does not exist, or the method failed.
    """
    target = cached(job)
    if not target.found_intact():
        model = _language_model(job, context)
        with preparing(context.host, target.description, "rows") as tell:
            target.write(lambda path: _fill(path, job, model, context.stop, tell))
    return about(job)


def _language_model(job: AugmentationJob, context: JobContext) -> masked_lm.MaskedLM | None:
    if job.model is None:
        return None
    remedy, trust = job.augmentation.remedy, context.trust_remote_code
    return masked_lm.load(job.model, context.device, remedy=remedy, trust_remote_code=trust)


def about(job: AugmentationJob) -> AugmentedData:
    """Read the description of the rows, which must be cached."""
    return AugmentedData.model_validate_json((cached(job).path / "made.json").read_text(encoding="utf-8"))


def _fill(
    path: Path, job: AugmentationJob, model: masked_lm.MaskedLM | None, stop: Callable[[], bool], tell: Tell
) -> None:
    import pyarrow as pa
    from datasets import Dataset

    began = time.perf_counter()
    path.mkdir()
    originals = job.data.splits.train
    schema = originals.features.arrow_schema
    with pa.ipc.new_stream(str(path / "rows.arrow"), schema) as writer:
        for rows in _chunks(_report_progress(_rows(job, model), tell), stop):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    augmented = Dataset.from_file(str(path / "rows.arrow"))
    description = AugmentedData(
        rows=len(augmented),
        fingerprint=fingerprint(augmented),
        seconds=time.perf_counter() - began,
        parts=dict(job.parts),
    )
    (path / "made.json").write_text(description.model_dump_json(indent=1), encoding="utf-8")


def _rows(job: AugmentationJob, model: masked_lm.MaskedLM | None) -> Iterator[dict[str, Any]]:
    """Yield the rows that the method makes. Any exception in it is raised as a one-line `UserError`."""
    originals, columns = job.data.splits.train, set(job.data.splits.train.column_names)
    try:
        for row in job.augmentation.make(originals, model, job.files):
            if row.keys() != columns:
                actual, expected = (", ".join(sorted(names)) for names in (row.keys(), columns))
                raise ValueError(f"made a row with the columns {actual}; those of the data are {expected}")
            yield dict(row)
    except UserError:
        raise
    except Exception as error:
        raise UserError(describe(error)) from error


def _report_progress(rows: Iterable[dict[str, Any]], tell: Tell) -> Iterator[dict[str, Any]]:
    for done, row in enumerate(rows, start=1):
        yield row
        tell(done)


def _chunks(rows: Iterable[dict[str, Any]], stop: Callable[[], bool]) -> Iterator[list[dict[str, Any]]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK)):
        if stop():
            raise Interrupted
        yield chunk
