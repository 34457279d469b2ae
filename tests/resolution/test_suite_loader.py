"""Loading and resolving valid suites: variants, grids, paths; and all shipped suites."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.api.errors import UserError
from harness.config.setting_types import LABEL
from harness.resolution import load, resolve
from tests.support.checkpoint_folders import save_without_values

SUITES = sorted((Path(__file__).parents[2] / "suites").glob("*.yaml"))

HEAD = """\
name: good
tasks: [sst2, rte]
teachers:
  big: {architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}}
  other: {architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}}
students:
  small: {layers: 2, init: uniform}
  tiny: {layers: 1}
methods:
"""
PLUGIN = """\
from harness import Method, Needs, Problem, Stage, hookimpl, layers

class Odd(Method):
    name = "odd"
    min_teachers, max_teachers = 2, None

    def check(self, task, student, teachers):
        if task.name == "rte":
            return [Problem("odd is for sst2, found rte")]
        if student.layers == 1:
            raise RuntimeError("layers ran out") if MODE == "raise" else ValueError
        return []

    def stages(self):
        top = {"deep": 5, "zero": 0}.get(MODE, 1)
        names = ["a", "a"] if MODE == "twins" else ["a"]
        needs = Needs(["logits"], [layers("hidden", [top])] * (1 if MODE == "lonely" else len(self.teachers)))
        frozen = frozenset({"layer[0]", "layer[1]", "layer[5]"}) if MODE == "frozen" else frozenset()
        start = "best" if MODE == "best" else "last"
        steps = 0 if MODE == "short" else None
        return [Stage(name, needs, steps=steps, frozen=frozen, starts_from=start) for name in names]

    def losses(self, step, batch, student, teachers):
        return {}

@hookimpl
def harness_register_methods(register):
    register(Odd)

@hookimpl
def harness_validate_suite(suite):
    return [Problem("odd does not like this suite", "plugin")] if MODE == "refuse" else []
