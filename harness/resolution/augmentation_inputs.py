"""Finds the model and files that a method's data augmentation needs, before any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.config.paths import expand_path, folder_or_hub, search_folders
from harness.resolution.suite import MethodVariant, Suite

if TYPE_CHECKING:  # torch, through the method interface
    from harness.api.method import Augmentation


def model_of(augmentation: Augmentation, suite: Suite, variant: MethodVariant) -> str | None:
    """Return the hub id or absolute folder of the masked language model; None if the augmentation uses none.

    Raises:
        UserError: the folder does not exist, or there is no pretrained teacher whose checkpoint could be used.
    """
    from harness.api.method import FIRST_TEACHER

    if augmentation.model is None:
        return None
    if augmentation.model != FIRST_TEACHER:
        try:
            return folder_or_hub(augmentation.model, _folders(suite, variant))
        except UserError as error:
            where = augmentation.option or f"{variant.method.name}, model of its augmentation"
            raise UserError(f"{where}: {error.problems[0].message}") from error
    first = next(iter(variant.teachers), None)
    if first is None or first not in suite.models:
        origin = "a row of the suite" if first in suite.rows else "trained from scratch"
        cause = f"its teacher {first} is {origin}" if first else "it has no teacher"
        remedy = augmentation.remedy if augmentation.option else "choose a pretrained first teacher"
        raise UserError(
            f"the data augmentation of {variant.method.name} needs a pretrained masked language model, but {cause};"
            f" {remedy}"
        )
    return suite.models[first]


def files_of(augmentation: Augmentation, suite: Suite, variant: MethodVariant) -> tuple[Path, ...]:
    """Return the absolute paths of the files it reads. Raises `UserError` if one does not exist."""
    return tuple(_file(name, augmentation, suite, variant) for name in augmentation.files)


def _file(name: str, augmentation: Augmentation, suite: Suite, variant: MethodVariant) -> Path:
    candidates = [expand_path(name, folder).resolve() for folder in _folders(suite, variant)]
    file = next((path for path in candidates if path.is_file()), None)
    if file is None:
        searched = " or ".join(dict.fromkeys(str(path) for path in candidates))
        where = augmentation.option.partition(".")[0] if augmentation.option else variant.method.name
        raise UserError(f"{where}: file not found: {searched}")
    return file


def _folders(suite: Suite, variant: MethodVariant) -> list[Path]:
    """Folders to search for a relative path."""
    file_folder = suite.tree.mark_of(variant.path).folder if suite.tree else suite.path.parent
    return list(search_folders(file_folder))
