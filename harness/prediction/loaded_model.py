"""Loads a model for predictions: a run of a results folder, or a checkpoint with its own head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.api.errors import Problem, UserError
from harness.models import families, heads, own_head, pretrained, tokenizers
from harness.storage import checksums
from harness.storage.run_lookup import StoredRun

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Kind = Literal["classification", "multilabel", "regression", "qa", "token_classification"]

DEFAULT_LENGTH = 512
"""Tokens of a row for models without a limit."""


@dataclass(frozen=True)
class LoadedModel:
    """A model with a head, and what is needed to run it on texts.

    Attributes:
        model: float32, on the CPU, in eval mode.
        kind: kind of the head.
        max_length: longest row in tokens; longer texts are truncated, for QA and tokens split into windows.
        labels: names of the classes; empty for regression and QA.
        paired: whether it reads pairs of texts; None: unknown.
        unanswerable: QA: whether "" is an answer.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    kind: Kind
    max_length: int
    labels: tuple[str, ...]
    paired: bool | None = None
    unanswerable: bool = False

    @property
    def has_own_code(self) -> bool:
        """Whether its class is defined by Python code of its folder, and not by transformers."""
        return type(self.model).__module__.partition(".")[0] == "transformers_modules"


def of_checkpoint(name: str, *, trust_remote_code: bool = False) -> LoadedModel:
    """Load a folder or hub id. The card of an exported model says how it is used.

    Raises:
        UserError: it cannot be found or loaded, or has no head.
    """
    folder = pretrained.locate(name, trust_remote_code=trust_remote_code)
    usage = _usage(folder)
    return load(
        folder,
        paired=usage.get("paired"),
        unanswerable=bool(usage.get("unanswerable")),
        trust_remote_code=trust_remote_code,
    )


def of_run(run: StoredRun, *, trust_remote_code: bool = False) -> LoadedModel:
    """Load the student of a run, with the length and the kind of texts that it was trained on.

    Raises:
        UserError: the run failed, or its student is missing or damaged.
    """
    return load(
        student_folder(run),
        max_length=run.max_length,
        paired=run.paired,
        unanswerable=run.unanswerable,
        trust_remote_code=trust_remote_code,
    )


def student_folder(run: StoredRun) -> Path:
    """The folder of a run's student. Raises `UserError` if it does not exist or is damaged."""
    folder = run.store.run_folder(run.record.key)
    if run.record.status != "completed" or not (folder / "student").is_dir():
        state = "failed" if run.record.status != "completed" else "has no stored student"
        raise UserError(
            Problem(f"this run {state}; `harness rerun SUITE {run.record.key}` trains it again", str(folder))
        )
    try:
        checksums.verify_existing(folder)
    except checksums.CorruptFileError as error:
        raise UserError(Problem(f"{error}; `harness rerun SUITE {run.record.key}` trains it again")) from error
    return folder / "student"


def load(
    folder: Path,
    *,
    max_length: int | None = None,
    paired: bool | None = None,
    unanswerable: bool = False,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Load the model and the tokenizer in `folder`. `max_length`: an upper limit besides those of both.

    Raises:
        UserError: it cannot be loaded, has no head, or its weights are incomplete.
    """
    kind = _kind(pretrained.config_in(folder, trust_remote_code=trust_remote_code), folder)
    tokenizer = tokenizers.load(folder, trust_remote_code=trust_remote_code)
    model = own_head.load_trained(folder, trust_remote_code=trust_remote_code)
    named: dict[int, str] = {} if kind in ("regression", "qa") else model.config.id2label
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        kind=kind,
        max_length=longest_row(tokenizer, model.config, max_length),
        labels=tuple(str(named[index]) for index in sorted(named)),
        paired=True if kind == "qa" else False if kind == "token_classification" else paired,
        unanswerable=unanswerable,
    )


def longest_row(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, trained: int | None) -> int:
    """Tokens of the longest row: at most the trained length and what tokenizer and model allow."""
    limits = [trained, tokenizers.most_tokens(tokenizer, config), families.most_tokens(config)]
    return min((limit for limit in limits if limit is not None), default=DEFAULT_LENGTH)


def _kind(config: PretrainedConfig, folder: Path) -> Kind:
    name = next(iter(config.architectures or ()), "the model")
    if name.endswith("ForQuestionAnswering"):
        return "qa"
    if name.endswith("ForTokenClassification"):
        return "token_classification"
    if not name.endswith("ForSequenceClassification"):
        raise UserError(
            Problem(
                f"{name} has no head for predictions; expected ...ForSequenceClassification, ...ForQuestionAnswering"
                " or ...ForTokenClassification in `architectures` of config.json",
                str(folder),
            )
        )
    return heads.kind_of_sequence_head(config)


def _usage(folder: Path) -> dict[str, Any]:
    """The section `kd_harness` in the metadata of an exported model's card; empty for other models."""
    import yaml

    card = folder / "README.md"
    parts = card.read_text(encoding="utf-8", errors="replace").split("---", 2) if card.is_file() else []
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        metadata = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    usage = metadata.get("kd_harness") if isinstance(metadata, dict) else None
    return usage if isinstance(usage, dict) else {}
