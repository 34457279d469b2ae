"""Pydantic model of `students` in a suite file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from harness.config.setting_types import Layers, Positive, Size
from harness.config.strict_model import Strict


class StudentSpec(Strict):
    """A student: architecture and initial weights. Sizes that are not set are those of the first teacher."""

    not_in_key: ClassVar[Mapping[str, str]] = {
        "layers": "part of the key with the resolved shape",
        "hidden": "part of the key with the resolved shape",
        "heads": "part of the key with the resolved shape",
        "ffn": "part of the key with the resolved shape",
        "init": "the layers to copy, or the fingerprint of the checkpoint, are part of the key",
        "init_from": "the key or fingerprint of the model that layers are copied from is part of the key",
    }

    layers: Layers = Field(description="number of Transformer layers")
    hidden: Size | None = Field(None, description="hidden size; default: that of the first teacher")
    heads: Size | None = Field(None, description="attention heads of a layer; default: as the first teacher")
    ffn: Size | None = Field(None, description="feed-forward width of a layer; default: as the first teacher")
    init: str | list[Positive] = Field(
        "random",
        description="uniform | first | last | random | explicit teacher layers, counted from 1 | hub id or folder",
    )
    init_from: Literal["pretrained", "teacher"] = Field(
        "pretrained", description="copy layers from the pretrained or the fine-tuned weights of the teacher"
    )
