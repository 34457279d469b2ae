"""Finds the model and files that a method's data augmentation needs, before any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.config.paths import expand_path, folder_or_hub, search_folders
from harness.resolution.suite import MethodVariant, Suite

if TYPE_CHECKING:  # torch, through the method interface
    from harness.api.method import Augmentation


def model_of(augmentation: Augmentation, suite: Suite, variant: MethodVariant) -> str:
    """Return the hub id or absolute folder of the masked language model; by default that of the first teacher.

    Raises:
        UserError: the folder does not exist, or no model is set and there is no pretrained teacher.
    """
    option = augmentation.option
    if augmentation.model is not None:
        try:
            return folder_or_hub(augmentation.model, _folders(suite, variant))
        except UserError as error:
            raise UserError(f"{option}.model: {error.problems[0].message}") from error
    first = next(iter(variant.teachers), None)
    if first is None or first not in suite.models:
        origin = "a row of the suite" if first in suite.rows else "trained from scratch"
        cause = f"its teacher {first} is {origin}" if first else "it has no teacher"
        raise UserError(
            f"`{option}` needs a pretrained masked language model, but {cause}; set"
            f" `{option}: {{model: hub id or folder}}`"
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
        raise UserError(f"{augmentation.option}: file not found: {searched}")
    return file


def _folders(suite: Suite, variant: MethodVariant) -> list[Path]:
    """Folders to search for a relative path."""
    file_folder = suite.tree.mark_of(variant.path).folder if suite.tree else suite.path.parent
    return list(search_folders(file_folder))
