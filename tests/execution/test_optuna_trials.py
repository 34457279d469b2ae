"""Proposals depend only on the earlier trials; the journal survives kills, damage and full disks."""

import errno
import os
import random
import re
from dataclasses import dataclass, field
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import Choices, Search
from harness.config.selection_schema import TuningSpec
from harness.execution.optuna_trials import propose
from harness.execution.trial_journal import Journal
from harness.storage.disk_errors import DiskError
from harness.storage.tuning_records import Trial, best

SPACE = {
    "training.lr": Search(1e-5, 1e-3, log=True),
    "layers": Search(1, 8),
    "view": Choices("a", "b", None),
    "on": Choices(True, False),
}
DEFAULTS = {"training.lr": 1e-4, "layers": 2, "view": None, "on": True}


@dataclass
class StudyStub:
    """The attributes of a study that `propose` and `Journal` use."""

    key: str = "study"
    space: dict[str, Any] = field(default_factory=lambda: SPACE)
    defaults: dict[str, Any] = field(default_factory=lambda: DEFAULTS)
    spec: TuningSpec = field(default_factory=lambda: TuningSpec(trials=20, seed=3))
    higher_is_better: bool = True


def ended(number, values, score):
    return Trial(number=number, values=values, score=score, error=None if score else "step 1", steps=9, seconds=0.5)


def scored(values, salt):
    """A deterministic score of the values, like that of a run; None for a failed trial."""
    score = -abs(values["layers"] - 4) + 0.1 * values["on"] + 1e3 * values["training.lr"]
    return None if (values["layers"] + salt) % 5 == 0 else score


def test_the_first_trial_has_the_defaults_and_the_others_are_in_the_space():
    trials = []
    for number in range(16):
        values = propose(StudyStub(), trials)
        assert values == DEFAULTS if number == 0 else all(values[name] in SPACE[name] for name in SPACE)
        trials.append(ended(number, values, scored(values, 1)))
    assert all(isinstance(trial.values["layers"], int) for trial in trials)
    assert len({trial.values["training.lr"] for trial in trials}) == 16


@settings(max_examples=8)
@given(salt=st.integers(0, 4), cuts=st.sets(st.integers(1, 13), max_size=3))
def test_an_interruption_anywhere_leads_to_the_same_trials(tmp_path_factory, salt, cuts):
    folder, study, uninterrupted = tmp_path_factory.mktemp("study"), StudyStub(), []
    for number in range(14):  # past the ten that are drawn
        values = propose(study, uninterrupted)
        uninterrupted.append(ended(number, values, scored(values, salt)))
    journal = Journal(folder / "a.log", study)
    for number in range(14):
        if number in cuts:
            journal = Journal(folder / "a.log", study)
        values = propose(study, journal.trials)
        journal.add(ended(number, values, scored(values, salt)))
    assert journal.trials == uninterrupted


def test_proposals_depend_on_seed_and_row():
    first = [ended(0, DEFAULTS, 0.5)]
    values = propose(StudyStub(), first)
    assert propose(StudyStub(spec=TuningSpec(trials=20, seed=4)), first) != values
    assert propose(StudyStub(key="other"), first) != values


def test_an_incomplete_line_is_dropped(tmp_path):
    path, study = tmp_path / "deep" / "a.log", StudyStub()
    journal = Journal(path, study)
    journal.add(ended(0, DEFAULTS, 0.5))
    before = path.read_bytes()
    journal.add(ended(1, propose(study, journal.trials), None))
    after = path.read_bytes()
    line = len(after) - len(before)
    assert after[len(before) :].count(b"\n") == 1, "a trial is one line"
    for torn in (1, line // 2, line - 1):
        path.write_bytes(after[:-torn])
        (tmp_path / "deep" / "a.log.lock").symlink_to(path)  # held by who was killed
        again = Journal(path, study)
        assert again.trials == [ended(0, DEFAULTS, 0.5)]
        again.add(ended(1, propose(study, again.trials), None))
        assert len(Journal(path, study).trials) == 2


def test_optuna_reads_the_journal(tmp_path, capfd):
    journal = Journal(tmp_path / "a.log", StudyStub())
    journal.add(ended(0, DEFAULTS, 0.5))
    journal.add(ended(1, {**DEFAULTS, "layers": 3}, None))
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "a.log")))
    study = optuna.load_study(study_name="study", storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]
    assert study.best_params == DEFAULTS
    attributes = dict(study.best_trial.user_attrs)
    assert len(attributes.pop("xxh3")) == 16
    assert attributes == {"error": None, "steps": 9, "seconds": 0.5}
    assert capfd.readouterr() == ("", ""), "Optuna says nothing"


