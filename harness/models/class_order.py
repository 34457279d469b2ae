"""Matches the names of a checkpoint's classes with those of a task."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_GENERATED = re.compile(r"LABEL_\d+")


def class_names(config: PretrainedConfig) -> list[str]:
    """Names of the classes in config.json, in the order of the outputs: of `id2label`, else of `label2id`."""
    names = [str(config.id2label[index]) for index in sorted(config.id2label)]
    by_id = {index: str(name) for name, index in (getattr(config, "label2id", None) or {}).items()}
    if all(map(_GENERATED.fullmatch, names)) and sorted(by_id) == list(range(len(names))):
        return [by_id[index] for index in range(len(names))]
    return names


def class_order(names: Sequence[str], labels: Sequence[str]) -> tuple[int, ...] | None:
    """For each of `labels` its position in `names`, whatever their case and separators; None if they do not match.

    Names that are equal but for case or separators must be spelt exactly.
    """
    spellings: tuple[Callable[[str], str], ...] = (str, _normalized)
    for spelling in spellings:
        spelt = [spelling(name) for name in names]
        wanted = [spelling(label) for label in labels]
        if len(set(spelt)) == len(spelt) and sorted(spelt) == sorted(wanted):
            return tuple(map(spelt.index, wanted))
    return None


def _normalized(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
