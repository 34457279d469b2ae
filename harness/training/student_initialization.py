"""Initial weights that a method gives its student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.api.method import Method
from harness.api.seeds import derive
from harness.models.initialization import seeded

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def changes_weights(method: Method) -> bool:
    """Whether the method defines `Method.initialize`."""
    return type(method).initialize is not Method.initialize


def initialize(method: Method, student: PreTrainedModel, teachers: Sequence[PreTrainedModel]) -> None:
    """Call `Method.initialize` under the run's seed.

    Raises:
        TypeError: the method has changed a teacher, which other runs share.
    """
    weights = [weight for teacher in teachers for weight in teacher.state_dict().values()]
    before = [weight._version for weight in weights]
    with seeded(derive(method.seed, "initialize")):
        method.initialize(student, teachers)
    if [weight._version for weight in weights] != before:
        raise TypeError("initialize() changed a teacher in place; other runs share it")