"""


def variants(write, methods):
    return load(write(HEAD + methods)).suite.variants


def messages(call):
    with pytest.raises(UserError) as caught:
        call()
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("entry", ["- logit_kd", "- logit_kd:", "- logit_kd: {}", "- {logit_kd: null}"])
def test_spellings_of_an_entry_without_options(write, entry):
    (variant,) = variants(write, entry)
    assert (variant.label, variant.teachers, variant.students) == ("logit_kd", ("big",), ("small", "tiny"))
    assert variant.config == variant.method.Config()


def test_reserved_keys_are_separated_from_options(write):
    (variant,) = variants(
        write,
        "- logit_kd: {label: hot, temperature: 9, teachers: [other], students: [tiny], stages: {kd: {lr: 1.0e-3}}}",
    )
    assert (variant.label, variant.teachers, variant.students) == ("hot", ("other",), ("tiny",))
    assert variant.config.temperature == 9
    assert variant.stages["kd"].lr == 1e-3


def test_baseline_without_teachers(write):
    (variant,) = variants(write, "- finetune")
    assert variant.teachers == ()


def test_grid_is_a_product_and_labels_list_varied_options(write):
    rows = variants(
        write, "- tinybert: {label: tb, grid: {attention_loss: [mse, kl], mapping: [[1, 2], last], temperature: [2]}}"
    )
    assert [variant.label for variant in rows] == [
        "tb-attention_loss=mse,mapping=1+2",
        "tb-attention_loss=mse,mapping=last",
        "tb-attention_loss=kl,mapping=1+2",
        "tb-attention_loss=kl,mapping=last",
    ]
    assert all(re.match(LABEL, variant.label) for variant in rows)
    assert {variant.config.temperature for variant in rows} == {2}
    assert [variant.config.attention_loss for variant in rows] == ["mse", "mse", "kl", "kl"]


def test_labels_of_a_grid_contain_no_path_separator(write):
    (message,) = messages(lambda: variants(write, "- tinybert: {grid: {mapping: [../../x, last]}}"))
    assert "mapping.0" in message


def test_too_large_grids_are_rejected(write):
    values = list(range(1, 101))
    (message,) = messages(
        lambda: variants(write, f"- tinybert: {{grid: {{temperature: {values}, attention_weight: {values}}}}}")
    )
    assert "10000 combinations" in message


def test_impossible_cells_have_a_reason(write):
    loaded = load(write(HEAD + "- finetune\n- tinybert: {mapping: [1, 3]}"))
    resolved = resolve(loaded, online=False)
    assert [(c.task.name, c.student, bool(c.reason)) for c in resolved.cells if c.variant.label == "tinybert"] == [
        ("sst2", "small", False),
        ("sst2", "tiny", True),
        ("rte", "small", False),
        ("rte", "tiny", True),
    ]
    assert all(c.reason is None for c in resolved.cells if c.variant.label == "finetune")
    assert resolved.shapes["small"].hidden == resolved.shapes["big"].hidden == 64
    assert not [line for line in resolved.unchecked if "source" not in line]


def test_method_that_fits_no_student_is_an_error_with_all_reasons(write):
    text = HEAD + "- tinybert: {mapping: [1, 2, 3]}\n- finetune"
    (message,) = messages(lambda: resolve(load(write(text)), online=False))
    assert "suite.yaml:10" in message
    assert all(word in message for word in ["fits no student", "small: mapping [1, 2, 3]", "tiny: mapping [1, 2, 3]"])


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("deep", ["fits no student", "small: hidden[5]", "4 layers"]),
        ("zero", ["fits no student", "hidden[0]"]),
        ("twins", ["duplicate stage names", "a, a"]),
        ("frozen", ["fits no student", "small: stage 'a' freezes layer[0], layer[5], but small has 2 layers"]),
        ("best", ["suite.yaml:11", "'odd', stage 'a': starts_from is 'best', but the first stage follows no other"]),
        ("lonely", ["needs outputs of 1 teacher,", "there are 2"]),
        ("short", ["suite.yaml:11", "'odd' failed", "stage 'a': steps is 0", "integer above 0"]),
        ("raise", ["'odd' failed", "RuntimeError: layers ran out"]),
        ("refuse", ["plugin: odd does not like this suite"]),
    ],
)
def test_faults_of_plugins_are_reported(write, mode, words):
    write(f"MODE = {mode!r}\n{PLUGIN}", "odd.py")
    students = "" if mode == "raise" else "{students: [small]}"
    text = HEAD + f"- finetune\n- odd: {students}\nplugins: [odd.py]\n"
    reported = messages(lambda: resolve(load(write(text)), online=False))
    assert [word for word in words if not any(word in line for line in reported)] == [], reported


def test_plugin_paths_are_relative_to_the_suite(write, tmp_path, monkeypatch):
    write("MODE = ''\n" + PLUGIN, "lib/odd.py")
    file = write(HEAD + "- odd: {students: [small]}\nplugins: [odd.py]\n", "lib/suite.yaml")
    monkeypatch.chdir("/")
    loaded = load(file)
    assert loaded.suite.variants[0].teachers == ("big", "other")
    reasons = {cell.task.name: cell.reason for cell in resolve(loaded, online=False).cells}
    assert reasons == {"sst2": None, "rte": "odd is for sst2, found rte"}


def test_plugins_of_the_command_line(write):
    plugin = write("MODE = ''\n" + PLUGIN, "odd.py")
    suite = load(write(HEAD + "- odd: {students: [small]}"), plugins=[str(plugin)]).suite
    assert suite.variants[0].method.name == "odd"


def test_folders_are_searched_in_the_working_folder_then_next_to_the_suite(write, tmp_path, monkeypatch):
    (tmp_path / "here" / "data").mkdir(parents=True)
    (tmp_path / "suites" / "data").mkdir(parents=True)
    (tmp_path / "suites" / "only").mkdir()
    text = HEAD + "- finetune\nsources: {glue: data}\n"
    file = write(text.replace("tiny: {layers: 1}", "tiny: {layers: 1, init: ./only}"), "suites/s.yaml")
    monkeypatch.chdir(tmp_path / "here")
    suite = load(file).suite
    assert suite.sources == {"glue": str(tmp_path / "here" / "data")}
    assert suite.models == {"tiny": str(tmp_path / "suites" / "only")}


def test_folder_without_a_model_is_an_error(write, tmp_path):
    (tmp_path / "empty").mkdir()
    text = HEAD.replace("tiny: {layers: 1}", "tiny: {layers: 1, init: ./empty}") + "- finetune\n"
    (message,) = messages(lambda: resolve(load(write(text)), online=False))
    assert "suite.yaml:8" in message
    assert "config.json" in message


def test_student_has_the_sizes_of_its_init_model(write, tmp_path):
    from transformers import BertConfig

    numbers = {"num_hidden_layers": 1, "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 48}
    save_without_values(BertConfig(**numbers), tmp_path / "own")
    text = HEAD.replace("tiny: {layers: 1}", "tiny: {layers: 1, init: ./own}") + "- finetune\n"
    shape = resolve(load(write(text)), online=False).shapes["tiny"]
    assert (shape.name, shape.layers, shape.hidden, shape.heads, shape.ffn) == ("tiny", 1, 24, 3, 48)
    (message,) = messages(
        lambda: resolve(load(write(text.replace("layers: 1, init", "layers: 2, init"))), online=False)
    )
    assert "students.tiny.init" in message


def test_teacher_without_internal_outputs_is_reported(write, tmp_path):
    from transformers import FunnelConfig

    sizes = {"d_model": 64, "n_head": 4, "d_head": 16, "d_inner": 128, "block_sizes": [2, 2]}
    save_without_values(FunnelConfig(**sizes, architectures=["FunnelModel"]), tmp_path / "deaf")
    text = HEAD.replace("{architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}}", "{model: ./deaf}")
    text = text.replace("init: uniform", "init: random")
    resolved = resolve(load(write(text + "- finetune\n- logit_kd\n- mt_bert: {hidden_loss: false}\n")), online=False)
    assert all(cell.reason is None for cell in resolved.cells)
    (message,) = messages(lambda: resolve(load(write(text + "- tinybert\n")), online=False))
    assert "tinybert fits no student" in message
    assert "cannot be captured from big: a funnel encoder gives only pooled, logits" in message
    (message, *_) = messages(
        lambda: resolve(load(write(text.replace("init: random", "init: first") + "- finetune\n")), online=False)
    )
    assert "layers of big cannot be copied" in message


def test_unchecked_hub_models_are_listed(write):
    text = HEAD.replace("big: {architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}}", "big: {model: nobody/none}")
    resolved = resolve(load(write(text + "- tinybert")), online=False)
    assert all(cell.reason is None for cell in resolved.cells)
    unchecked = "\n".join(resolved.unchecked)
    assert all(
        word in unchecked for word in ["teacher big", "nobody/none", "student small", "source glue", "nyu-mll/glue"]
    )
    assert "big" not in resolved.shapes


@pytest.mark.parametrize("name", ["glue", "glue.yaml", "suites/glue.yaml"])
def test_shipped_suites_are_found_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(name).suite.spec.name == "glue"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gleu", ["no such file", "did you mean 'glue'"]),
        ("suites/gleu.yaml", ["no such file", "did you mean 'glue'"]),
        ("elsewhere/glue.yaml", ["no such file"]),
        ("/glue.yaml", ["no such file"]),
        (".", ["is a folder"]),
    ],
)
def test_missing_suite_files(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (message,) = messages(lambda: load(name))
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.name)
def test_every_shipped_suite_validates(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resolved = resolve(load(file), online=False)
    assert any(cell.reason is None for cell in resolved.cells)
    on_hub = [place for place in [*resolved.suite.models.values(), *resolved.suite.sources.values()] if place[0] != "/"]
    unchecked = "\n".join(resolved.unchecked)
    assert [place for place in on_hub if place not in unchecked] == []


def test_tuning_example_of_the_glue_suite_is_valid():
    (glue,) = [file for file in SUITES if file.name == "glue.yaml"]
    (offered,) = re.findall(r"^# +tuning: (.*)$", glue.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert load(glue).suite.spec.tuning is None
    spec = load(glue, overrides=[f"tuning={offered}"]).suite.spec
    assert spec.tuning.trials == 10
    assert (spec.effective_selection.on, spec.effective_selection.epoch) == ("train", "last")


def test_there_are_shipped_suites():
    assert {"glue.yaml", "squad.yaml"} <= {file.name for file in SUITES}


@pytest.mark.parametrize(
    ("suite", "tasks"),
    [
        ("glue", ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"]),
        ("squad", ["squad", "squad_v2"]),
    ],
)
def test_main_suites_have_every_method_and_their_models_fit(suite, tasks, tmp_path):
    from transformers import BertConfig

    save_without_values(BertConfig(), tmp_path / "bert-base")
    large = {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096}
    save_without_values(BertConfig(num_attention_heads=16, **large), tmp_path / "bert-large")
    tiny = {"num_hidden_layers": 4, "hidden_size": 312, "intermediate_size": 1200}
    save_without_values(BertConfig(num_attention_heads=12, **tiny), tmp_path / "tinybert")
    settings = [f"teachers.{size}.model={tmp_path}/bert-{size}" for size in ("base", "large")]
    settings.append(f"students.4x312.init={tmp_path}/tinybert")
    resolved = resolve(load(suite, overrides=settings), online=False)
    assert [task.name for task in resolved.suite.tasks] == tasks
    named = {variant.method.name for variant in resolved.suite.variants}
    assert {"finetune", "logit_kd", "pkd", "tinybert", "minilm", "mlkd_bert", "mt_bert"} <= named
    obstacles = [(c.task.name, c.variant.label, c.student, c.reason) for c in resolved.cells if c.reason]
    widths = "pkd compares hidden states, which needs equal widths: 4x312 has 312, base has 768"
    assert obstacles == [(task, "pkd", "4x312", widths) for task in tasks]
    assert all(line.startswith("source ") for line in resolved.unchecked)


def test_minilm_glue_has_a_teacher_for_each_seed_and_the_runs_that_its_header_states(tmp_path):
    from transformers import BertConfig

    sizes = {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12}
    save_without_values(BertConfig(**sizes), tmp_path / "minilm")
    settings = [f"teachers.{name}.model={tmp_path}/minilm" for name in ("minilm6", "again")]
    resolved = resolve(load("minilm-glue", overrides=settings), online=False)
    tasks, spec = ["cola", "mrpc", "rte", "stsb", "sst2"], resolved.suite.spec
    assert [task.name for task in resolved.suite.tasks] == tasks
    named = {variant.method.name for variant in resolved.suite.variants}
    assert named == {"finetune", "logit_kd", "pkd", "tinybert", "minilm", "mlkd_bert", "mt_bert"}
    assert all(len(teacher.seeds) == len(spec.seeds) == 3 for teacher in spec.teachers.values())
    without = {(cell.task.name, cell.variant.label, cell.student) for cell in resolved.cells if cell.reason}
    heads = {(task, label, "3x384-3h") for task in tasks for label in ("tinybert", "minilm")}
    assert without == heads | {(task, "pkd", "2x192") for task in tasks}
    (file,) = [file for file in SUITES if file.name == "minilm-glue.yaml"]
    runs = (len(resolved.cells) - len(without)) * len(spec.seeds)
    assert f"{runs} runs, 30 teachers and 15 pairs" in file.read_text(encoding="utf-8")
