"""Which kinds of task the installed transformers has a head for, by encoder family."""

from __future__ import annotations

from harness.api.errors import Problem
from harness.api.model_outputs import ModelShape

HEADS = {"qa": "QUESTION_ANSWERING", "token_classification": "TOKEN_CLASSIFICATION", "text": "MASKED_LM"}
"""Kind of task -> name of transformers' head; other kinds have a head for the whole sequence."""

WITH_ALL_HEADS = frozenset({"bert"})
"""Families known to have every head: for teachers from scratch, transformers, which is slow, is not imported."""

FAILING = {("longformer", "qa"): "fails on rows without three separator tokens"}
"""(family, kind of task) -> why transformers' head is not used."""


def has_head(model_type: str, kind: str) -> bool:
    """Whether a family has a usable head for tasks of this kind; assumed of families that are not in transformers."""
    if (model_type, kind) in FAILING:
        return False
    if model_type in WITH_ALL_HEADS:
        return True
    from transformers.models.auto import configuration_auto, modeling_auto

    if model_type not in configuration_auto.CONFIG_MAPPING_NAMES:
        return True
    names = getattr(modeling_auto, f"MODEL_FOR_{HEADS.get(kind, 'SEQUENCE_CLASSIFICATION')}_MAPPING_NAMES")
    return model_type in names


def check(model: ModelShape, kind: str) -> list[Problem]:
    """The problem of a model whose family has no usable head for tasks of this kind."""
    if not model.model_type or has_head(model.model_type, kind):
        return []
    head = HEADS.get(kind, "SEQUENCE_CLASSIFICATION").replace("_", " ").lower()
    reason = f"transformers has no {head} head for {model.model_type} encoders"
    if failure := FAILING.get((model.model_type, kind)):
        reason = f"the {head} head of {model.model_type} encoders {failure}"
    return [Problem(f"{model.name}: {reason}; use another encoder")]
