"""Decisions which runs read cached teacher outputs. They depend on the suite alone."""

import pytest

from harness.planning import estimate
from harness.planning.cache_decisions import describe

TOKENS, ROWS = 1043, 120
"""Size of the small suite's training set, including special tokens."""


def cached_labels(plan):
    return {run.planned.label for run in plan.runs if run.reads_cache}


def decisions(plan):
    return [describe(decision) for decision in plan.cache_decisions]


def keys(plan):
    return {(run.planned.label, run.planned.seed): run.planned.key for run in plan.runs}


def test_outputs_that_save_time_are_cached_and_the_plan_shows_it(small):
    plan = small.plan()
    assert cached_labels(plan) == {"logit_kd", "tinybert"}
    (decision,) = plan.cache_decisions
    assert (decision.task, decision.teacher, decision.epochs, decision.orders) == ("order", "base", 1, 2)
    # Embeddings, a hidden state, queries and keys of one layer; logits.
    assert decision.gb * 1e9 == pytest.approx(4 * (4 * 32 * TOKENS + 2 * ROWS))
    assert decisions(plan) == [
        "base on order: 1 epoch x 2 orders; 0.5 MB cached for logit_kd, tinybert, 1 pass instead of 2"
    ]


def test_a_shared_data_order_counts_once(small):
    (decision,) = small.plan("training.epochs=3", "training.data_seed=1").cache_decisions
    assert (decision.epochs, decision.orders) == (3, 1)


def test_only_keys_of_runs_that_read_the_cache_change(small):
    plan, off = small.plan(), small.plan("teacher_cache.max_gb=0")
    for run, fresh in zip(plan.runs, off.runs, strict=True):
        assert run.reads_cache == (run.planned.key != fresh.planned.key)
        assert fresh.parts["numeric"]["teacher_tensors"] == "fresh"
        assert run.parts["numeric"]["teacher_tensors"] == ("kept" if run.reads_cache else "fresh")
        assert ("kept" in run.parts) == run.reads_cache
        assert "kept" not in fresh.parts
    assert off.cache_decisions == ()


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("training.epochs=1", "training.data_seed=1"), "the data are read no more than once"),
        (("training.epochs=0.25",), "the data are read no more than once"),
        (("device=cuda", "training.batch_size=120"), "on cuda they are computed about as fast as they are read"),
    ],
)
def test_outputs_that_save_no_time_are_not_cached(small, overrides, reason):
    plan = small.plan("methods=[tinybert]", *overrides)
    assert cached_labels(plan) == set()
    assert decisions(plan) == [f"base on order: fresh for tinybert: {reason}"]


def test_small_outputs_are_cached_for_a_single_pass(small):
    assert cached_labels(small.plan("training.epochs=1", "training.data_seed=1")) == {"logit_kd"}
    assert cached_labels(small.plan("training.epochs=0.5", "training.data_seed=1")) == set()


def test_logits_are_cached_where_hidden_states_are_not(small):
    assert cached_labels(small.plan("device=cuda", "training.batch_size=120")) == {"logit_kd"}


def test_outputs_that_do_not_fit_leave_the_cache_to_later_rows(small):
    methods = "methods=[logit_kd, tinybert, minilm, {logit_kd: {label: again}}]"
    plan = small.plan(methods, "teacher_cache.max_gb=0.00045")
    assert cached_labels(plan) == {"logit_kd", "minilm", "again"}
    (line,) = decisions(plan)
    assert "for logit_kd, minilm, again, " in line
    assert line.endswith("fresh for tinybert: 0.5 MB more do not fit teacher_cache.max_gb, 0.4 MB of which are free")
    assert cached_labels(small.plan(methods)) == {"logit_kd", "tinybert", "minilm", "again"}


def test_outputs_shared_by_two_rows_are_counted_once(small):
    one, two = (
        small.plan(f"methods=[{methods}]").cache_decisions[0]
        for methods in ("tinybert", "tinybert, tinybert: {label: b}")
    )
    assert two.cached == ("tinybert", "b")
    assert one.gb == two.gb


@pytest.mark.parametrize("limit", [0.0011, 0.0015])
def test_added_seeds_do_not_change_keys_of_methods_with_a_layer_mapping_of_each_seed(small, limit):
    """They need other outputs of the teacher, but the decision is the same, whichever seed is first."""
    suite = (
        "teachers.base.architecture.layers=8",
        "methods=[tinybert, tinybert: {label: drawn, mapping: random}]",
        f"teacher_cache.max_gb={limit}",
    )
    after = keys(small.plan(*suite, "seeds=[5, 4, 3, 2, 1]"))
    for seed in (1, 4):
        alone = keys(small.plan(*suite, f"seeds=[{seed}]"))
        assert alone.keys() == {("tinybert", seed), ("drawn", seed)}
        assert alone.items() <= after.items()


@pytest.mark.parametrize(
    "additions",
    [("seeds=[1, 2, 3, 4, 5]",), ("methods=[finetune, logit_kd, tinybert, minilm]",), ("methods=[tinybert]",)],
)
def test_added_seeds_and_methods_do_not_change_existing_keys(small, additions):
    tight = "teacher_cache.max_gb=0.0006"
    for limit in ((), (tight,)):
        before, after = keys(small.plan(*limit)), keys(small.plan(*limit, *additions))
        shared = before.keys() & after.keys()
        assert shared
        assert {run: before[run] for run in shared} == {run: after[run] for run in shared}


def test_a_single_seed_has_the_key_that_it_has_among_all_seeds(small):
    alone, all_seeds = keys(small.plan("seeds=[2]")), keys(small.plan())
    assert alone.items() <= all_seeds.items()


def test_decisions_do_not_depend_on_completed_runs(small):
    before = keys(small.plan())
    small.run("methods=[logit_kd]", "seeds=[1]")
    assert keys(small.plan()) == before


def test_rows_without_a_teacher_have_no_choice(small):
    assert small.plan("methods=[finetune]").cache_decisions == ()


def test_bf16_halves_the_cached_bytes(small):
    (full,), (half,) = (
        small.plan("methods=[tinybert]", f"training.precision={p}").cache_decisions for p in ("fp32", "bf16")
    )
    assert half.gb == full.gb / 2


def test_the_estimate_counts_one_pass_for_all_seeds_and_methods(small):
    plan = small.plan()
    cost = estimate(plan, plan.runs)
    assert cost.teacher_passes == 4  # of 32 examples each
    assert cost.teacher_passes_apart == 4 * 8
    small.run()
    passes = {record.seed: record.cost.teacher_forwards for record in small.store().records()}
    assert sum(passes.values()) == 4
