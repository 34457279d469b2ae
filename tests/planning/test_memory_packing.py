"""A cohort that does not fit in memory is trained in split, with the same results."""

from dataclasses import dataclass

import pandas as pd
import pytest

from harness import General, Method, Needs, Stage, planning
from harness.config.training_schema import TrainingSpec
from harness.planning import memory_estimate, memory_packing
from harness.planning.job_inputs import TokenizerRef

METHODS = "methods=[finetune, logit_kd, tinybert, mlkd_bert]"
FRESH = "teacher_cache.max_gb=0"


@dataclass
class TextStage:
    """The attributes of a text stage's job that its memory estimate uses."""

    method: Method
    general: General
    tokenizer_ref: TokenizerRef
    training: TrainingSpec
    cohort: tuple[str, str, float] = ("teacher", "", 0.0)


def gigabytes(planned, runs):
    """Return the peak memory, in GB, of the slice `runs` of the first cohort."""
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


def test_cohorts_are_split_in_order_and_each_part_runs_its_teachers(small):
    unlimited = small.plan(METHODS, FRESH)
    max_gb = gigabytes(unlimited, slice(3))
    limited = small.plan(METHODS, FRESH, f"training.max_memory_gb={max_gb}")
    (first, second), split = unlimited.cohorts(unlimited.runs), limited.cohorts(limited.runs)
    assert [len(part) for part in split] == [3, 1, 3, 1]
    assert [job.planned.key for part in split for job in part] == [job.planned.key for job in [*first, *second]]
    before, after = planning.estimate(unlimited, unlimited.runs), planning.estimate(limited, limited.runs)
    assert (before.cohorts, after.cohorts) == (2, 4)
    assert before.teacher_passes < after.teacher_passes <= before.teacher_passes_apart
    assert after.memory_gb <= after.room_gb == pytest.approx(max_gb)
    assert before.memory_gb > after.memory_gb


def test_a_run_that_exceeds_the_memory_has_its_own_cohort(small):
    planned = small.plan(METHODS, "training.max_memory_gb=1.0e-6")
    assert [len(part) for part in planned.cohorts(planned.runs)] == [1] * 8
    assert planning.estimate(planned, planned.runs).memory_gb > 1e-6


def test_results_of_a_split_cohort_are_bit_identical(small):
    settings = ("seeds=[1]", METHODS, FRESH)
    small.run(*settings)
    expected = results(small)
    for record in small.store().records():
        (small.store().run_folder(record.key) / "record.json").unlink()
    max_gb = gigabytes(small.plan(*settings), slice(2, 4))
    small.run(*settings, f"training.max_memory_gb={max_gb}")
    assert {record.cost.cohort_size for record in small.store().records()} == {2}
    assert results(small) == expected


def test_logits_of_a_text_stage_count_the_vocabulary(small):
    run = small.plan("methods=[logit_kd]").runs[0]
    training = small.plan().spec.training
    sizes = {}
    for name in ("logits", "hidden[1]"):
        general = General(Stage("general", Needs([name], [[name]])))
        job = TextStage(run.method, general, run.tokenizer_ref, training)
        sizes[name] = memory_estimate.peak([memory_packing.of_text_stage(job, "cpu")])
    vocabulary, tokens = len(run.tokenizer_ref.tokenizer), training.batch_size * training.max_length
    hidden = run.method.student.hidden
    assert sizes["logits"] - sizes["hidden[1]"] == 5 * 4 * tokens * (vocabulary - hidden)
