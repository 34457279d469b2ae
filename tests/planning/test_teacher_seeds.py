"""One teacher per seed: who learns from whom, under which keys, in which cohorts, and what the plan says of it."""

import json

import pytest

from harness import planning as planning
from harness.cli.plan_command import plan_suite
from harness.planning import tuning_studies

SEEDS = "teachers.base.seeds=[4, 9]"
OTHER = "teachers.other={architecture: {layers: 4, hidden: 16, heads: 2, ffn: 32}, epochs: 1, lr: 0.001}"


def keys(plan):
    return {(job.planned.label, job.planned.seed): job.planned.key for job in plan.runs}


def test_the_kth_run_has_the_key_that_it_has_with_the_kth_teacher_alone(small):
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
    assert type(file).model_validate(older) == file, "as older versions wrote it"


def test_a_single_seed_in_a_list_is_that_seed(small):
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
    cohorts = [[(job.planned.label, job.planned.seed) for job in each] for each in shared.cohorts(shared.runs)]
    first = [("finetune", 1), ("finetune", 2), ("logit_kd", 1), ("tinybert", 1)]
    second = [("logit_kd", 2), ("tinybert", 2)]
    assert cohorts == [[*first, *second]], "those of one teacher stand together, for where memory parts them"


def test_a_group_has_the_kth_teacher_of_each_member_and_shares_one_with_a_single_seed(small):
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


def test_kept_tensors_are_those_of_each_teacher(small):
    (one,), (several,) = small.plan().choices, small.plan(SEEDS).choices
    assert (one.teacher, one.teachers, one.orders) == ("base", 1, 2)
    assert (several.teacher, several.teachers, several.orders) == ("base", 2, 1)
    assert several.gb == one.gb > 0
    shared, own = (small.plan("training.data_seed=1", *more).choices[0] for more in ((), (SEEDS,)))
    assert (own.gb, own.kept, own.teachers) == (shared.gb, shared.kept, 2)
    assert "of each of 2 teachers kept for" in planning.teacher_cache_policy.told(several)


TUNED = ("tuning={trials: 2}", "methods=[finetune, logit_kd]")


def test_a_row_is_tuned_with_the_first_teacher(small):
    plan = small.plan(SEEDS, *TUNED)
    first, second = (job for job in plan.runs if job.planned.label == "logit_kd")
    study, again = tuning_studies.of(first, plan.spec), tuning_studies.of(second, plan.spec)
    assert study.key == again.key
    for each in (study, again):
        trial = each.trial(0, each.defaults)
        assert [teacher.spec.seed for teacher in (*trial.teachers, trial.source)] == [4, 4]
        assert trial.planned.teacher_seeds == [4]
    assert study.trial(1, study.defaults).planned.key == again.trial(1, study.defaults).planned.key
    assert [teacher.spec.seed for teacher in second.teachers] == [9]


def test_what_a_run_took_over_is_part_of_its_key(small):
    """The second run's values are chosen with the first teacher, so another first teacher makes it another run."""
    before, after = keys(small.plan(SEEDS, *TUNED)), keys(small.plan("teachers.base.seeds=[5, 9]", *TUNED))
    assert not set(before.values()) & set(after.values())
    alone = keys(small.plan("teachers.base.seed=4", *TUNED))
    assert before["logit_kd", 1] == alone["logit_kd", 1]
    assert before["logit_kd", 2] != keys(small.plan("teachers.base.seed=9", *TUNED))["logit_kd", 2]


@pytest.mark.parametrize(("override", "told"), [(SEEDS, "seed 4 on order; seed 9 on order"), ("seeds=[1]", "seed 1")])
def test_the_plan_shows_the_teachers(small, capsys, override, told):
    plan_suite(str(small.path), [override], [], small.folder / "results", as_json=False)
    shown = capsys.readouterr().out
    assert f"Teacher base will be fine-tuned unless it is in the cache: {told}" in shown
    assert "base (seed 9)" in shown or override != SEEDS
    plan_suite(str(small.path), [override], [], small.folder / "results", as_json=True)
    (*_, last) = json.loads(capsys.readouterr().out)["teachers"]
    assert (last["name"], last["task"], last["done"]) == ("base", "order", False)
    assert last["seed"] == (9 if override == SEEDS else 1)
