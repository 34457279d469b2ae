"""The journal of a tuning: its finished trials in a file that `optuna` can read, safe against kills and damage."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from harness.execution.optuna_trials import direction, from_optuna, to_optuna
from harness.planning.tuning_studies import Study
from harness.storage import atomic_writes
from harness.storage.checksums import CorruptFileError
from harness.storage.disk_errors import explained
from harness.storage.tuning_records import Trial

log = logging.getLogger("harness")


class Journal:
    """The finished trials of a study, in a journal file that `optuna` can read.

    No other process may write to the file at the same time. Each trial is one line, with a checksum. An
    incomplete last line, which a kill can leave, is dropped. If a line is damaged, the trials from there on run again,
    with the same values; the damaged file is renamed, not deleted.

    All methods raise `DiskError` if the disk is full or failing.
    """

    def __init__(self, path: Path, study: Study) -> None:
        self.study = study
        self.path = path
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            Path(f"{path}.lock").unlink(missing_ok=True)  # of a process that was killed
            _repair(path, study.key)
            storage = JournalStorage(JournalFileBackend(str(path)))
            self._study = optuna.create_study(
                study_name=study.key, storage=storage, direction=direction(study), load_if_exists=True
            )

    @property
    def trials(self) -> list[Trial]:
        """The finished trials, in the order of their numbers."""
        with explained(self.path):
            return _trials(self._study)

    def add(self, trial: Trial) -> None:
        """Store a finished trial."""
        with explained(self.path):
            self._study.add_trial(to_optuna(self.study, trial))


def check(path: Path) -> None:
    """Raise `CorruptFileError` if a journal has a damaged line. An incomplete last line is no damage."""
    with explained(path):
        lines = _complete_lines(path)
    intact = _intact(lines, path.stem)
    if intact < len(lines):
        raise CorruptFileError(f"line {intact + 1} of {path} is damaged")


def _repair(path: Path, key: str) -> None:
    """Remove an incomplete last line, and what follows the first damaged line."""
    if not path.exists():
        return
    lines = _complete_lines(path)
    intact = _intact(lines, key)
    if intact < len(lines):
        kept = _free_name(path)
        atomic_writes.write_bytes(kept, path.read_bytes())
        log.warning(
            "line %d of the journal %s is damaged: the trials from there on run again; the damaged file is kept as %s",
            intact + 1,
            path,
            kept.name,
        )
    content = b"".join(lines[:intact])
    if content != path.read_bytes():
        atomic_writes.write_bytes(path, content)


def _complete_lines(path: Path) -> list[bytes]:
    return [line + b"\n" for line in path.read_bytes().split(b"\n")[:-1]]


def _intact(lines: Sequence[bytes], key: str) -> int:
    """Return how many lines come before the first damaged one."""
    logs: list[dict[str, Any]] = []
    for line in lines:
        try:
            logs.append(json.loads(line))
        except ValueError:
            break
    while logs and not _is_intact(logs, key):
        logs.pop()
    return len(logs)


def _is_intact(logs: list[dict[str, Any]], key: str) -> bool:
    """Whether each log is that of the study, which each opening repeats, or of a trial that matches its checksum."""
    try:
        study = optuna.load_study(study_name=key, storage=JournalStorage(_Logs(logs)))
        return len(_trials(study)) == sum("study_name" not in log for log in logs)
    except Exception:  # Optuna does not validate a journal: any exception can be raised
        return False


def _trials(study: optuna.Study) -> list[Trial]:
    return [from_optuna(trial) for trial in study.get_trials(deepcopy=False)]


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in range(1, 1 << 30))
    return next(name for name in names if not name.exists())


class _Logs(BaseJournalBackend):
    """Logs in memory, read only."""

    def __init__(self, logs: list[dict[str, Any]]) -> None:
        self.logs = logs

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise NotImplementedError
