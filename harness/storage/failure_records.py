"""Records of artifacts that could not be built: teachers, text stages, augmented data, cached outputs, tunings."""

from __future__ import annotations

from pydantic import Field

from harness.storage.frozen_model import FrozenModel
from harness.storage.records import SCHEMA_VERSION, Provenance


class FailureRecord(FrozenModel):
    """Why an artifact could not be built. Runs that depend on it have failed records with the same cause."""

    schema_version: int = SCHEMA_VERSION
    key: str = Field(description="key of the artifact")
    title: str = Field(description="what it is: teacher base on sst2")
    error: str = Field(description="one line")
    cause: str = Field(description="the first failure that led to this one: title and error")
    provenance: Provenance
