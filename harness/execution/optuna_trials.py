"""Optuna integration of tuning: proposes trials, and stores them in a journal file that survives a kill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.api.search_space import Choices, Dimension, Search
from harness.api.seeds import derive
from harness.planning.tuning_studies import Study
from harness.storage.tuning_records import Trial

optuna.logging.set_verbosity(optuna.logging.ERROR)

SEEDS = 2**32
"""Number of seeds that numpy's random generator, which Optuna uses, accepts."""


def propose(study: Study, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the values of the next trial, which depend only on the study and on the finished trials.

    The first trial has the defaults. The others come from Optuna's TPE sampler, which draws its first trials at random.
    """
    if not trials:
        return dict(study.defaults)
    seed = derive(study.spec.seed, study.key, str(len(trials))) % SEEDS
    sampler = optuna.samplers.TPESampler(seed=seed)
    history = optuna.create_study(direction=_direction(study), sampler=sampler)
    history.add_trials([_to_optuna(study, trial) for trial in trials])
    return dict(history.ask(_distributions(study.space)).params)


class Journal:
    """The finished trials of a study, in a journal file that `optuna` can read.

    No other process may write to the file at the same time. Each trial is one line; an incomplete last line, which a
    kill can leave, is dropped.
    """

    def __init__(self, path: Path, study: Study) -> None:
        self.study = study
        path.parent.mkdir(parents=True, exist_ok=True)
        _repair(path)
        storage = JournalStorage(JournalFileBackend(str(path)))
        self._study = optuna.create_study(
            study_name=study.key, storage=storage, direction=_direction(study), load_if_exists=True
        )

    @property
    def trials(self) -> list[Trial]:
        """The finished trials, in the order of their numbers."""
        return [_from_optuna(trial) for trial in self._study.get_trials(deepcopy=False)]

    def add(self, trial: Trial) -> None:
        """Store a finished trial."""
        self._study.add_trial(_to_optuna(self.study, trial))


def _repair(path: Path) -> None:
    """Remove what a killed process leaves: its lock, and an incomplete last line."""
    Path(f"{path}.lock").unlink(missing_ok=True)
    if path.exists():
        written = path.read_bytes()
        complete = written[: written.rfind(b"\n") + 1]
        if complete != written:
            with path.open("r+b") as file:
                file.truncate(len(complete))


def _direction(study: Study) -> Literal["maximize", "minimize"]:
    return "maximize" if study.higher_is_better else "minimize"


def _to_optuna(study: Study, trial: Trial) -> FrozenTrial:
    return create_trial(
        state=TrialState.FAIL if trial.score is None else TrialState.COMPLETE,
        value=trial.score,
        params=dict(trial.values),
        distributions=_distributions(study.space),
        user_attrs={"error": trial.error, "steps": trial.steps, "seconds": trial.seconds},
    )


def _from_optuna(trial: FrozenTrial) -> Trial:
    score = trial.value if trial.state == TrialState.COMPLETE else None
    return Trial(number=trial.number, values=trial.params, score=score, **trial.user_attrs)


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
