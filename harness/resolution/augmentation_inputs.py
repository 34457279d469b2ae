"""What a method's augmentation names outside of the suite, found or told, before any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.config.paths import expand_path, folder_or_hub, search_folders
from harness.resolution.suite import MethodVariant, Suite

if TYPE_CHECKING:  # torch, through the method interface
    from harness.api.method import Augmentation


def model_of(augmentation: Augmentation, suite: Suite, variant: MethodVariant) -> str:
    """Hub id or absolute folder of the masked language model: the one that is named, or else the first teacher's.

    Raises:
        UserError: a folder is named that is not there; or none is named, and no teacher has been pretrained.
    """
    option = augmentation.option
    if augmentation.model is not None:
        try:
            return folder_or_hub(augmentation.model, _folders(suite, variant))
        except UserError as error:
            raise UserError(f"{option}.model: {error.problems[0].message}") from error
    first = next(iter(variant.teachers), None)
    if first is None or first not in suite.models:
        lacks = f"its teacher {first} starts from nothing" if first else "it has no teacher"
        raise UserError(
            f"`{option}` needs a pretrained masked language model, and {lacks}: name one,"
            f" `{option}: {{model: hub id or folder}}`"
        )
    return suite.models[first]


def files_of(augmentation: Augmentation, suite: Suite, variant: MethodVariant) -> tuple[Path, ...]:
    """The files that it reads, absolute. Raises `UserError` for one that is not there."""
    return tuple(_file(name, augmentation, suite, variant) for name in augmentation.files)


def _file(name: str, augmentation: Augmentation, suite: Suite, variant: MethodVariant) -> Path:
    tried = [expand_path(name, folder).resolve() for folder in _folders(suite, variant)]
    found = next((path for path in tried if path.is_file()), None)
    if found is None:
        where = " nor ".join(dict.fromkeys(str(path) for path in tried))
        raise UserError(f"{augmentation.option}: there is no file {where}")
    return found


def _folders(suite: Suite, variant: MethodVariant) -> list[Path]:
    """Where a relative path is looked for."""
    written_in = suite.tree.mark_of(variant.path).folder if suite.tree else suite.path.parent
    return list(search_folders(written_in))
