"""One process at a time holds a claim; claims of ended, silent and suspended processes expire; faults of the files."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from harness.api.engine import Interrupted
from harness.execution import claim_files
from harness.execution.claims import Claims
from harness.storage import process_identity

EXPIRY, INTERVAL = 0.4, 0.02

WORKER = """
import sys, time
from pathlib import Path
from harness.execution.claims import Claims

claims, target = Claims(expiry=0.4, interval=0.02), Path(sys.argv[1])
print(claims.take(target, "teacher base"), flush=True)
for command in sys.stdin:
    if command == "lost\\n":
        print(claims.lost(target), flush=True)
    elif command == "release\\n":
        claims.release(target)
        print("released", flush=True)
"""


class Clock:
    """A monotonic clock that only the test moves."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("harness.execution.claims.time.monotonic", clock.monotonic)
    return clock


@pytest.fixture
def claims():
    with Claims(expiry=EXPIRY, interval=INTERVAL) as claims:
        yield claims


@pytest.fixture
def other():
    """What another process of this machine has; a second object excludes the first one like a process."""
    with Claims(expiry=EXPIRY, interval=INTERVAL) as other:
        yield other


@pytest.fixture
def worker(tmp_path):
    """Another process that holds `tmp_path / "base"`."""
    process = start_worker(tmp_path / "base")
    assert process.stdout.readline() == "True\n"
    yield process
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.communicate()


