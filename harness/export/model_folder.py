"""Writes a student as a folder that works anywhere: weights, config, tokenizer, ONNX files and the model card."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.api.errors import Problem, UserError
from harness.export import onnx_files
from harness.export.onnx_files import OnnxFile
from harness.models.quiet_transformers import quiet_transformers
from harness.prediction import loaded_model
from harness.prediction.loaded_model import LoadedModel
from harness.prediction.predictions import Texts
from harness.storage import atomic_writes
from harness.storage.run_lookup import StoredRun
from harness.tasks.features import TEXT_COLUMNS


@dataclass(frozen=True)
class ModelFiles:
    """What is in the folder besides model and tokenizer, for the model card."""

    model: LoadedModel
    onnx: Sequence[OnnxFile] = field(default=())


def refuse_occupied(folder: Path) -> None:
    """Raise `UserError` if `folder` is a file, or a folder that is not empty."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        found = "is a file" if folder.is_file() else "is not empty"
        raise UserError(
            Problem(f"{found}; nothing is overwritten: choose another folder with --to, or remove it", str(folder))
        )


def write(
    run: StoredRun,
    target: Path,
    card: Callable[[ModelFiles], str],
    *,
    onnx: bool = False,
    int8: bool = False,
    trust_remote_code: bool = False,
) -> ModelFiles:
    """Write the student of a run to the folder `target`, complete or not at all.

    The tokenizer truncates texts to the length that the student was trained on: `model_max_length`, and the truncation
    section of tokenizer.json.

    Args:
        run: the run.
        target: must not exist, or be empty.
        card: returns the text of README.md.
        onnx, int8: which ONNX files to write.
        trust_remote_code: whether to run the student's own code.

    Raises:
        UserError: the student is missing or damaged, or cannot be exported to ONNX.
    """
    refuse_occupied(target)
    student = loaded_model.student_folder(run)
    model = loaded_model.of_run(run, trust_remote_code=trust_remote_code)
    files = ModelFiles(model)

    def fill(folder: Path) -> None:
        nonlocal files
        shutil.copytree(student, folder, copy_function=shutil.copyfile)
        _write_tokenizer(model, folder)
        if onnx or int8:
            files = ModelFiles(model, onnx_files.write(folder, model, _texts(run, model), float32=onnx, int8=int8))
        (folder / "README.md").write_text(card(files), encoding="utf-8")

    atomic_writes.write(target, fill)
    return files


def _write_tokenizer(model: LoadedModel, folder: Path) -> None:
    tokenizer = model.tokenizer
    tokenizer.model_max_length = model.max_length
    tokenizer.backend_tokenizer.enable_truncation(model.max_length)
    with quiet_transformers():
        tokenizer.save_pretrained(folder)


def _texts(run: StoredRun, model: LoadedModel) -> Sequence[Texts]:
    """The texts of the task's validation examples, in columns; none if they are not stored."""
    examples = run.store.examples(run.record.data_fingerprint)
    if examples is None:
        return ()
    return [examples[name].tolist() for name in TEXT_COLUMNS if name in examples.columns]
