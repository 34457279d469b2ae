"""A cohort that has no room in memory is trained in parts; nothing but the cost of it changes."""

from dataclasses import dataclass

import pandas as pd
import pytest

from harness import General, Method, Needs, Stage, planning
from harness.config.schema import TrainingSpec
from harness.planning import memory_estimate, memory_packing
from harness.planning.jobs import TokenizerRef

METHODS = "methods=[finetune, logit_kd, tinybert, mlkd_bert]"
FRESH = "teacher_cache.max_gb=0"


@dataclass
class TextStage:
    """As much of a general job as its load reads."""

    method: Method
    general: General
    reader: TokenizerRef
    training: TrainingSpec
    cohort: tuple[str, str, float] = ("teacher", "", 0.0)


def gigabytes(planned, runs):
    """Room for those runs of the first cohort."""
    return memory_estimate.peak([planned.load(job) for job in planned.cohorts(planned.runs)[0][runs]]) / 1e9


def results(small):
    tables = {}
    for record in small.store().records():
        assert record.status == "completed"
        predictions = pd.read_parquet(small.store().run_folder(record.key) / "predictions.parquet")
        tables[record.key] = (
            predictions.to_json(double_precision=15),
            [point.terms for point in record.losses],
            record.metrics,
        )
    return tables


def test_cohorts_are_split_in_their_order_and_pay_their_teachers_each(small):
    whole = small.plan(METHODS, FRESH)
    room = gigabytes(whole, slice(3))
    parted = small.plan(METHODS, FRESH, f"training.max_memory_gb={room}")
    (first, second), parts = whole.cohorts(whole.runs), parted.cohorts(parted.runs)
    assert [len(part) for part in parts] == [3, 1, 3, 1]
    assert [job.planned.key for part in parts for job in part] == [job.planned.key for job in [*first, *second]]
    before, after = planning.estimate(whole, whole.runs), planning.estimate(parted, parted.runs)
    assert (before.cohorts, after.cohorts) == (2, 4)
    assert before.teacher_passes < after.teacher_passes <= before.teacher_passes_apart
    assert after.memory_gb <= after.room_gb == pytest.approx(room)
    assert before.memory_gb > after.memory_gb


def test_a_run_without_room_stands_alone(small):
    planned = small.plan(METHODS, "training.max_memory_gb=1.0e-6")
    assert [len(part) for part in planned.cohorts(planned.runs)] == [1] * 8
    assert planning.estimate(planned, planned.runs).memory_gb > 1e-6


def test_the_results_of_a_split_cohort_are_the_same_bits(small):
    settings = ("seeds=[1]", METHODS, FRESH)
    small.run(*settings)
    expected = results(small)
    for record in small.store().records():
        (small.store().run_folder(record.key) / "record.json").unlink()
    room = gigabytes(small.plan(*settings), slice(2, 4))
    small.run(*settings, f"training.max_memory_gb={room}")
    assert {record.cost.cohort_size for record in small.store().records()} == {2}
    assert results(small) == expected


def test_logits_over_a_vocabulary_weigh_in_a_stage_on_text(small):
    run = small.plan("methods=[logit_kd]").runs[0]
    training = small.plan().spec.training
    sizes = {}
    for name in ("logits", "hidden[1]"):
        general = General(Stage("general", Needs([name], [[name]])))
        job = TextStage(run.method, general, run.reader, training)
        sizes[name] = memory_estimate.peak([memory_packing.of_general(job, "cpu")])
    vocabulary, tokens = len(run.reader.tokenizer), training.batch_size * training.max_length
    hidden = run.method.student.hidden
    assert sizes["logits"] - sizes["hidden[1]"] == 5 * 4 * tokens * (vocabulary - hidden)
