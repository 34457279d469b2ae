"""One teacher per seed: pairing with runs, keys, cohorts, groups, tuning, and the output of `plan`."""

import json

import pytest

from harness import planning as planning
from harness.cli.plan_command import plan_suite
from harness.planning import tuning_studies

SEEDS = "teachers.base.seeds=[4, 9]"
OTHER = "teachers.other={architecture: {layers: 4, hidden: 16, heads: 2, ffn: 32}, epochs: 1, lr: 0.001}"


def keys(plan):
    return {(job.planned.label, job.planned.seed): job.planned.key for job in plan.runs}


def test_a_run_has_the_same_key_with_its_teacher_as_the_only_one(small):
    both = keys(small.plan(SEEDS))
    alone = [keys(small.plan(f"teachers.base.seed={seed}")) for seed in (4, 9)]
    assert both == {place: alone[place[1] - 1][place] for place in both}
    assert alone[0] != alone[1]


def test_teachers_are_paired_by_position_and_named_with_their_seeds(small):
    plan = small.plan("teachers.base.seeds=[9, 4]", "seeds=[2, 1]")
    assert {(job.planned.seed, job.teachers[0].spec.seed) for job in plan.runs if job.teachers} == {(2, 9), (1, 4)}
    assert [(job.row, job.name) for job in plan.teachers] == [("base", "base (seed 9)"), ("base", "base (seed 4)")]
    runs = [job.planned for job in plan.runs if job.planned.label == "tinybert"]
    assert [(run.seed, run.teachers, run.teacher_seeds) for run in runs] == [(2, ["base"], [9]), (1, ["base"], [4])]
    file = plan.file("")
    assert file.teachers == {"base": {"order": [job.key for job in plan.teachers]}}
    assert [file.teacher_key("base", "order", seed) for seed in (2, 1)] == file.teachers["base"]["order"]


def test_one_teacher_is_shared_by_all_runs(small):
    file = small.plan("teachers.base.seed=9").file("")
    (key,) = file.teachers["base"]["order"]
    assert {file.teacher_key("base", "order", run.seed) for run in file.runs} == {key}
    assert {tuple(run.teacher_seeds) for run in file.runs} == {(), (9,)}
    older = json.loads(file.model_dump_json()) | {"teachers": {"base": {"order": key}}}
    assert type(file).model_validate(older) == file, "the format of older versions"


def test_a_list_with_one_seed_equals_that_seed(small):
    one = ("seeds=[1]", "teachers.base.seeds=[9]")
    assert keys(small.plan(*one)) == keys(small.plan("seeds=[1]", "teachers.base.seed=9"))
    assert [job.name for job in small.plan(*one).teachers] == ["base"]


def test_a_student_starts_from_the_teacher_of_its_seed(small):
    rows = ("methods=[finetune]", "students.1x32={layers: 1, init: [1], init_from: teacher}")
    plan = small.plan(SEEDS, *rows)
    assert [job.source.spec.seed for job in plan.runs] == [4, 9]
    assert [job.parts["student"]["source"] for job in plan.runs] == [job.key for job in plan.teachers]


def test_cohorts_share_batches_and_teachers(small):
    rows = "methods=[finetune, logit_kd, tinybert]"
    plan = small.plan(SEEDS, rows)
    assert [[job.planned.seed for job in cohort] for cohort in plan.cohorts(plan.runs)] == [[1, 1, 1], [2, 2, 2]]
    shared = small.plan(SEEDS, rows, "training.data_seed=1")
    cohorts = [[(job.planned.label, job.planned.seed) for job in cohort] for cohort in shared.cohorts(shared.runs)]
    first = [("finetune", 1), ("finetune", 2), ("logit_kd", 1), ("tinybert", 1)]
    second = [("logit_kd", 2), ("tinybert", 2)]
    assert cohorts == [[*first, *second]], "runs with the same teacher are adjacent, in case memory splits the cohort"


