"""Search spaces, keys and trials of tuned rows."""

from dataclasses import replace

import pytest

from harness import planning
from harness.api.errors import UserError
from harness.planning import tuning_studies
from harness.planning.jobs import tuned_batch_sizes

TUNED = ("tuning={trials: 3}", "seeds=[1, 2]")

PLUGIN = """
from typing import Annotated
from pydantic import Field, model_validator
from harness import Cofinetuning, MethodConfig, Method, Needs, Search, Stage, hookimpl
from harness.api.losses import task_loss

class Config(MethodConfig):
    weight: Annotated[float, Search(0.5, 2)] = Field(1.0, description="of the runs")
    together: Annotated[float, Search(1, 2)] = Field(1.0, description="of the teachers")
    bound: float = Field(9.0, description="the most that weight may be")

    @model_validator(mode="after")
    def _check(self):
        if self.weight > self.bound:
            raise ValueError("weight is beyond bound")
        return self

class Staged(Method):
    name = "staged"
    Config = Config
    def cofinetuning(self):
        return Cofinetuning(lambda batches, teachers: {}, {"weight": self.config.together})
    def stages(self):
        needs = Needs(student=["logits"])
        return [Stage("own", needs, lr=1e-4), Stage("suite", needs), Stage("third", needs, lr=2e-4)]
    def losses(self, step, batch, student, teachers):
        return {"task": task_loss(student.logits, batch)}

@hookimpl
def harness_register_methods(register):
    register(Staged)
"""


@pytest.fixture
def staged(small):
    """Plan the suite with a method whose stages set learning rates, and which has options that cannot be tuned."""
    (small.folder / "staged.py").write_text(PLUGIN)
    plugins = (str(small.folder / "staged.py"),)
    return lambda *overrides: small.plan(*TUNED, *overrides, plugins=plugins)


def spaces(planned):
    """Return label -> names of the tuned options."""
    studies = {job.planned.label: tuning_studies.of(job, planned.spec) for job in planned.runs}
    return {label: list(study.space) if study else [] for label, study in studies.items()}


def test_the_space_has_the_learning_rate_and_tunable_options_that_are_not_set(small):
    methods = (
        "methods=[finetune, logit_kd, {logit_kd: {label: set, temperature: 4}},"
        " {logit_kd: {label: all, temperature: 2, alpha: 0.5}}, {logit_kd: {label: g, grid: {alpha: [0.2, 0.5]}}}]"
    )
    assert spaces(small.plan(*TUNED, methods)) == {
        "finetune": ["training.lr"],
        "logit_kd": ["training.lr", "temperature", "alpha"],
        "set": ["training.lr", "alpha"],
        "all": ["training.lr"],
        "g-alpha=0.2": ["training.lr", "temperature"],
        "g-alpha=0.5": ["training.lr", "temperature"],
    }
    without = small.plan("tuning={trials: 3, lr: null}", methods)
    assert spaces(without)["finetune"] == spaces(without)["all"] == []
    keys = {entry.label: entry.key for entry in without.file("harness run small").tuning.studies}
    assert [label for label, key in keys.items() if key is None] == ["finetune", "all"]


def test_the_learning_rate_range_is_around_the_suites_rate_or_configured(small):
    (study, *_) = tuning_studies.every(small.plan(*TUNED).runs, small.plan(*TUNED).spec)
    assert study.space["training.lr"].plain == {"low": 2.5e-4, "high": 4e-3, "log": True}
    planned = small.plan(*TUNED, "tuning.lr=[1e-4, 2e-3]")
    (study, *_) = tuning_studies.every(planned.runs, planned.spec)
    assert study.space["training.lr"].plain == {"low": 1e-4, "high": 2e-3, "log": True}
    assert study.defaults["training.lr"] == 1e-3


def test_learning_rates_of_stages_scale_unless_the_entry_sets_them(staged):
    planned = staged("methods=[{staged: {stages: {third: {lr: 7e-4}}}}]")
    (study,) = tuning_studies.every(planned.runs, planned.spec)
    job = study.trial(1, {"training.lr": 5e-4, "weight": 2.0})
    assert job.training.lr == 5e-4
    assert {name: stage.lr for name, stage in job.cell.variant.stages.items()} == {"own": 5e-5, "third": 7e-4}
    assert job.method.config.weight == 2.0
    fixed = "methods=[{staged: {weight: 1, stages: {own: {lr: 1e-4}, suite: {lr: 1e-4}, third: {lr: 7e-4}}}}]"
    assert spaces(staged(fixed)) == {"staged": []}, "no rate is left to tune"


def test_options_that_change_jobs_before_the_task_are_not_tuned(staged):
    assert spaces(staged("methods=[staged]")) == {"staged": ["training.lr", "weight"]}


def test_options_of_teachers_that_name_none_are_not_tuned(small, staged):
    (small.folder / "staged.py").write_text(PLUGIN.replace(', {"weight": self.config.together}', ""))
    assert spaces(staged("methods=[staged]")) == {"staged": ["training.lr"]}