def three_trials(path):
    journal = Journal(path, StudyStub(key=path.stem))
    for number, score in enumerate((0.5, None, 0.7)):
        journal.add(ended(number, {**DEFAULTS, "layers": 2 + number}, score))
    return journal.trials


def test_a_damaged_journal_keeps_the_trials_before_the_damage(tmp_path, caplog):
    path = tmp_path / "study.log"
    expected, content = three_trials(path), path.read_bytes()
    starts = [0, *(i + 1 for i, byte in enumerate(content) if byte == ord("\n"))]
    draw = random.Random(4)
    for case in range(150):
        position = draw.randrange(len(content) - 1)
        damaged = bytearray(content)
        damaged[position] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        caplog.clear()
        trials = Journal(path, StudyStub(key="study")).trials
        line = sum(start <= position for start in starts)
        # Dates, names of processes, and ranges of options are not read, so damage to them has no effect.
        assert trials == expected or trials == expected[: max(0, line - 2)], case
        if trials != expected:
            (warning,) = caplog.records
            assert f"line {max(line, 1)} of the journal {path} is damaged" in warning.getMessage()
            kept = path.with_name(warning.getMessage().rsplit(maxsplit=1)[-1])
            assert kept.read_bytes() == damaged, "nothing is lost"


@pytest.mark.parametrize("content", [b"\xff\n", b"[]\n", b"{}\n", b"null\n", bytes(500), b"\n\n"])
def test_a_journal_of_other_content_starts_again(tmp_path, content):
    path = tmp_path / "study.log"
    path.write_bytes(content)
    assert Journal(path, StudyStub()).trials == []
    path.unlink()
    assert len(three_trials(path)) == 3


def test_a_journal_without_checksums_is_read(tmp_path):
    path = tmp_path / "study.log"
    expected = three_trials(path)
    path.write_text(re.sub(r',"xxh3":"[0-9a-f]{16}"', "", path.read_text()))
    assert "xxh3" not in path.read_text()
    assert Journal(path, StudyStub()).trials == expected


def test_a_full_disk_while_a_trial_is_stored(tmp_path, monkeypatch):
    path = tmp_path / "study.log"
    expected, journal = three_trials(path), Journal(path, StudyStub())

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskError, match=r"study\.log: No space left on device"):
            journal.add(ended(3, DEFAULTS, 0.9))
    assert Journal(path, StudyStub()).trials[:3] == expected


@pytest.mark.parametrize(
    ("scores", "chosen"), [([0.5, 0.7, 0.6], 1), ([0.7, 0.7], 0), ([None, 0.1], 1), ([None, None], 0), ([0.0, -1.0], 0)]
)
def test_the_best_trial_is_chosen_and_the_first_among_equals(scores, chosen):
    assert best([ended(i, DEFAULTS, score) for i, score in enumerate(scores)]).number == chosen
    errors = [ended(i, DEFAULTS, None if score is None else -score) for i, score in enumerate(scores)]
    assert best(errors, higher_is_better=False).number == chosen


@pytest.mark.parametrize(("higher", "direction"), [(True, "MAXIMIZE"), (False, "MINIMIZE")])
def test_the_study_has_the_direction_of_the_metric(tmp_path, higher, direction):
    study, worst = StudyStub(higher_is_better=higher), 0 if higher else 1
    journal = Journal(tmp_path / "a.log", study)
    for number, layers in enumerate((2, 3)):
        journal.add(ended(number, {**DEFAULTS, "layers": layers}, 0.1 + number))
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "a.log")))
    read = optuna.load_study(study_name="study", storage=storage)
    assert read.direction.name == direction
    assert read.best_trial.number == 1 - worst