def start_worker(target):
    command = [sys.executable, "-c", WORKER, str(target)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(process, command):
    process.stdin.write(f"{command}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def never():
    return False


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def entry_of(target):
    (entry,) = claim_files.claim_path(target).iterdir()
    return entry


def foreign(target, **changes):
    """Write a claim of a process of another machine."""
    owner = {
        "machine": "0badcafe",
        "host": "node7",
        "process": 17,
        "started": "5",
        "claimed": "2030-01-01T00:00:00Z",
        "description": "teacher base",
    }
    claim = claim_files.claim_path(target)
    claim.mkdir()
    (claim / "0123456789abcdef.json").write_text(json.dumps(owner | changes))
    return entry_of(target)


def polls(claims, target, clock, seconds):
    """Ask for the claim every `INTERVAL` seconds; return whether it was taken in this time."""
    for _ in range(round(seconds / INTERVAL)):
        if claims.take(target, "teacher base"):
            return True
        clock.now += INTERVAL
    return False


def test_a_claim_is_held_once_until_it_is_released(tmp_path, claims, other):
    target = tmp_path / "teachers" / "base"
    assert claims.lost(target), "never held"
    assert claims.take(target, "teacher base")
    assert not claims.take(target, "teacher base"), "once, also for the process that holds it"
    assert not other.take(target, "teacher base")
    assert not claims.lost(target)
    assert other.lost(target)
    assert claims.owner(target) is None
    owner = other.owner(target)
    assert (owner.process, owner.description, owner.has_ended()) == (os.getpid(), "teacher base", False)
    other.release(target)
    assert not other.take(target, "teacher base"), "a release by another process has no effect"
    claims.release(target)
    claims.release(target)
    assert names(target.parent) == []
    assert other.owner(target) is None
    assert other.take(target, "teacher base")


def test_a_relative_path_names_the_same_claim(tmp_path, claims, other, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert claims.take(Path("base"), "teacher base")
    assert not other.take(tmp_path / "base", "teacher base")
    assert not claims.lost(tmp_path / "base")


def test_the_heartbeat_keeps_a_claim(tmp_path, claims, other):
    assert claims.take(tmp_path / "base", "teacher base")
    limit = time.monotonic() + 2 * EXPIRY
    while time.monotonic() < limit:
        assert not other.take(tmp_path / "base", "teacher base")
        time.sleep(INTERVAL / 2)
    assert not claims.lost(tmp_path / "base")


def test_close_releases_all_claims_and_ends_the_heartbeat(tmp_path):
    def heartbeats():
        return {thread for thread in threading.enumerate() if thread.name == "claims"}

    others = heartbeats()
    with Claims() as claims:
        for name in "abc":
            assert claims.take(tmp_path / name, "a run")
        assert len(heartbeats() - others) == 1
    assert heartbeats() <= others
    assert names(tmp_path) == []
    with pytest.raises(RuntimeError, match="closed"):
        claims.take(tmp_path / "d", "a run")


def test_a_forked_child_does_not_release_the_claims_of_its_parent(tmp_path, claims):
    assert claims.take(tmp_path / "base", "teacher base")
    if (child := os.fork()) == 0:
        with suppress(BaseException):
            claims.release(tmp_path / "base")
            claims.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert not claims.lost(tmp_path / "base")


def test_a_claim_of_a_killed_process_expires_at_once(tmp_path, worker):
    with Claims() as claims:  # with the default expiry of a minute
        assert claims.owner(tmp_path / "base").process == worker.pid
        worker.kill()
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # nobody has waited for it: it is a zombie
        assert claims.owner(tmp_path / "base") is None
        assert claims.take(tmp_path / "base", "teacher base")
        assert names(tmp_path) == ["base.claim"]


def test_a_claim_expires_at_once_if_its_process_id_was_given_to_another_process(tmp_path, claims):
    foreign(tmp_path / "base", machine=process_identity.machine(), process=os.getppid(), started="1")
    assert claims.take(tmp_path / "base", "teacher base")


def test_a_claim_of_another_machine_expires_without_a_heartbeat(tmp_path, claims, clock):
    entry = foreign(tmp_path / "base")
    assert claims.owner(tmp_path / "base").host == "node7"
    assert not polls(claims, tmp_path / "base", clock, EXPIRY - INTERVAL)
    os.utime(entry)
    assert not polls(claims, tmp_path / "base", clock, EXPIRY - INTERVAL)
    assert polls(claims, tmp_path / "base", clock, 3 * INTERVAL)
    assert not entry.exists()


def test_a_process_of_another_machine_is_not_looked_for_on_this_one(tmp_path, claims):
    """Its id may be unused here, or that of another process."""
    foreign(tmp_path / "base", process=2**22 + 1)
    assert not claims.take(tmp_path / "base", "teacher base")


@pytest.mark.parametrize("jump", [-1e9, -3600, 3600, 1e9])
def test_clock_jumps_and_wrong_clocks_do_no_harm(tmp_path, claims, clock, monkeypatch, jump):
    """Neither the clock of this machine nor that of the owner decides; only that the time of change differs."""
    entry = foreign(tmp_path / "base", claimed="1971-01-01T00:00:00Z")
    real = time.time
    for step in range(200):
        monkeypatch.setattr(time, "time", lambda step=step: real() + step * jump)
        os.utime(entry, (real(), real() + jump + step % 7))
        assert not claims.take(tmp_path / "base", "teacher base")
        clock.now += INTERVAL
    assert polls(claims, tmp_path / "base", clock, EXPIRY + 2 * INTERVAL)


def test_time_in_which_the_waiting_process_was_suspended_does_not_count(tmp_path, claims, clock):
    """The owner may have been suspended together with it (a laptop, a virtual machine) and renews its claim at once."""
    foreign(tmp_path / "base")
    assert not claims.take(tmp_path / "base", "teacher base")
    clock.now += 1000
    assert not claims.take(tmp_path / "base", "teacher base")
    assert polls(claims, tmp_path / "base", clock, EXPIRY + INTERVAL)


def test_a_suspended_process_loses_its_claim_and_does_not_remove_the_next_one(tmp_path, claims, worker):
    target = tmp_path / "base"
    assert ask(worker, "lost") == "False"
    worker.send_signal(signal.SIGSTOP)
    with claims.held(target, "teacher base", never):
        worker.send_signal(signal.SIGCONT)
        assert ask(worker, "lost") == "True"
        time.sleep(5 * INTERVAL)
        assert ask(worker, "lost") == "True"
        assert ask(worker, "release") == "released"
        assert not claims.lost(target)
        assert names(tmp_path) == ["base.claim"]
    assert names(tmp_path) == []


def test_the_heartbeat_of_a_lost_claim_does_not_renew_the_next_one(tmp_path, claims):
    target = tmp_path / "base"
    assert claims.take(target, "teacher base")
    entry_of(target).unlink()
    claim_files.claim_path(target).rmdir()
    entry = foreign(target)
    before = entry.stat().st_mtime_ns
    time.sleep(5 * INTERVAL)
    assert entry.stat().st_mtime_ns == before
    assert claims.lost(target)
    claims.release(target)
    assert entry.exists()


def test_a_process_that_is_late_does_not_remove_the_next_claim(tmp_path, claims, other):
    """It saw the expired claim, was suspended, and goes on after another process has taken the claim."""
    target = tmp_path / "base"
    foreign(target)
    late = claim_files.entries(claim_files.claim_path(target))
    late[0].path.unlink()
    assert claims.take(target, "teacher base")
    claim_files.delete(late[0].path, claim_files.claim_path(target))
    assert claim_files.create(claim_files.claim_path(target), "teacher base") is None
    assert not claims.lost(target)
    assert not other.take(target, "teacher base")
    assert names(tmp_path) == ["base.claim"], "the failed attempt leaves no file"


def test_held_waits_for_the_release_and_tells_once_for_whom(tmp_path, claims, other):
    target, told, looks = tmp_path / "base", [], itertools.count()
    assert other.take(target, "teacher base")

    def stop():
        if next(looks) == 5:
            other.release(target)
        return False

    with claims.held(target, "teacher base", stop, told.append):
        assert not claims.lost(target)
    assert [(owner.process, owner.description) for owner in told] == [(os.getpid(), "teacher base")]
    assert names(tmp_path) == []


def test_held_ends_waiting_when_the_process_is_asked_to_stop(tmp_path, claims, other):
    target = tmp_path / "base"
    assert other.take(target, "teacher base")
    answers = iter([False, False, True])
    with pytest.raises(Interrupted), claims.held(target, "teacher base", lambda: next(answers)):
        pytest.fail("the claim is held by another process")
    assert not other.lost(target)


def test_held_releases_the_claim_after_an_error(tmp_path, claims):
    with pytest.raises(ZeroDivisionError), claims.held(tmp_path / "base", "teacher base", never):
        1 / 0  # noqa: B018
    assert names(tmp_path) == []


def test_threads_exclude_each_other(tmp_path, claims):
    inside, overlaps, rounds = [], [], []

    def work():
        for _ in range(5):
            with claims.held(tmp_path / "base", "teacher base", never):
                inside.append(1)
                overlaps.append(len(inside) > 1)
                time.sleep(0.001)
                inside.pop()
                rounds.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rounds) == 20
    assert not any(overlaps)


def empty_entry(claim):
    claim.mkdir()
    (claim / "0123456789abcdef.json").touch()


def truncated_entry(claim):
    claim.mkdir()
    (claim / "0123456789abcdef.json").write_text('{"machine": "0bad')


def invalid_entry(claim):
    claim.mkdir()
    (claim / "0123456789abcdef.json").write_bytes(b"\xff\x00 not JSON")


def entry_of_another_version(claim):
    claim.mkdir()
    (claim / "owner.json").write_text('{"pid": 17}')


def folder_in_place_of_the_entry(claim):
    (claim / "0123456789abcdef.json" / "more").mkdir(parents=True)


def several_files(claim):
    claim.mkdir()
    (claim / ".nfs0001").touch()
    (claim / ".nfs0002").touch()


def file_in_place_of_the_folder(claim):
    claim.write_text("")


def dangling_link(claim):
    claim.symlink_to("nowhere")


def link_to_a_folder(claim):
    (claim.parent / "elsewhere").mkdir()
    (claim.parent / "elsewhere" / "data").touch()
    claim.symlink_to("elsewhere")


DAMAGES = [
    empty_entry,
    truncated_entry,
    invalid_entry,
    entry_of_another_version,
    folder_in_place_of_the_entry,
    several_files,
    file_in_place_of_the_folder,
    dangling_link,
    link_to_a_folder,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_claim_expires_if_it_does_not_change(tmp_path, claims, clock, damage):
    target = tmp_path / "base"
    damage(claim_files.claim_path(target))
    assert claims.owner(target) == claim_files.UNKNOWN
    assert not polls(claims, target, clock, EXPIRY - INTERVAL)
    assert polls(claims, target, clock, 3 * INTERVAL)
    assert not claims.lost(target)
    assert (tmp_path / "elsewhere" / "data").exists() == (damage is link_to_a_folder)
    claims.release(target)
    assert not claim_files.claim_path(target).exists()


def test_an_empty_claim_folder_is_free(tmp_path, claims):
    """Left by a process that was killed between the two steps of a release."""
    claim_files.claim_path(tmp_path / "base").mkdir()
    assert claims.owner(tmp_path / "base") is None
    assert claims.take(tmp_path / "base", "teacher base")


def test_a_deleted_folder_loses_the_claim(tmp_path, claims):
    target = tmp_path / "teachers" / "base"
    assert claims.take(target, "teacher base")
    entry_of(target).unlink()
    claim_files.claim_path(target).rmdir()
    target.parent.rmdir()
    assert claims.lost(target)
    claims.release(target)
    assert claims.take(target, "teacher base"), "the folder is created again"


def test_a_claim_that_can_not_be_renewed_is_lost_after_the_expiry(tmp_path, claims, clock, monkeypatch):
    assert claims.take(tmp_path / "base", "teacher base")

    def fails(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("harness.execution.claims.os.utime", fails)
    assert not claims.lost(tmp_path / "base"), "a short outage"
    clock.now += EXPIRY + INTERVAL
    assert claims.lost(tmp_path / "base")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("step", ["mkdir", "write_text", "rename"])
def test_a_claim_that_can_not_be_created_raises_the_error(tmp_path, claims, monkeypatch, step, number):
    def fails(path, *arguments, **options):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, fails)
        with pytest.raises(OSError, match=os.strerror(number)) as raised:
            claims.take(tmp_path / "base", "teacher base")
    assert raised.value.errno == number
    assert names(tmp_path) == []
    assert claims.take(tmp_path / "base", "teacher base"), "a later attempt is not disturbed"


def test_an_error_without_a_path_names_the_claim(tmp_path, claims, monkeypatch):
    def fails(path, *arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", fails)
    with pytest.raises(OSError, match="base"):
        claims.take(tmp_path / "base", "teacher base")


def test_a_parent_that_is_a_file_raises_the_error(tmp_path, claims):
    (tmp_path / "teachers").touch()
    with pytest.raises(OSError, match="teachers"):
        claims.take(tmp_path / "teachers" / "base", "teacher base")


def test_a_renaming_that_nfs_repeats_counts_once(tmp_path, claims, other, monkeypatch):
    """The reply to the first request was lost; the second one does not find the folder that the first has renamed."""
    rename = Path.rename

    def repeated(path, target):
        rename(path, target)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", repeated)
    assert claims.take(tmp_path / "base", "teacher base")
    assert not other.take(tmp_path / "base", "teacher base")


def test_a_file_system_that_does_not_rename_to_an_empty_folder(tmp_path, claims, monkeypatch):
    rename = Path.rename

    def strict(path, target):
        if target.exists():
            raise FileExistsError(errno.EEXIST, "File exists", str(target))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", strict)
    claim_files.claim_path(tmp_path / "base").mkdir()
    assert claims.take(tmp_path / "base", "teacher base")


def test_remaining_claims_are_listed_with_their_owners(tmp_path, claims, worker):
    (tmp_path / "runs").mkdir()
    foreign(tmp_path / "runs" / "0123.abc")
    file_in_place_of_the_folder(tmp_path / "runs" / "damaged.claim")
    claims.take(tmp_path / "report", "the report")
    worker.kill()
    worker.wait()
    found = {target.relative_to(tmp_path).as_posix(): entry for target, entry in claim_files.remaining(tmp_path)}
    assert {name: (entry.owner.description, entry.owner.has_ended()) for name, entry in found.items()} == {
        "base": ("teacher base", True),
        "report": ("the report", False),
        "runs/0123.abc": ("teacher base", None),
        "runs/damaged": ("a damaged claim", None),
    }
    assert str(found["runs/0123.abc"].owner) == "process 17 on node7"
    assert all(abs(time.time() - entry.changed) < 3600 for entry in found.values())
    assert not list(claim_files.remaining(tmp_path / "no such folder"))