def test_values_that_the_method_rejects_raise_an_error(staged):
    planned = staged("methods=[{staged: {bound: 1}}]")
    (study,) = tuning_studies.every(planned.runs, planned.spec)
    with pytest.raises(UserError, match="weight is beyond bound"):
        study.trial(1, {"training.lr": 1e-3, "weight": 1.5})


def test_all_seeds_share_a_study_whose_key_holds_its_settings(small):
    def keys(*overrides):
        planned = small.plan(*TUNED, *overrides)
        runs = {(job.planned.label, job.planned.seed): job.planned.key for job in planned.runs}
        return runs, {job.planned.label: tuning_studies.of(job, planned.spec).key for job in planned.runs}

    runs, studies = keys()
    assert len(set(runs.values())) == 6
    assert len(set(studies.values())) == 3
    assert keys("seeds=[2, 3]")[1] == studies
    assert keys("seeds=[2, 3]")[0]["finetune", 2] == runs["finetune", 2]
    changes = ("tuning.trials=4", "tuning.seed=2", "tuning.lr=[1e-4, 2e-3]", "selection={seed: 2}", "training.epochs=2")
    for change in changes:
        other_runs, other = keys(change)
        assert not set(other.values()) & set(studies.values()), change
        assert not set(other_runs.values()) & set(runs.values()), change


def test_keys_without_tuning_do_not_mention_it(small):
    assert all("tuning" not in job.parts for job in small.plan().runs)
    assert small.plan().file("harness run small").tuning is None
    nothing = [job.planned.key for job in small.plan("selection={epoch: last}", "methods=[finetune]").runs]
    idle = [job.planned.key for job in small.plan("tuning={trials: 3, lr: null}", "methods=[finetune]").runs]
    assert idle == nothing, "a row with nothing to tune is the same run"


def test_a_trial_is_a_run_with_the_seed_of_the_tuning(small):
    planned = small.plan(*TUNED, "tuning.seed=7")
    study = next(
        study for study in tuning_studies.every(planned.runs, planned.spec) if study.job.planned.label == "logit_kd"
    )
    job = study.trial(2, {"training.lr": 2e-3, "temperature": 9.0, "alpha": 0.25})
    assert (job.planned.seed, job.method.seed, job.data_seed, job.trial) == (7, 7, 7, 2)
    assert job.method.config.model_dump() == {"temperature": 9.0, "alpha": 0.25, "standardize": False}
    assert job.reads_cache == study.job.reads_cache
    keys = {study.trial(n, {**study.defaults, "alpha": a}).planned.key for n in (0, 1) for a in (0.1, 0.2)}
    assert len(keys) == 4
    assert not keys & {job.planned.key for job in planned.runs}


def test_plan_and_validate_show_the_tuning_budget(small, capsys):
    from harness.cli.plan_command import plan_suite
    from harness.cli.validate_command import validate_suite

    sets = ["tuning={trials: 3}", "teacher_cache.max_gb=0"]
    plan_suite(str(small.path), sets, [], small.folder / "results", as_json=False)
    assert "Tuning before these runs: 3 trials x 3 rows: " in capsys.readouterr().out
    plan_suite(str(small.path), [], [], small.folder / "results", as_json=False)
    assert "tuning" not in capsys.readouterr().out
    sizes = [*sets, "tuning.batch_size=[16, 8]"]
    plan_suite(str(small.path), sizes, [], small.folder / "results", as_json=False)
    assert "smaller tuned batches take more" in capsys.readouterr().out
    validate_suite(str(small.path), sizes, [])
    expected = "3 trials of each row, task and student, learning rate from 0.00025 to 0.004, batch size of 16, 8"
    assert expected in capsys.readouterr().out


def test_the_estimate_counts_every_trial(small):
    planned = small.plan(*TUNED, "teacher_cache.max_gb=0")
    tuning = tuning_studies.every(planned.runs, planned.spec)
    cost = planning.estimate(planned, planned.runs, tuning)
    assert (cost.trials, cost.tuned_rows) == (3, 3)
    assert cost.trial_steps == 3 * cost.student_steps / 2, "three trials of each row, where two seeds are run"
    assert cost.trial_passes == 3 * cost.teacher_passes / 2
    kept = small.plan(*TUNED)
    assert planning.estimate(kept, kept.runs, tuning_studies.every(kept.runs, kept.spec)).trial_passes == 0
    assert planning.estimate(planned, planned.runs).trials == 0


def test_the_search_space_of_a_row_is_found_once(small, monkeypatch):
    planned = small.plan(*TUNED)
    monkeypatch.setattr(tuning_studies, "_pre_task_requests", lambda *_: pytest.fail("the row was planned already"))
    assert spaces(planned)["logit_kd"] == ["training.lr", "temperature", "alpha"]


def test_the_names_of_key_parts_decide_nothing(small):
    planned = small.plan(*TUNED, "tuning.batch_size=[16, 256]", "selection={epoch: best}", "methods=[finetune]")
    job = planned.runs[0]
    renamed = replace(job, parts={f"other {name}": part for name, part in job.parts.items()})
    assert tuned_batch_sizes(renamed) == [16, 256]
    assert renamed.max_batch_size == 256
    assert renamed.best_epoch