def test_groups_pair_teachers_by_seed_and_share_one_with_a_single_seed(small):
    rows = "methods=[logit_kd, mt_bert]"
    plan = small.plan(SEEDS, OTHER, rows)
    runs = [job for job in plan.runs if job.planned.label == "mt_bert"]
    assert [job.planned.teacher_seeds for job in runs] == [[4, 1], [9, 1]]
    assert [job.planned.teachers for job in runs] == [["base (mt_bert)", "other (mt_bert)"]] * 2
    assert [job.name for job in plan.teachers] == [
        "base (seed 4)",
        "base (seed 9)",
        "other",
        "base (mt_bert, seeds 4 and 1)",
        "other (mt_bert, seeds 4 and 1)",
        "base (mt_bert, seeds 9 and 1)",
        "other (mt_bert, seeds 9 and 1)",
    ]
    assert {name: len(keys["order"]) for name, keys in plan.file("").teachers.items()} == {
        "base": 2,
        "other": 1,
        "base (mt_bert)": 2,
        "other (mt_bert)": 2,
    }
    for seed, job in zip((4, 9), runs, strict=True):
        alone = keys(small.plan(f"teachers.base.seed={seed}", OTHER, rows))
        assert job.planned.key == alone["mt_bert", job.planned.seed]


def test_cached_outputs_are_counted_per_teacher(small):
    (one,), (several,) = small.plan().cache_decisions, small.plan(SEEDS).cache_decisions
    assert (one.teacher, one.teachers, one.orders) == ("base", 1, 2)
    assert (several.teacher, several.teachers, several.orders) == ("base", 2, 1)
    assert several.gb == one.gb > 0
    shared, per_seed = (small.plan("training.data_seed=1", *more).cache_decisions[0] for more in ((), (SEEDS,)))
    assert (per_seed.gb, per_seed.cached, per_seed.teachers) == (shared.gb, shared.cached, 2)
    assert "of each of 2 teachers cached for" in planning.cache_decisions.describe(several)


TUNED = ("tuning={trials: 2}", "methods=[finetune, logit_kd]")


def test_a_row_is_tuned_with_the_first_teacher(small):
    plan = small.plan(SEEDS, *TUNED)
    first, second = (job for job in plan.runs if job.planned.label == "logit_kd")
    study, second_study = tuning_studies.of(first, plan.spec), tuning_studies.of(second, plan.spec)
    assert study.key == second_study.key
    for candidate in (study, second_study):
        trial = candidate.trial(0, candidate.defaults)
        assert [teacher.spec.seed for teacher in (*trial.teachers, trial.source)] == [4, 4]
        assert trial.planned.teacher_seeds == [4]
    assert study.trial(1, study.defaults).planned.key == second_study.trial(1, study.defaults).planned.key
    assert [teacher.spec.seed for teacher in second.teachers] == [9]


def test_the_teacher_that_a_run_was_tuned_with_is_in_its_key(small):
    """The second run's values are tuned with the first teacher, so its key depends on that teacher."""
    before, after = keys(small.plan(SEEDS, *TUNED)), keys(small.plan("teachers.base.seeds=[5, 9]", *TUNED))
    assert not set(before.values()) & set(after.values())
    alone = keys(small.plan("teachers.base.seed=4", *TUNED))
    assert before["logit_kd", 1] == alone["logit_kd", 1]
    assert before["logit_kd", 2] != keys(small.plan("teachers.base.seed=9", *TUNED))["logit_kd", 2]


@pytest.mark.parametrize(("override", "seeds"), [(SEEDS, "seed 4 on order; seed 9 on order"), ("seeds=[1]", "seed 1")])
def test_the_plan_shows_the_teachers(small, capsys, override, seeds):
    plan_suite(str(small.path), [override], [], small.folder / "results", as_json=False)
    output = capsys.readouterr().out
    assert f"Teacher base will be fine-tuned unless it is in the cache: {seeds}" in output
    assert "base (seed 9)" in output or override != SEEDS
    plan_suite(str(small.path), [override], [], small.folder / "results", as_json=True)
    (*_, last) = json.loads(capsys.readouterr().out)["teachers"]
    assert (last["name"], last["task"], last["done"]) == ("base", "order", False)
    assert last["seed"] == (9 if override == SEEDS else 1)
