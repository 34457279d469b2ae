"""A merge is refused while a process executes a suite in its target, also one of another machine."""

import os
import time

import pytest

from harness.api.errors import UserError
from harness.execution import active_processes, claim_files
from harness.execution.active_processes import announced, refuse_active
from harness.execution.claims import Claims
from harness.storage import process_identity


@pytest.fixture
def claims():
    with Claims(expiry=0.3, interval=0.05) as claims:
        yield claims


@pytest.fixture
def other(tmp_path, monkeypatch):
    """A process of another machine that is announced in `tmp_path`. Returns the path of its entry."""
    monkeypatch.setattr(active_processes, "POLL_SECONDS", 0.02)
    with monkeypatch.context() as patch:
        patch.setattr(process_identity, "machine", lambda: "0badcafe")
        patch.setattr("platform.node", lambda: "node7")
        return claim_files.create(claim_files.claim_path(tmp_path / "process-17-0"), "run of glue")


def test_a_process_of_this_machine_is_named_at_once(tmp_path, claims):
    with Claims() as own, announced(own, tmp_path):
        with pytest.raises(
            UserError, match=rf"process {os.getpid()} on .* works in this folder \(run of {tmp_path.name}\)"
        ):
            refuse_active(claims, tmp_path, pytest.fail)
        refuse_active(own, tmp_path, pytest.fail)
    refuse_active(claims, tmp_path, pytest.fail)
    assert not list(tmp_path.iterdir())


def test_a_run_that_a_process_trains_is_enough(tmp_path, claims):
    with Claims() as own:
        assert own.take(tmp_path / "runs" / "k1", "kd on sst2")
        with pytest.raises(UserError, match=r"\(kd on sst2\); wait until it has ended"):
            refuse_active(claims, tmp_path, pytest.fail)


def test_a_process_of_another_machine_is_refused_when_it_renews_its_claim(tmp_path, claims, other):
    def renew(line):
        lines.append(line)
        os.utime(other, (time.time() + 5, time.time() + 5))

    lines = []
    with pytest.raises(UserError, match=r"process .* on node7 works in this folder"):
        refuse_active(claims, tmp_path, renew)
    assert lines == [f"waiting to see whether process {os.getpid()} on node7 still works in {tmp_path}"]


def test_a_silent_process_of_another_machine_is_no_obstacle(tmp_path, claims, other):
    lines = []
    refuse_active(claims, tmp_path, lines.append)
    assert len(lines) == 1


def test_what_a_killed_process_left_is_removed(tmp_path, claims):
    left = claim_files.create(claim_files.claim_path(tmp_path / "process-17-0"), "run of glue")
    left.write_text(left.read_text().replace(f'"process":{os.getpid()}', '"process":999999999'))
    with announced(claims, tmp_path):
        pass
    assert not list(tmp_path.iterdir())
