"""The paper suites: complete, resolvable, with a header that states the differences from the paper."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from harness.planning import figure_matching
from harness.resolution import load, resolve
from tests.support.checkpoint_folders import save_without_values

FOLDER = Path(__file__).parents[2] / "suites"
SUITES = sorted(file.stem for file in FOLDER.glob("paper-*.yaml"))
SHARED = {"paper-tinybert-large": "paper-tinybert", "paper-minilmv2": "paper-minilm"}
"""Suites whose header relies on that of the suite they include."""


def text(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def header(name: str) -> str:
    return "\n".join(line[1:].strip() for line in text(name).split("\n\nname:")[0].splitlines() if line[:1] == "#")


@pytest.fixture
def resolved(tmp_path):
    """Return a function that resolves a suite, with hub models replaced by configurations of the same sizes."""
    from transformers import BertConfig, RobertaConfig

    save_without_values(BertConfig(), tmp_path / "bert-base-uncased")
    save_without_values(RobertaConfig(), tmp_path / "roberta-base")
    small = {"num_hidden_layers": 4, "hidden_size": 312, "num_attention_heads": 12, "intermediate_size": 1200}
    save_without_values(BertConfig(**small), tmp_path / "TinyBERT_General_4L_312D")

    def resolved(name: str):
        available = [folder.name for folder in tmp_path.iterdir()]
        models = load(name).suite.models
        overrides = [
            f"{'teachers' if model in load(name).suite.spec.teachers else 'students'}.{model}."
            f"{'model' if model in load(name).suite.spec.teachers else 'init'}={tmp_path / Path(hub_id).name}"
            for model, hub_id in models.items()
            if Path(hub_id).name in available
        ]
        assert len(overrides) == len(models)
        return resolve(load(name, overrides=overrides), online=False)

    return resolved


def test_every_paper_has_a_suite():
    papers = ("tinybert", "minilm", "minilmv2", "mlkd-bert", "mt-bert", "pkd", "distilbert")
    assert {f"paper-{paper}" for paper in papers} <= set(SUITES)


@pytest.mark.parametrize("name", SUITES)
def test_every_cell_can_run(resolved, name):
    suite = resolved(name)
    assert set(suite.shapes) == {*suite.suite.spec.teachers, *suite.suite.spec.students}
    assert [cell.reason for cell in suite.cells if cell.reason] == []
    assert len(suite.suite.spec.seeds) >= 3


@pytest.mark.parametrize("name", SUITES)
def test_header_states_paper_command_cost_and_differences(name):
    comment = header(name)
    assert text(name).splitlines()[0].startswith("# ")
    assert f"harness plan {name}" in comment
    assert f"harness run {name}" in comment
    assert re.search(r"in steps: [\d. ]+(million)?", comment)
    combined = comment + header(SHARED[name]) if name in SHARED else comment
    assert re.search(r"arXiv \d{4}\.\d{5}", combined)
    assert "From the paper" in combined
    assert "What differs" in combined


def commands() -> list[str]:
    """List the `harness run ... --set` commands of all headers."""
    lines = [line for name in SUITES for line in header(name).replace("\\\n", " ").splitlines()]
    runs = [re.split(r"\s{3,}", line)[0] for line in lines if line.startswith("harness run")]
    return sorted({command for command in runs if "--set" in command})


def test_headers_show_commands_with_overrides():
    assert len(commands()) >= 3


@pytest.mark.parametrize("command", commands())
def test_commands_of_headers_are_valid(command):
    _, _, name, *arguments = shlex.split(command)
    assert arguments[::2] == ["--set"] * (len(arguments) // 2)
    loaded = load(name, overrides=arguments[1::2])
    assert resolve(loaded, online=False).cells


@pytest.mark.parametrize("setting", re.findall(r"--set 'methods=[^']*'", "".join(map(header, SUITES))))
def test_method_overrides_of_headers_are_valid(setting):
    name = next(name for name in SUITES if setting in header(name))
    assert load(name, overrides=[shlex.split(setting)[1]]).suite.variants


def stages(name: str, task: str) -> dict[str, dict[str, float | str]]:
    """Return the stage overrides of the first row of a suite on that task."""
    variant = load(name).suite.variants[0].on(task)
    return {stage: override.model_dump(exclude_none=True) for stage, override in variant.stages.items()}


PASSES = {"cola": 50, "sst2": 20, "mrpc": 20, "stsb": 20, "rte": 20, "qqp": 10, "mnli": 10, "qnli": 10}
"""Epochs of the intermediate stage over the augmented data (section 4.2)."""


@pytest.mark.parametrize("task", PASSES)
def test_tinybert_lengths_and_rates_match_the_paper(task):
    """Augmentation makes 21 rows of a sentence, 41 of a pair."""
    rows = 21 if task in ("cola", "sst2") else 41
    name = "paper-tinybert-large" if task in ("qqp", "mnli", "qnli") else "paper-tinybert"
    assert task in load(name).suite.spec.tasks
    overrides = stages(name, task)
    assert overrides["intermediate"] == {
        "epochs": PASSES[task] * rows,
        "lr": 5e-5,
        "batch_size": 32,
        "schedule": "constant",
        "warmup_ratio": 0,
    }
    prediction = {"epochs": 3, "data": "task"} if task == "stsb" else {"epochs": 3 * rows}
    assert overrides["prediction"] == prediction
    spec = load(name).suite.spec
    assert spec.training.on(task).max_length == (64 if rows == 21 else 128)
    assert (spec.tuning.lr, spec.tuning.batch_size) == ([1e-5, 3e-5], [16, 32])


def test_tinybert_suites_share_all_settings_but_those_of_tasks():
    small, large = (load(name).suite for name in ("paper-tinybert", "paper-tinybert-large"))
    assert {*small.spec.tasks, *large.spec.tasks} == PASSES.keys()
    assert small.variants[0].config == large.variants[0].config
    assert small.variants[0].config.augment is True
    assert small.variants[0].config.regression_loss == "labels"
    assert small.spec.general == large.spec.general


def test_text_stages_have_the_warmup_of_the_papers():
    assert load("paper-minilmv2").suite.spec.general.warmup_ratio == 0.01
    assert load("paper-distilbert").suite.spec.general.warmup_ratio == 0.05
    assert load("paper-distilbert").suite.spec.students["6x768"].init == [1, 3, 5, 8, 10, 12]


def test_pkd_students_copy_the_first_layers():
    spec = load("paper-pkd").suite.spec
    assert {student.init for student in spec.students.values()} == {"first"}
    assert (spec.training.epochs, spec.training.batch_size) == (4, 32)


def test_pkd_options_per_task_match_the_authors_repository():
    rows = {variant.label: variant for variant in load("paper-pkd").suite.variants}
    skip = {
        task: (override.config.temperature, override.config.alpha, override.config.beta, override.config.normalize)
        for task, override in rows["pkd-skip-6"].per_task.items()
    }
    assert skip == {
        "mrpc": (20, 0.7, 1, True),
        "sst2": (10, 0.5, 100, True),
        "rte": (10, 0.7, 500, True),
        "mnli": (10, 0.5, 100, False),
        "qnli": (20, 0.5, 100, False),
        "qqp": (20, 0.7, 100, False),
    }
    rates = {task: override.stages for task, override in rows["pkd-skip-6"].per_task.items()}
    assert {task: stages["distill"].lr for task, stages in rates.items() if stages} == {"mrpc": 2e-5, "rte": 1e-5}
    assert all(rows[label].per_task.keys() == skip.keys() for label in ("kd-6", "kd-3", "pkd-skip-3", "pkd-last-6"))
    pkd = [override.config for row in rows.values() if row.method.name == "pkd" for override in row.per_task.values()]
    assert {(config.beta_scale, config.kd_scale) for config in pkd} == {("code", "code")}


def test_distilbert_minilm_and_tinybert_start_with_a_text_stage():
    for name in ("paper-distilbert", "paper-minilm", "paper-minilmv2", "paper-tinybert"):
        suite = load(name).suite
        assert suite.spec.general is not None
        assert all(variant.general for variant in suite.variants if variant.method.name != "finetune")


def test_paper_suites_show_the_figures_of_their_papers(resolved):
    printed = {(f.label, f.student) for f in figure_matching.matching_figures(resolved("paper-tinybert"))}
    assert printed == {("base", ""), ("tinybert", "4x312"), ("tinybert", "6x768")}
    printed = {(f.label, f.student) for f in figure_matching.matching_figures(resolved("paper-minilmv2"))}
    assert printed == {("base", ""), ("minilmv2", "6x768")}
