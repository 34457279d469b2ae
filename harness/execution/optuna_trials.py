"""Optuna integration of tuning: proposes trials, and converts trials to and from Optuna's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.api.search_space import Choices, Dimension, Search
from harness.api.seeds import derive
from harness.planning.tuning_studies import Study
from harness.storage import checksums
from harness.storage.tuning_records import Trial

optuna.logging.set_verbosity(optuna.logging.ERROR)

SEEDS = 2**32
"""Number of seeds that numpy's random generator, which Optuna uses, accepts."""

CHECKSUM = "xxh3"
"""Name of the attribute with the checksum of a trial. Journals of older versions do not have it."""


def propose(study: Study, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the values of the next trial, which depend only on the study and on the finished trials.

    The first trial has the defaults. The others come from Optuna's TPE sampler, which draws its first trials at random.
    """
    if not trials:
        return dict(study.defaults)
    seed = derive(study.spec.seed, study.key, str(len(trials))) % SEEDS
    sampler = optuna.samplers.TPESampler(seed=seed)
    history = optuna.create_study(direction=direction(study), sampler=sampler)
    history.add_trials([to_optuna(study, trial) for trial in trials])
    return dict(history.ask(_distributions(study.space)).params)


def direction(study: Study) -> Literal["maximize", "minimize"]:
    """Optuna's name for the direction of the study's metric."""
    return "maximize" if study.higher_is_better else "minimize"


def to_optuna(study: Study, trial: Trial) -> FrozenTrial:
    """Convert a finished trial, with its checksum."""
    return create_trial(
        state=TrialState.FAIL if trial.score is None else TrialState.COMPLETE,
        value=trial.score,
        params=dict(trial.values),
        distributions=_distributions(study.space),
        user_attrs={
            "error": trial.error,
            "steps": trial.steps,
            "seconds": trial.seconds,
            CHECKSUM: checksums.of_json(trial.model_dump(mode="json")),
        },
    )


def from_optuna(trial: FrozenTrial) -> Trial:
    """Convert a finished trial back. Raises `CorruptFileError` if it does not match its checksum, if it has one."""
    attributes = dict(trial.user_attrs)
    expected = attributes.pop(CHECKSUM, None)
    score = trial.value if trial.state == TrialState.COMPLETE else None
    converted = Trial(number=trial.number, values=trial.params, score=score, **attributes)
    if expected not in (None, checksums.of_json(converted.model_dump(mode="json"))):
        raise checksums.CorruptFileError(f"trial {trial.number} does not match its checksum")
    return converted


def _distributions(space: Mapping[str, Dimension]) -> dict[str, BaseDistribution]:
    return {name: _distribution(dimension) for name, dimension in space.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    match dimension:
        case Choices():
            return CategoricalDistribution(dimension.values)
        case Search(low=int() as low, high=int() as high):
            return IntDistribution(low, high, log=dimension.log)
        case Search():
            return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
