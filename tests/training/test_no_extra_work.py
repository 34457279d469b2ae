"""A step does no extra work: no synchronization with the device, no unneeded computation, no retained outputs."""

import gc
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.integrations import sdpa_attention

from harness.models import attention
from harness.models.capture import Capture
from harness.tasks.tokenization import collate
from harness.training import prefetcher
from harness.training.batch_stream import BatchStream
from harness.training.teacher_passes import TeacherPasses
from tests.support.training_world import SOLVED_ON_THE_CPU, assert_same, bits, train
from tests.training.test_cohort import KINDS, METHODS

CPU = torch.device("cpu")
ATEN = torch.ops.aten
LOOKS = {
    *(ATEN._local_scalar_dense, ATEN.is_nonzero, ATEN.equal, ATEN.nonzero, ATEN.masked_select),
    *(ATEN._unique2, ATEN.unique_dim, ATEN.unique_consecutive, ATEN.bincount),
}
"""Operators that return a value to the host, or have a data-dependent shape: on a GPU they synchronize."""


class Looks(TorchDispatchMode):
    """Records operators that would synchronize with a GPU."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        packet = function.overloadpacket
        by_mask = packet in (ATEN.index, ATEN.index_put, ATEN.index_put_) and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if packet in LOOKS or by_mask or (packet is ATEN.repeat_interleave and len(args) == 1):
            self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


def quiet(monkeypatch):
    """Behave as on a GPU: always build attention masks, skip AdamW, whose step count is on the CPU there, and record
    copies to the host."""
    seen = []
    monkeypatch.setattr(attention, "SYNCHRONOUS_DEVICES", frozenset())
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    for name in ("tolist", "numpy", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, lambda self, *a, name=name: seen.append(name))
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_waits_for_the_device(world, kind, monkeypatch):
    here = world(kind, log_every=1000)
    runs = [here.run(method, config=config) for method, config in METHODS if method not in SOLVED_ON_THE_CPU]
    cohort = here.cohort(*filter(here.supports, runs))
    data = here.stream().at(0, CPU)
    seen = quiet(monkeypatch)
    stages = {len(run.progress.stages) for run in cohort.runs}
    for number in range(max(stages)):
        for run in cohort.runs:
            run.progress.number, run.progress.step = min(number, len(run.progress.stages) - 1), 0
        with Looks() as looks:
            teachers = cohort.teacher_passes.outputs(0, data, cohort.runs)
            for run in cohort.runs:
                inputs = cohort.inputs_of(run, data, teachers)
                run.step(inputs.batches, inputs.teachers, inputs.live_teachers)
        assert [run.error for run in cohort.runs if run.error] == []
        assert looks.seen + seen == []


def test_a_synchronization_is_noticed():
    """Checks that the test above can fail."""
    values = torch.arange(4.0)
    with Looks() as looks:
        values.sum().item()
        bool((values > 1).any())
        values[values > 1]
        values.nonzero()
        values[1:2] + values[[0]]
    assert len(looks.seen) >= 4
    with Looks() as looks:
        values[1:2] + values.masked_fill(values > 1, 0).sum()
    assert looks.seen == []


def test_an_unconditional_attention_mask_changes_nothing(world, monkeypatch):
    here = world()
    capture, encoded = Capture(here.teacher().eval()), here.data.train
    same_length = [row for row in range(len(encoded)) if encoded.lengths[row] == encoded.lengths[0]][:3]
    for rows in (same_length, [0, 1, 2, 3]):
        inputs = collate(encoded, rows, here.data.pad_token_id).inputs
        with torch.no_grad():
            seen = capture.run(inputs, {"logits"}).logits
            with monkeypatch.context() as patch:
                patch.setattr(attention, "SYNCHRONOUS_DEVICES", frozenset())
                unseen = capture.run(inputs, {"logits"}).logits
        torch.testing.assert_close(seen, unseen, rtol=1e-5, atol=1e-6)


def test_losses_are_read_only_every_log_every_steps(world, monkeypatch):
    here = world(log_every=4, epochs=2)
    run = here.run("finetune")
    reads, real = [], type(run.curve.log).read
    monkeypatch.setattr(type(run.curve.log), "read", lambda self: reads.append(run.position + 1) or real(self))
    train(here.cohort(run))
    assert reads == sorted({*range(4, run.steps + 1, 4), run.steps})


def test_a_short_run_logs_enough_losses_for_a_curve(world):
    here = world(log_every=None, epochs=2)
    run = here.run("finetune")
    train(here.cohort(run))
    assert run.steps < 80
    assert [point.step for point in run.history] == list(range(1, run.steps + 1))


@pytest.mark.parametrize(
    ("needs", "kernels"),
    [({"embeddings"}, 0), ({"queries[2]"}, 1), ({"hidden[2]"}, 2), ({"scores[3]", "hidden[1]"}, 2), ({"logits"}, 4)],
)
def test_a_teacher_stops_at_the_deepest_requested_output(world, needs, kernels, monkeypatch):
    here, run = world(), []
    cohort = here.cohort(here.run("finetune"))
    fused = sdpa_attention.sdpa_attention_forward
    monkeypatch.setattr(sdpa_attention, "sdpa_attention_forward", lambda *a, **k: run.append(1) or fused(*a, **k))
    batch = here.stream().at(0, CPU).whole("tokenizer")
    cohort.teachers["base"].forward(batch, frozenset(needs), here.training)
    assert len(run) == kernels


def test_layers_without_requested_outputs_save_no_additional_tensors(world):
    """A layer of a student in training without requested outputs saves the same tensors for its backward pass as
    without capture, and no attention scores."""
    here = world()
    batch = here.stream().at(0, CPU).whole("tokenizer")
    tokens = batch.inputs["input_ids"].shape[1]

    def saved(needs):
        actual = []
        model = here.model(layers=3).train()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: actual.append(tensor) or tensor, lambda kept: kept
        ):
            Capture(model).run(batch.inputs, needs)
        return [tensor for tensor in actual if tensor.is_floating_point()]

    def maps(tensors):
        return sum(tensor.dim() == 4 and tensor.shape[-2:] == (tokens, tokens) for tensor in tensors)

    plain, all_logits = saved({"hidden[3]"}), saved({"logits", "hidden[1]", "queries[1]", "keys[2]", "values[3]"})
    assert len(all_logits) - len(plain) <= 6  # the head's
    assert maps(saved({"scores[2]", "logits"})) == maps(saved({"logits"}))


def test_teacher_outputs_are_freed_after_the_step(world, monkeypatch):
    here = world(epochs=1)
    cohort, alive, kept = here.cohort(here.run("tinybert"), here.run("minilm")), [], []
    teach = TeacherPasses.outputs

    def watched(self, position, batches, due):
        gc.collect()
        alive.append(sum(ref() is not None for ref in kept))
        kept.clear()
        tensors = teach(self, position, batches, due)
        kept.extend(weakref.ref(tensor) for each in tensors.values() for tensor in each.tensors())
        return tensors

    monkeypatch.setattr(TeacherPasses, "outputs", watched)
    train(cohort)
    assert len(alive) > 4
    assert set(alive) == {0}


@pytest.mark.parametrize("kind", KINDS)
def test_prefetched_batches_are_bit_identical(world, kind, monkeypatch):
    here = world(kind)
    chosen = [("finetune", {}), ("tinybert", {}), ("mlkd_bert", {"one_stage": True, "views": "dropout"})]
    before = [here.run(method, config=config) for method, config in chosen]
    train(here.cohort(*before))
    expected = [bits(run) for run in before]
    monkeypatch.setattr(prefetcher, "uses_thread", lambda device: True)
    runs = [here.run(method, config=config) for method, config in chosen]
    train(here.cohort(*runs))
    for run, theirs in zip(runs, expected, strict=True):
        assert run.error is None
        assert_same(run, theirs)
    assert [run.cost.tokens for run in runs] == [run.cost.tokens for run in before]


def test_the_next_batch_is_built_while_the_current_one_is_used(world, monkeypatch):
    monkeypatch.setattr(prefetcher, "uses_thread", lambda device: True)
    here = world()
    stream = here.stream()
    real, built = stream.build, []
    monkeypatch.setattr(stream, "build", lambda position: built.append(position) or real(position))
    with prefetcher.Prefetcher(stream, CPU) as batches:
        for position in (0, 1, 2, 2, 7, 8, 3):  # in order, the same again, and from a checkpoint further on
            actual, expected = batches.at(position), real(position)
            assert actual.whole("tokenizer").ids == expected.whole("tokenizer").ids
            assert actual.tokens == expected.tokens
    assert built[:4] == [0, 1, 2, 3]
    assert set(built) <= {0, 1, 2, 3, 4, 7, 8, 9}


def test_an_error_while_building_a_batch_is_raised(world, monkeypatch):
    monkeypatch.setattr(prefetcher, "uses_thread", lambda device: True)
    stream = world().stream()

    def build(position):
        raise ValueError("no such batch")

    monkeypatch.setattr(stream, "build", build)
    with prefetcher.Prefetcher(stream, CPU) as batches, pytest.raises(ValueError, match="no such batch"):
        batches.at(0)


def budgeted(here, budget):
    return BatchStream(here.data, batch_size=8, token_budget=budget, data_seed=5)


@pytest.mark.parametrize("budget", [40, 64, 200])
def test_with_a_token_budget_every_epoch_has_all_rows_once(world, budget):
    here = world()
    stream = budgeted(here, budget)
    rows, position, epochs = sorted(here.data.train.ids), 0, []
    for _ in range(6):
        seen, begin = [], position
        while len(seen) < len(rows):
            built = stream.build(position)
            batch = built.whole("tokenizer")
            assert batch.inputs["input_ids"].numel() <= budget
            assert built.tokens == int(batch.lengths.sum())
            seen += batch.ids
            position += 1
        assert sorted(seen) == rows
        epochs.append(position - begin)
    assert stream.batches_per_epoch == epochs[0]
    again = budgeted(here, budget)  # as from a checkpoint: any place at once, and back
    for place in (position - 1, 0, epochs[0], position // 2):
        assert again.build(place).whole("tokenizer").ids == stream.build(place).whole("tokenizer").ids


def test_a_suite_with_a_token_budget(small):
    """Its runs end, its steps have the tokens of the budget, and it changes the keys that it should."""
    plain, budget = small.plan(), small.plan("training.token_budget=64")
    assert {job.planned.key for job in plain.runs}.isdisjoint(job.planned.key for job in budget.runs)
    other_teacher = small.plan("training.token_budget=64", "teachers.base.batch_size=16")
    assert [job.key for job in other_teacher.teachers] == [job.key for job in plain.teachers]
    assert [job.key for job in budget.teachers] != [job.key for job in plain.teachers]
    other = small.plan("training.token_budget=64", "training.batch_size=8")
    assert [job.planned.key for job in other.runs] == [job.planned.key for job in budget.runs]
    outcome = small.run("training.token_budget=64", "methods=[tinybert]", "seeds=[1]")
    assert outcome.failed == []
    (record,) = small.store().records()
    assert record.cost.tokens / record.cost.steps > 0.7 * 64
