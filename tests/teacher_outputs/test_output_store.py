"""Cached teacher outputs: they equal those of a forward pass, and no teacher runs."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from harness import layers
from harness.tasks.tokenization import collate
from harness.teacher_outputs import fill as filling
from harness.teacher_outputs import output_store
from harness.teacher_outputs.output_store import CachedTeacher, TeacherOutputStore, stored_for
from harness.training.cohort import Cohort
from harness.training.teacher import Teacher
from tests.support.training_world import assert_same, bits, train
from tests.training.test_cohort import METHODS

CPU = torch.device("cpu")
KINDS = ["classification", "regression", "token_classification", "qa"]
NAMES = ("hidden", "scores", "queries", "keys", "values", "context")
NUMERIC = {"device": "cpu", "precision": "fp32"}
ROWS = [3, 17, 4, 40, 8]


def everything(kind):
    inside = {need for name in NAMES for need in layers(name, range(1, 5))}
    pooled = {"pooled"} if kind in ("classification", "regression") else set()
    return frozenset({"logits", "embeddings", *inside} | pooled)


def store_of(here, folder, **numeric):
    return TeacherOutputStore.of(folder, "teacher", here.data, NUMERIC | numeric)


def teacher_of(here):
    return Teacher("base", here.teacher(), "tokenizer", CPU)


class Counted(Teacher):
    """A teacher that counts its forward passes, and may be killed in one."""

    def __init__(self, here, fail_at=None):
        super().__init__("base", here.teacher(), "tokenizer", CPU)
        self.calls, self.fail_at = 0, fail_at

    def forward(self, batch, needs, training, **options):
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        self.calls += 1
        return super().forward(batch, needs, training, **options)


def fill(here, store, needs, teacher=None, stop=lambda: False):
    missing = store.missing(stored_for(needs))
    return filling.fill(
        store,
        missing,
        teacher or teacher_of(here),
        training=here.training,
        device=CPU,
        stop=stop,
        on_progress=[].append,
    )


def at_real(tensors, batch, need, kind):
    """The output at real tokens, one example after another."""
    name, _, layer = need.rstrip("]").partition("[")
    tensor = getattr(tensors, name)[int(layer)] if layer else getattr(tensors, name)
    if name == "pooled" or (name == "logits" and kind not in ("token_classification", "qa")):
        return tensor.flatten()
    ends = {
        "hidden": 1,
        "embeddings": 1,
        "context": 1,
        "queries": 2,
        "keys": 2,
        "values": 2,
        "logits": 2 if kind == "qa" else 1,
    }
    parts = []
    for example, length in zip(tensor, batch.lengths.tolist(), strict=True):
        if name == "scores":
            parts.append(example[:, :length, :length])
        else:
            parts.append(example[(slice(None),) * (ends[name] - 1) + (slice(length),)])
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "albert"])
def test_cached_outputs_equal_those_of_a_forward_pass(world, tmp_path, family, kind):
    here = world(kind, teacher=family)
    store = store_of(here, tmp_path)
    fill(here, store, everything(kind))
    cached = CachedTeacher("base", store, stored_for(everything(kind)))
    batch = here.data.batch(ROWS)
    read, fresh = (t.forward(batch, everything(kind), here.training) for t in (cached, teacher_of(here)))
    for need in everything(kind):
        mine, expected = (at_real(tensors, batch, need, kind) for tensors in (read, fresh))
        allowed = expected > -1e30
        assert (mine > -1e30).equal(allowed)
        assert mine.dtype == expected.dtype
        torch.testing.assert_close(mine[allowed], expected[allowed], rtol=1e-5, atol=1e-5)
    assert not [tensor for tensor in read.tensors() if tensor.requires_grad]


def test_only_requested_outputs_are_returned(world, tmp_path):
    here = world()
    store = store_of(here, tmp_path)
    fill(here, store, ["scores[2]", "hidden[1]"])
    read = CachedTeacher("base", store, stored_for(["scores[2]", "hidden[1]"])).forward(
        here.data.batch(ROWS), frozenset(["scores[2]"]), here.training
    )
    assert set(read.scores) == {2}
    with pytest.raises(KeyError, match=r"queries\[2\]"):
        read.queries[2]
    with pytest.raises(KeyError, match=r"hidden\[1\]"):
        read.hidden[1]


def test_no_scores_and_no_padding_are_stored(world, tmp_path):
    here = world()
    store = store_of(here, tmp_path)
    fill(here, store, ["scores[4]", "hidden[2]", "logits", "pooled"])
    tokens, rows = int(here.data.train.lengths.sum()), len(here.data.train)
    sizes = {file.name: file.stat().st_size for file in store.folder.glob("*.bin")}
    state = 4 * 32 * tokens
    expected = {"queries.4.bin": state, "keys.4.bin": state, "hidden.2.bin": state}
    assert sizes == expected | {"logits.bin": 4 * 2 * rows, "pooled.bin": 4 * 32 * rows}


def test_outputs_do_not_depend_on_the_padded_length(world, tmp_path):
    here = world("qa")
    store = store_of(here, tmp_path)
    fill(here, store, everything("qa"))
    cached = CachedTeacher("base", store, stored_for(everything("qa")))
    tight, wide = (collate(here.data.train, ROWS, 0, pad_to_multiple_of=n) for n in (1, 16))
    assert wide.inputs["input_ids"].shape > tight.inputs["input_ids"].shape
    for need in everything("qa"):
        one, other = (
            at_real(cached.forward(b, frozenset([need]), here.training), b, need, "qa") for b in (tight, wide)
        )
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6 if "scores" in need else 0)


def test_bf16_is_stored_in_half_the_size_and_read_in_the_forward_dtype(world, tmp_path):
    here = world("qa", precision="bf16")
    store = store_of(here, tmp_path, precision="bf16")
    fill(here, store, everything("qa"))
    assert {entry.kept for entry in store.manifest.tensors.values()} == {"bfloat16"}
    assert store.file("hidden[1]").stat().st_size == 2 * 32 * int(here.data.train.lengths.sum())
    batch = here.data.batch(ROWS)
    cached = CachedTeacher("base", store, stored_for(everything("qa")))
    read, fresh = (t.forward(batch, everything("qa"), here.training) for t in (cached, teacher_of(here)))
    for need in everything("qa"):
        mine, expected = (at_real(tensors, batch, need, "qa") for tensors in (read, fresh))
        allowed = expected > -1e30
        assert mine.dtype == expected.dtype
        assert mine.isfinite().all()
        assert (mine > -1e30).equal(allowed)
        torch.testing.assert_close(mine[allowed].float(), expected[allowed].float(), rtol=3e-2, atol=3e-2)


def test_padding_does_not_exceed_the_models_positions(world, tmp_path):
    here = world()
    long = replace(here.data.train, input_ids=kept_ids(here, length=50))
    here.data = replace(here.data, train=long)
    store = store_of(here, tmp_path)
    fill(here, store, ["hidden[4]"])  # 50 positions, and 64 is the next multiple of 16
    assert store.file("hidden[4]").stat().st_size == 4 * 32 * 50 * len(long)


def kept_ids(here, length):
    from harness.tasks.ragged_arrays import Ragged

    return Ragged.of([np.full(length, 7)] * len(here.data.train), np.int32)


def test_outputs_added_later_have_the_bits_of_a_single_pass(world, tmp_path):
    here = world()
    whole, grown = store_of(here, tmp_path / "whole"), store_of(here, tmp_path / "grown")
    fill(here, whole, everything("classification"))
    fill(here, grown, ["logits", "hidden[1]"])
    before = {file.name: file.stat().st_mtime_ns for file in grown.folder.glob("*.bin")}
    teacher = Counted(here)
    filled = fill(here, grown, everything("classification"), teacher)
    assert teacher.calls == filled.forwards == len(grown.layout.batches)
    after = {file.name: file for file in grown.folder.glob("*.bin")}
    assert {name: after[name].stat().st_mtime_ns for name in before} == before
    for file in whole.folder.glob("*.bin"):
        assert after[file.name].read_bytes() == file.read_bytes()


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_an_interrupted_pass_is_not_valid_and_resumes(world, tmp_path, monkeypatch, how):
    monkeypatch.setattr(output_store, "BATCH_SIZE", 4)
    monkeypatch.setattr(filling, "SAVED_EVERY", 2)
    here, needs = world("qa"), everything("qa")
    whole, broken = store_of(here, tmp_path / "whole"), store_of(here, tmp_path / "broken")
    fill(here, whole, needs)
    first = Counted(here, fail_at=5 if how == "killed" else None)
    with pytest.raises((filling.Stopped, KeyboardInterrupt)):
        fill(here, broken, needs, first, stop=lambda: how == "stopped" and first.calls == 5)
    assert broken.missing(stored_for(needs)) == stored_for(needs)
    with pytest.raises(ValueError, match="does not hold"):
        CachedTeacher("base", broken, ["logits"])
    second = Counted(here)
    filled = fill(here, broken, needs, second)
    done = 5 if how == "stopped" else 4  # a killed pass loses batches that were not saved
    assert second.calls == len(whole.layout.batches) - done
    assert filled.forwards == len(whole.layout.batches)
    assert {f.name for f in broken.folder.iterdir()} == {f.name for f in whole.folder.iterdir()}
    for file in whole.folder.glob("*.bin"):
        assert (broken.folder / file.name).read_bytes() == file.read_bytes()


def test_a_pass_for_other_outputs_starts_again(world, tmp_path, monkeypatch):
    monkeypatch.setattr(output_store, "BATCH_SIZE", 4)
    here = world()
    store, teacher = store_of(here, tmp_path), Counted(here)
    with pytest.raises(filling.Stopped):
        fill(here, store, ["hidden[1]"], teacher, stop=lambda: teacher.calls == 3)
    other = Counted(here)
    fill(here, store, ["hidden[2]", "hidden[1]"], other)
    assert other.calls == len(store.layout.batches)
    assert not store.missing(["hidden[1]", "hidden[2]"])


@pytest.mark.parametrize("damage", ["a file is cut", "a file is gone", "no manifest", "another manifest"])
def test_damaged_outputs_are_missing(world, tmp_path, damage):
    here = world()
    store = store_of(here, tmp_path)
    fill(here, store, ["hidden[1]", "logits"])
    manifest = store.folder / "manifest.json"
    if damage == "a file is cut":
        with store.file("hidden[1]").open("r+b") as file:
            file.truncate(100)
    elif damage == "a file is gone":
        store.file("hidden[1]").unlink()
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(json.dumps({"written": "by another version"}))
    lost = {"hidden[1]", "logits"} if "manifest" in damage else {"hidden[1]"}
    assert store.missing(["hidden[1]", "logits"]) == lost
    fill(here, store, ["hidden[1]", "logits"])
    CachedTeacher("base", store, ["hidden[1]", "logits"])


def test_a_flipped_bit_is_detected_and_computed_again(world, tmp_path):
    here, needs = world(), ["hidden[1]", "logits"]
    store = store_of(here, tmp_path)
    fill(here, store, needs)
    assert store.damage(needs) is None
    for file in sorted(store.folder.iterdir()):
        content = file.read_bytes()
        changed = bytearray(content)
        changed[len(changed) // 3] ^= 4
        file.write_bytes(changed)
        assert store.missing(needs)
        assert file.name in store.damage(needs)
        fill(here, store, needs)
        assert store.damage(needs) is None
        assert file.read_bytes() == content


@pytest.mark.parametrize("damaged", ["progress.json", "hidden.1.bin"])
def test_a_pass_does_not_resume_from_damaged_files(world, tmp_path, monkeypatch, caplog, damaged):
    monkeypatch.setattr(output_store, "BATCH_SIZE", 4)
    here, needs = world(), ["hidden[1]", "logits"]
    whole, broken = store_of(here, tmp_path / "whole"), store_of(here, tmp_path / "broken")
    fill(here, whole, needs)
    first = Counted(here)
    with pytest.raises(filling.Stopped):
        fill(here, broken, needs, first, stop=lambda: first.calls == 5)
    content = bytearray((broken.folder / damaged).read_bytes())
    content[len(content) // 3] ^= 4
    (broken.folder / damaged).write_bytes(content)
    second = Counted(here)
    fill(here, broken, needs, second)
    assert second.calls == len(whole.layout.batches)
    assert "computed from the first batch again" in caplog.text
    for file in whole.folder.iterdir():
        assert (broken.folder / file.name).read_bytes() == file.read_bytes()


def test_the_key_has_everything_that_determines_the_bits(world, tmp_path):
    here, other = world(), world("regression")
    data = here.data
    ids = replace(data.train.input_ids, values=data.train.input_ids.values + 1)
    shelves = [
        store_of(here, tmp_path),
        store_of(other, tmp_path),
        store_of(here, tmp_path, precision="bf16"),
        store_of(here, tmp_path, threads=3),
        TeacherOutputStore.of(tmp_path, "another teacher", data, NUMERIC),
        TeacherOutputStore.of(tmp_path, "teacher", replace(data, train=replace(data.train, input_ids=ids)), NUMERIC),
    ]
    assert len({store.folder for store in shelves}) == len(shelves)
    assert store_of(world(), tmp_path).folder == shelves[0].folder


def test_cached_outputs_stay_readable_after_the_cache_is_deleted(world, tmp_path):
    here = world()
    store = store_of(here, tmp_path)
    fill(here, store, ["hidden[1]"])
    cached = CachedTeacher("base", store, ["hidden[1]"])
    before = cached.forward(here.data.batch(ROWS), frozenset(["hidden[1]"]), here.training).hidden[1]
    shutil.rmtree(store.folder)
    after = cached.forward(here.data.batch(ROWS), frozenset(["hidden[1]"]), here.training).hidden[1]
    assert torch.equal(before, after)


def reads_outputs(here, run):
    """Whether the run can be trained on cached outputs alone."""
    return here.supports(run) and not any(stage.live for stage in run.progress.stages)


def train_cached(here, store, *runs):
    """Compute the outputs that `runs` need, then train them on these; returns the number of teacher forward passes."""
    names = stored_for(
        name for run in runs for stage in run.progress.stages for needs in stage.needs.teachers for name in needs
    )
    teacher = Counted(here)
    if store.missing(names):
        fill(here, store, names, teacher)
    cohort = Cohort(here.stream(), {"base": CachedTeacher("base", store, names)}, runs, CPU)
    train(cohort)
    assert cohort.teacher_passes.forwards.total() == 0
    assert all(run.error is None and run.cost.teacher_forwards == 0 for run in runs)
    return teacher.calls


@pytest.mark.parametrize("kind", ["classification", "qa"])
def test_training_is_bit_identical_alone_in_a_cohort_cold_and_warm(world, tmp_path, kind):
    here = world(kind, epochs=0.7)
    cold, warm = store_of(here, tmp_path / "cold"), store_of(here, tmp_path / "warm")
    fill(here, warm, everything(kind))
    methods = [(method, config) for method, config in METHODS if reads_outputs(here, here.run(method, config=config))]
    company = [here.run(method, config=config) for method, config in methods]
    assert train_cached(here, cold, *company) == len(cold.layout.batches)
    for run, (method, config) in zip(company, methods, strict=True):
        alone = here.run(method, config=config)
        assert train_cached(here, warm, alone) == 0
        assert_same(alone, bits(run))


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(range(len(METHODS))), st.integers(1, 2)), min_size=1, max_size=4),
    st.lists(st.sampled_from(sorted(everything("classification"))), max_size=3),
)
def test_bits_do_not_depend_on_which_runs_filled_the_cache(world, tmp_path_factory, company, before):
    here = world(epochs=0.4)
    assume(all(reads_outputs(here, here.run(METHODS[index][0], config=METHODS[index][1])) for index, _ in company))
    folder = tmp_path_factory.mktemp("shelves")
    store = store_of(here, folder / "together")
    fill(here, store, before or ["logits"])
    runs = [here.run(METHODS[index][0], config=METHODS[index][1], seed=seed) for index, seed in company]
    train_cached(here, store, *runs)
    again = [here.run(METHODS[index][0], config=METHODS[index][1], seed=seed) for index, seed in reversed(company)]
    assert train_cached(here, store, *again) == 0
    for run, first in zip(again, reversed(runs), strict=True):
        assert_same(run, bits(first))
    (index, seed), run = company[-1], runs[-1]
    alone = here.run(METHODS[index][0], config=METHODS[index][1], seed=seed)
    train_cached(here, store_of(here, folder / "alone"), alone)
    assert_same(alone, bits(run))


def test_cached_and_live_teachers_differ_in_the_last_bits_only(world, tmp_path):
    here = world("classification", epochs=0.7)
    store = store_of(here, tmp_path)
    fill(here, store, everything("classification"))
    one, other = here.run("tinybert"), here.run("tinybert", seed=1)
    other.teachers = ("base, kept",)
    cached = CachedTeacher("base, kept", store, stored_for(everything("classification")))
    cohort = Cohort(here.stream(), {"base": teacher_of(here), "base, kept": cached}, [one, other], CPU)
    train(cohort)
    assert cohort.teacher_passes.forwards == {"base": one.steps, "base, kept": 0}
    mine, theirs = bits(other)[0], bits(one)[0]
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-3) for name in theirs)


def test_a_full_disk_raises_one_message(world, tmp_path, monkeypatch):
    from harness.storage.disk_errors import DiskError

    def full(*args):
        raise OSError(28, "No space left on device")

    here = world()
    monkeypatch.setattr(filling, "_sync", full)
    with pytest.raises(DiskError, match=r"No space left .*teacher_cache\.max_gb"):
        fill(here, store_of(here, tmp_path), ["hidden[1]"])
