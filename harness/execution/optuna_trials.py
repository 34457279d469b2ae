"""The trials of a study in Optuna's form: what is proposed next, and the journal that survives a kill."""

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
"""Of numpy, from which Optuna draws."""


def propose(study: Study, trials: Sequence[Trial]) -> dict[str, Any]:
    """The values of the next trial: a function of the study and of the trials that have ended, and of nothing else. The
    first has the defaults; the next ones are drawn, and later ones are those that Optuna's TPE expects most of."""
    if not trials:
        return dict(study.defaults)
    seed = derive(study.spec.seed, study.key, str(len(trials))) % SEEDS
    sampler = optuna.samplers.TPESampler(seed=seed)
    history = optuna.create_study(direction=_direction(study), sampler=sampler)
    history.add_trials([_frozen(study, trial) for trial in trials])
    return dict(history.ask(_distributions(study.space)).params)


class Journal:
    """The trials that have ended, in a file that `optuna` reads and that nobody else writes to meanwhile. Each is one
    line, written at once: a trial is there or it is not, and what a kill cut short is dropped."""

    def __init__(self, path: Path, study: Study) -> None:
        self.study = study
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend(path)
        storage = JournalStorage(JournalFileBackend(str(path)))
        self._study = optuna.create_study(
            study_name=study.key, storage=storage, direction=_direction(study), load_if_exists=True
        )

    @property
    def trials(self) -> list[Trial]:
        """In their order."""
        return [_thawed(trial) for trial in self._study.get_trials(deepcopy=False)]

    def add(self, trial: Trial) -> None:
        """Keep a trial that has ended."""
        self._study.add_trial(_frozen(self.study, trial))


def _mend(path: Path) -> None:
    """Undo what a kill left: half a line, and the lock of whoever was writing it."""
    Path(f"{path}.lock").unlink(missing_ok=True)
    if path.exists():
        written = path.read_bytes()
        whole = written[: written.rfind(b"\n") + 1]
        if whole != written:
            with path.open("r+b") as file:
                file.truncate(len(whole))


def _direction(study: Study) -> Literal["maximize", "minimize"]:
    return "maximize" if study.higher_is_better else "minimize"


def _frozen(study: Study, trial: Trial) -> FrozenTrial:
    return create_trial(
        state=TrialState.FAIL if trial.score is None else TrialState.COMPLETE,
        value=trial.score,
        params=dict(trial.values),
        distributions=_distributions(study.space),
        user_attrs={"error": trial.error, "steps": trial.steps, "seconds": trial.seconds},
    )


def _thawed(trial: FrozenTrial) -> Trial:
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
