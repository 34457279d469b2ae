"""Checkpoints of what is finished, which a killed process has left, are removed when an engine starts."""

import pytest

from harness.execution import leftover_checkpoints
from harness.execution.claims import Claims
from harness.storage import atomic_writes, checksums
from harness.storage.store import Store
from tests.support.results_factory import failed, run_record


class Killed(BaseException):
    """Ends the training like a kill: nothing handles it."""


@pytest.mark.parametrize("folder", ["results/small/checkpoints", "cache/teachers"])
def test_a_kill_between_result_and_checkpoint_leaves_nothing_for_good(small, monkeypatch, folder):
    forget = atomic_writes.forget

    def killed(path):
        if path.parent == small.folder / folder:
            raise Killed
        forget(path)

    settings = ("methods=[finetune]", "seeds=[1]", "training.checkpoint_every=3")
    with monkeypatch.context() as patch:
        patch.setattr(atomic_writes, "forget", killed)
        with pytest.raises(Killed):
            small.run(*settings)
    assert [path.parent for path in small.folder.rglob("*.pt")] == [small.folder / folder]
    assert not small.run(*settings).failed
    assert not list(small.folder.rglob("*.pt"))


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return Store(tmp_path / "results")


def write(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"state")


def test_checkpoints_from_which_training_continues_stay(store, tmp_path, monkeypatch):
    """Of what is unfinished, failed, damaged, or claimed by another process."""
    done, broken, claimed = (run_record(label=label) for label in ("done", "broken", "claimed"))
    lost = failed("sst2", "lost", "small", 1)
    for record in (done, broken, claimed, lost):
        store.save(record)
    (store.run_folder(broken.key) / "record.json").write_text("{")
    (teacher := tmp_path / "cache" / "teachers" / "0123").mkdir(parents=True)
    write(teacher / "weights")
    checksums.seal(teacher)
    useless = [store.checkpoint(done.key), teacher.with_suffix(".pt"), store.checkpoint("trial", "tuned")]
    useful = [store.checkpoint(key) for key in (broken.key, claimed.key, lost.key, "unfinished")]
    useful += [store.checkpoint("trial", "not tuned"), tmp_path / "cache" / "general" / "4567.pt"]
    write(*useless, *useful)
    monkeypatch.setattr(store, "tuning", {"tuned": "its record"}.get)
    with Claims() as other, Claims() as claims:
        assert other.take(store.run_folder(claimed.key), "by another process")
        leftover_checkpoints.remove(store, claims)
    assert [path for path in (*useless, *useful) if path.exists()] == useful
    assert not store.trial_checkpoints("tuned").exists()


def test_a_result_that_is_set_aside_meanwhile_keeps_its_checkpoint(store, monkeypatch):
    """Another process may hold the claim while it does that."""
    store.save(record := run_record())
    write(path := store.checkpoint(record.key))
    with Claims() as claims:
        take = claims.take

        def late(target, description):
            atomic_writes.remove(store.run_folder(record.key))
            return take(target, description)

        monkeypatch.setattr(claims, "take", late)
        leftover_checkpoints.remove(store, claims)
    assert path.exists()
