"""What a teacher checkpoint says of itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.api.errors import Problem, UserError
from harness.models import families, heads, pretrained
from harness.models.class_order import class_names
from harness.tasks.tabular.class_names import value_text

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PretrainedConfig

MOST_CLASSES = 50
"""Labels with more distinct numbers are taken as a regression, if the teacher has no head."""


@dataclass(frozen=True)
class TeacherFacts:
    """A teacher checkpoint.

    Attributes:
        config: its configuration.
        kind: kind of task of its head; None: it is an encoder without one.
        classes: names of the outputs of its head.
        positions: number of tokens it can read; None: unlimited, or unknown.
    """

    config: PretrainedConfig
    kind: str | None
    classes: tuple[str, ...]
    positions: int | None


def read(folder: Path, *, trust_remote_code: bool = False) -> TeacherFacts:
    """Read the facts from config.json.

    Raises:
        UserError: its head is not for whole texts, or its family is not supported.
    """
    config = pretrained.config_in(folder, trust_remote_code=trust_remote_code)
    kind = _kind(config, folder)
    families.shape(config, str(folder))  # raises UserError for an unknown family
    return TeacherFacts(
        config=config,
        kind=kind,
        classes=tuple(class_names(config)) if kind in ("classification", "multilabel") else (),
        positions=families.most_tokens(config),
    )


def _kind(config: PretrainedConfig, folder: Path) -> str | None:
    name = next(iter(config.architectures or ()), "")
    if re.search(r"For(TokenClassification|QuestionAnswering|MultipleChoice)$", name):
        raise UserError(
            Problem(
                f"{folder}: it is a {name}; `harness distill` takes classifiers and regressions of texts; for other"
                " tasks write a suite (docs/your-data.md)",
                "--teacher",
            )
        )
    if not name.endswith("ForSequenceClassification"):
        return None
    return heads.kind_of_sequence_head(config)


def kind_of_labels(cells: Sequence[Any]) -> str:
    """The kind of task of a label column: regression if it has many different numbers, else classification."""
    values = {value_text(cell) for cell in cells} - {""}
    return "regression" if len(values) > MOST_CLASSES and all(map(_is_number, values)) else "classification"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
