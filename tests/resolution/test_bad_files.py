"""Invalid suite files and the words that their messages must contain."""

from __future__ import annotations

import re

import pytest

HEAD = """\
name: good
tasks: [sst2, rte]
teachers:
  big: {architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}}
"""
STUDENTS = """\
students:
  small: {layers: 2, init: uniform}
"""
METHODS = """\
methods: [finetune, logit_kd]
"""
GOOD = HEAD + STUDENTS + METHODS

# Text appended to the valid suite (from line 8), and words of the resulting message.
APPENDED = {
    "unknown top key": ("taks: [sst2]", ["suite.yaml:8", "taks", "unknown key", "did you mean 'tasks'"]),
    "key of no near spelling": ("zzz: 1", ["suite.yaml:8", "zzz", "allowed:", "students"]),
    "duplicate key": ("name: again", ["suite.yaml:8", "duplicate key 'name'", "suite.yaml:1"]),
    "nested duplicate": ("training:\n  lr: 0.1\n  lr: 0.2", ["suite.yaml:10", "duplicate key 'lr'", "suite.yaml:9"]),
    "unknown training key": ("training:\n  epohcs: 3", ["suite.yaml:9", "training.epohcs", "'epochs'"]),
    "unknown limit key": ("training:\n  limit: {trian: 3}", ["suite.yaml:9", "training.limit.trian", "'train'"]),
    "no epochs": ("training:\n  epochs: 0", ["suite.yaml:9", "training.epochs", "greater than 0", "found 0"]),
    "text for a number": ("training: {lr: fast}", ["suite.yaml:8", "training.lr", "a number", "'fast'"]),
    "truth for a number": ("training: {epochs: true}", ["training.epochs", "a number", "found true"]),
    "fraction for a whole": ("training: {batch_size: 1.5}", ["training.batch_size", "an integer", "1.5"]),
    "small budget": ("training: {token_budget: 64}", ["suite.yaml:8", "token_budget is 64", "max_length (128)"]),
    "huge rate": ("training: {lr: 3}", ["training.lr", "less than or equal to 1", "found 3"]),
    "not finite": ("training: {epochs: 1e999}", ["suite.yaml:8", "1e999", "is not a finite number"]),
    "task of training that there is none": (
        "training: {per_task: {sst3: {epochs: 2}}}",
        ["suite.yaml:8", "training.per_task.sst3", "unknown task 'sst3'", "did you mean 'sst2'"],
    ),
    "unknown key of a task": (
        "training: {per_task: {rte: {epohcs: 2}}}",
        ["suite.yaml:8", "training.per_task.rte.epohcs", "did you mean 'epochs'"],
    ),
    "precision of a task": (
        "training: {per_task: {rte: {precision: bf16}}}",
        ["per_task.rte.precision", "unknown key"],
    ),
    "a task without a rate": (
        "training: {per_task: {rte: {lr: null}}}",
        ["training.per_task.rte.lr", "found null: give a value"],
    ),
    "small budget of a task": (
        "training: {per_task: {rte: {token_budget: 64}}}",
        ["suite.yaml:8", "training", "on rte: token_budget is 64", "max_length (128)"],
    ),
    "unknown schedule": ("training: {schedule: cosin}", ["training.schedule", "did you mean 'cosine'"]),
    "warm-up of everything": ("training: {warmup_ratio: 1}", ["training.warmup_ratio", "less than 1"]),
    "rate of a task out of range": (
        "training: {per_task: {rte: {lr: 1e-2}}}\ntuning: {trials: 3, lr: [1e-5, 1e-3]}",
        ["tuning.lr", "training.per_task.rte.lr is 0.01", "from 1e-05 to 0.001"],
    ),
    "unknown precision": ("training: {precision: fp8}", ["training.precision", "'fp32', 'bf16' or 'fp16'", "'fp8'"]),
    "section that is a list": ("training: [1]", ["suite.yaml:8", "training", "a mapping", "a list"]),
    "unknown backend": ("latency: {backends: [egaer]}", ["latency.backends.0", "'egaer'", "did you mean 'eager'"]),
    "no lengths": ("latency: {lengths: []}", ["latency.lengths", "is empty"]),
    "no seed": ("seeds: []", ["suite.yaml:8", "seeds", "is empty"]),
    "seed twice": ("seeds:\n  - 1\n  - 1", ["suite.yaml:10", "seeds.1", "duplicate value 1"]),
    "negative seed": ("seeds: [-1]", ["seeds.0", "found -1"]),
    "device": ("device: gpu", ["device", "cpu, cuda, cuda:N or mps", "'gpu'"]),
    "yes is a word": ("trust_remote_code: yes", ["trust_remote_code", "true or false", "'yes'"]),
    "unknown source": ("sources: {gleu: a/b}", ["sources.gleu", "did you mean 'glue'"]),
    "source nowhere": ("sources: {glue: ./nowhere}", ["sources.glue", "./nowhere", "folder not found"]),
    "source that is a file": ("sources: {glue: ./suite.yaml}", ["sources.glue", "suite.yaml is not a folder"]),
    "source of no form": ("sources: {glue: a/b/c}", ["sources.glue", "'a/b/c'", "nor a hub id"]),
    "plugin nowhere": ("plugins: [mine.py]", ["suite.yaml:8", "plugins.0", "file or folder not found", "mine.py"]),
    "unknown key of selection": ("selection: {shar: 0.1}", ["suite.yaml:8", "selection.shar", "did you mean 'share'"]),
    "selection on what": (
        "selection: {on: test}",
        ["suite.yaml:8", "selection.on", "'train' or 'validation'", "'test'"],
    ),
    "selection by a word": ("selection: validaton", ["suite.yaml:8", "selection", "did you mean 'validation'"]),
    "selection that is a list": ("selection: [train]", ["suite.yaml:8", "selection", "a mapping", "a list"]),
    "too much held out": ("selection: {share: 0.3}", ["selection.share", "less than or equal to 0.2", "found 0.3"]),
    "nothing held out": ("selection: {share: 0}", ["selection.share", "greater than 0", "found 0"]),
    "which epoch": ("selection: {epoch: first}", ["selection.epoch", "'best' or 'last'", "'first'"]),
    "a share of nothing": (
        "selection: {on: validation, share: 0.1}",
        ["suite.yaml:8", "selection", "`on: validation` holds nothing out", "remove share"],
    ),
    "tuning without trials": ("tuning: {seed: 2}", ["suite.yaml:8", "tuning", "key 'trials' is missing"]),
    "unknown key of tuning": ("tuning: {trials: 3, sed: 1}", ["tuning.sed", "did you mean 'seed'"]),
    "tuning of one trial": ("tuning: {trials: 1}", ["suite.yaml:8", "tuning.trials", "equal to 2, found 1"]),
    "tuning that is a number": ("tuning: 3", ["suite.yaml:8", "tuning", "a mapping", "found 3"]),
    "rates upside down": (
        "tuning: {trials: 3, lr: [1e-3, 1e-5]}",
        ["suite.yaml:8", "tuning", "lr: expected two rates", "[0.001, 1e-05]"],
    ),
    "one rate": ("tuning: {trials: 3, lr: [1e-3]}", ["tuning", "lr: expected two rates", "found [0.001]"]),
    "rate of text": ("tuning: {trials: 3, lr: automatic}", ["tuning.lr", "expected a list"]),
    "no rate": ("tuning: {trials: 3, lr: [0, 1e-3]}", ["tuning.lr", "greater than 0, found 0"]),
    "rates without the suite's": (
        "tuning:\n  trials: 3\n  lr: [1e-5, 4e-5]",
        ["suite.yaml:10", "tuning.lr", "training.lr is 5e-05, which is not in the range from 1e-05 to 4e-05"],
    ),
    "rates with an integer": (
        "tuning:\n  trials: 3\n  lr: [1e-3, 1]",
        ["suite.yaml:10", "tuning.lr", "training.lr is 5e-05, which is not in the range from 0.001 to 1"],
    ),
    "general without steps": ("general: {data: a/b}", ["suite.yaml:8", "general", "'steps' is missing"]),
    "unknown key of general": ("general: {data: a/b, steps: 9, colum: c}", ["general.colum", "did you mean 'column'"]),
    "text nowhere": ("general: {data: ./none.txt, steps: 9}", ["general.data", "'./none.txt'", "file not found"]),
    "text of no form": ("general: {data: a/b/c, steps: 9}", ["general.data", "'a/b/c'", "nor a hub id"]),
    "negative cache": ("teacher_cache: {max_gb: -1}", ["teacher_cache.max_gb", "found -1"]),
    "number as a key": ("1: x", ["suite.yaml:8", "keys must be strings", "1", "quotes"]),
    "merge key": ("<<: {a: 1}", ["suite.yaml:8", "<<", "include"]),
    "tab": ("training:\n\tlr: 0.1", ["suite.yaml:9", "invalid YAML"]),
    "open bracket": ("seeds: [1, 2", ["suite.yaml:", "invalid YAML"]),
    "two documents": ("---\nname: x", ["suite.yaml:", "invalid YAML", "single document"]),
}

# Another `students` section (from line 5).
STUDENT_ROWS = {
    "unknown student key": ("  s: {layers: 2, hiden: 64}", ["suite.yaml:6", "students.s.hiden", "'hidden'"]),
    "no layers": ("  s: {hidden: 64}", ["suite.yaml:6", "students.s", "'layers' is missing"]),
    "zero layers": ("  s: {layers: 0}", ["students.s.layers", "greater than 0", "found 0"]),
    "heads of broken width": ("  s: {layers: 2, hidden: 50, heads: 4}", ["students.s.heads", "50", "4"]),
    "heads against the teacher's width": ("  s: {layers: 2, heads: 5}", ["students.s.heads", "64", "5"]),
    "uniform that does not divide": ("  s: {layers: 3, init: uniform}", ["students.s.init", "4 layers", "3"]),
    "deeper than the teacher": ("  s: {layers: 9, init: first}", ["students.s.init", "9", "4"]),
    "other width, copied": ("  s: {layers: 2, hidden: 32, init: last}", ["students.s.init", "32", "64"]),
    "layers that are not there": ("  s: {layers: 2, init: [1, 7]}", ["students.s.init", "7", "1 to 4"]),
    "layers of another number": ("  s: {layers: 2, init: [1]}", ["students.s.init", "1 layer, but", "2"]),
    "layer zero": ("  s: {layers: 1, init: [0]}", ["students.s.init", "greater than 0", "found 0"]),
    "misspelt init": ("  s: {layers: 2, init: unifrom}", ["students.s.init", "'unifrom'", "'uniform'"]),
    "init nowhere": ("  s: {layers: 2, init: ./none}", ["students.s.init", "./none", "folder not found"]),
    "init that is a map": (
        "  s: {layers: 2, init: {a: 1}}",
        ["students.s.init", "a string", "a list", "found a mapping"],
    ),
    "name that climbs": ("  ../s: {layers: 2}", ["students.../s", "a name of letters", "'../s'"]),
    "name that is absolute": ("  /tmp/s: {layers: 2}", ["students./tmp/s", "a name of letters"]),
    "name of a teacher": ("  big: {layers: 2}", ["suite.yaml:6", "students.big", "duplicate name: a teacher has it"]),
    "none": ("  {}", ["students", "is empty"]),
}

# Another `methods` section (from line 7).
METHOD_ROWS = {
    "unknown method": ("- finetun", ["suite.yaml:8", "'finetun'", "did you mean 'finetune'"]),
    "unknown option": ("- logit_kd: {temprature: 4}", ["suite.yaml:8", "methods.logit_kd.temprature", "'temperature'"]),
    "bad option": ("- logit_kd: {temperature: hot}", ["methods.logit_kd.temperature", "number", "'hot'"]),
    "option out of range": ("- logit_kd: {temperature: -1}", ["methods.logit_kd.temperature", "found -1"]),
    "general of whom": ("- finetune: {general: true}", ["methods.finetune.general", "no stage on unlabelled text"]),
    "assistant without text": ("- minilm: {assistant: true}", ["methods.minilm.assistant", "the suite has none; add"]),
    "general without text": ("- tinybert: {general: true}", ["methods.tinybert.general", "the suite has no text; add"]),
    "options that are a list": ("- logit_kd: [4]", ["methods.logit_kd", "a mapping", "a list"]),
    "two methods in one entry": ("- finetune:\n  logit_kd:", ["suite.yaml:8", "one method", "'logit_kd'"]),
    "entry that is a number": ("- finetune\n- 3", ["suite.yaml:9", "expected a name", "found 3"]),
    "same label": ("- finetune\n- finetune", ["suite.yaml:9", "duplicate label 'finetune'", "suite.yaml:8", "label:"]),
    "label that climbs": ("- finetune: {label: ../../x}", ["methods.finetune.label", "a name of letters", "'../../x'"]),
    "unknown student": ("- finetune: {students: [smal]}", ["methods.finetune.students.0", "did you mean 'small'"]),
    "no student": ("- finetune: {students: []}", ["methods.finetune.students", "is empty"]),
    "student twice": (
        "- finetune: {students: [small, small]}",
        ["methods.finetune.students.1", "duplicate student 'small'"],
    ),
    "unknown teacher": ("- logit_kd: {teachers: [bgi]}", ["methods.logit_kd.teachers.0", "did you mean 'big'"]),
    "teacher of a baseline": ("- finetune: {teachers: [big]}", ["methods.finetune.teachers", "no teacher", "found 1"]),
    "no teacher": ("- logit_kd: {teachers: []}", ["methods.logit_kd.teachers", "one teacher", "found 0"]),
    "unknown grid option": ("- logit_kd: {grid: {tau: [1]}}", ["methods.logit_kd.grid.tau", "unknown option"]),
    "bad grid value": ("- logit_kd: {grid: {alpha: [0.5, 2]}}", ["methods.logit_kd.grid.alpha.1", "found 2"]),
    "empty grid option": ("- logit_kd: {grid: {alpha: []}}", ["methods.logit_kd.grid.alpha", "is empty"]),
    "empty grid": ("- logit_kd: {grid: {}}", ["methods.logit_kd.grid", "is empty"]),
    "grid value twice": ("- logit_kd: {grid: {alpha: [0.5, 0.5]}}", ["duplicate label 'logit_kd-alpha=0.5'"]),
    "unknown task of options": (
        "- logit_kd: {per_task: {rtee: {alpha: 1}}}",
        ["methods.logit_kd.per_task.rtee", "did you mean 'rte'"],
    ),
    "unknown option of a task": (
        "- logit_kd: {per_task: {rte: {alhpa: 1}}}",
        ["methods.logit_kd.per_task.rte.alhpa", "did you mean 'alpha'"],
    ),
    "option of a task out of range": (
        "- logit_kd: {per_task: {rte: {alpha: 2}}}",
        ["methods.logit_kd.per_task.rte.alpha", "less than or equal to 1"],
    ),
    "option of a task in the grid": (
        "- logit_kd: {grid: {alpha: [0.5]}, per_task: {rte: {alpha: 1}}}",
        ["methods.logit_kd.per_task.rte.alpha", "is in the grid"],
    ),
    "unknown stage of a task": (
        "- logit_kd: {per_task: {rte: {stages: {distil: {epochs: 1}}}}}",
        ["methods.logit_kd.per_task.rte.stages.distil", "did you mean 'distill'"],
    ),
    "augmented data of a method that makes none": (
        "- logit_kd: {stages: {distill: {data: augmented}}}",
        ["methods.logit_kd.stages.distill.data", "makes no augmented data for a classification task"],
    ),
    "fixed and in the grid": ("- logit_kd: {alpha: 0.5, grid: {alpha: [0.1]}}", ["grid.alpha", "both fixed and"]),
    "unknown stage": ("- tinybert: {stages: {pre: {epochs: 1}}}", ["methods.tinybert.stages.pre", "intermediate"]),
    "unknown stage key": ("- tinybert: {stages: {prediction: {epoch: 1}}}", ["stages.prediction.epoch", "'epochs'"]),
    "stage of two lengths": ("- tinybert: {stages: {prediction: {epochs: 1, steps: 2}}}", ["`epochs` or as `steps`"]),
    "none": ("  []", ["methods", "is empty"]),
}

# Another head (from line 1).
HEADS = {
    "name that climbs": ("name: ../up\ntasks: [sst2]", ["suite.yaml:1", "name", "a name of letters", "'../up'"]),
    "name that is absolute": ("name: /etc\ntasks: [sst2]", ["suite.yaml:1", "name", "'/etc'"]),
    "name that is hidden": ("name: ..\ntasks: [sst2]", ["suite.yaml:1", "name", "'..'"]),
    "name with a line": ('name: "a\\n"\ntasks: [sst2]', ["suite.yaml:1", "name"]),
    "long name": (f"name: {'x' * 81}\ntasks: [sst2]", ["suite.yaml:1", "name", "80"]),
    "no name": ("tasks: [sst2]", ["suite.yaml:1", "'name' is missing"]),
    "no tasks": ("name: x", ["suite.yaml:1", "'tasks' is missing"]),
    "empty tasks": ("name: x\ntasks: []", ["suite.yaml:2", "tasks", "is empty"]),
    "unknown task": ("name: x\ntasks:\n- sst2\n- sst3", ["suite.yaml:4", "tasks.1", "'sst3'", "did you mean 'sst2'"]),
    "task twice": ("name: x\ntasks: [sst2, sst2]", ["suite.yaml:2", "tasks.1", "duplicate value 'sst2'"]),
    "task that is a number": ("name: x\ntasks: [5]", ["suite.yaml:2", "tasks.0", "a string", "found 5"]),
    "tasks that are a word": ("name: x\ntasks: sst2", ["suite.yaml:2", "tasks", "a list", "'sst2'"]),
}

# Another `teachers` section (from line 3).
TEACHERS = {
    "model and architecture": (
        "  t: {model: a/b, architecture: {layers: 1, hidden: 4, heads: 1, ffn: 4}}",
        ["suite.yaml:4", "teachers.t", "exactly one of `model`, `architecture` and `row`", "model and architecture"],
    ),
    "neither": ("  t: {epochs: 3}", ["suite.yaml:4", "teachers.t", "exactly one of", "found none"]),
    "no width": ("  t: {architecture: {layers: 1, heads: 1, ffn: 4}}", ["teachers.t.architecture", "'hidden' is miss"]),
    "broken width": (
        "  t: {architecture: {layers: 1, hidden: 10, heads: 4, ffn: 4}}",
        ["teachers.t.architecture", "10", "4 heads"],
    ),
    "seed and seeds": (
        "  t: {model: a/b, seed: 1, seeds: [1, 2, 3]}",
        ["teachers.t", "`seed`", "`seeds`", "found both"],
    ),
    "more teachers than seeds": (
        "  t: {model: a/b, seeds: [1, 2, 3, 4]}",
        ["suite.yaml:4", "teachers.t.seeds", "has 4 seeds", "`seeds` has 3", "k-th run", "one `seed`"],
    ),
    "one teacher twice": ("  t: {model: a/b, seeds: [7, 2, 7]}", ["teachers.t.seeds.2", "duplicate value 7"]),
    "no teacher seed": ("  t: {model: a/b, seeds: []}", ["teachers.t.seeds", "is empty"]),
    "negative teacher seed": ("  t: {model: a/b, seeds: [1, -2, 3]}", ["teachers.t.seeds.1", "found -2"]),
    "unknown floor": ("  t: {model: a/b, floor: {sst: 0.9}}", ["teachers.t.floor.sst", "did you mean 'sst2'"]),
    "floor in percent": ("  t: {model: a/b, floor: {sst2: 91}}", ["teachers.t.floor.sst2", "found 91", "write 0.91"]),
    "floor as a fraction": ("  t: {model: a/b, floor: {squad: 0.88}}", ["teachers.t.floor.squad", "write 88"]),
    "floor of no number": ("  t: {model: a/b, floor: {sst2: high}}", ["teachers.t.floor.sst2", "a number", "'high'"]),
    "model nowhere": ("  t: {model: /no/such/model}", ["teachers.t.model", "/no/such/model", "folder not found"]),
    "model of no form": ("  t: {model: a b}", ["teachers.t.model", "'a b'", "hub id"]),
    "nothing": ("  t:", ["suite.yaml:4", "teachers.t", "a mapping", "null"]),
    "none that logit_kd could take": ("  {}", ["methods.logit_kd", "one teacher", "has 0"]),
}


def rows():
    for title, (text, words) in APPENDED.items():
        yield pytest.param(GOOD + text + "\n", words, id=title)
    for title, (text, words) in STUDENT_ROWS.items():
        yield pytest.param(f"{HEAD}students:\n{text}\n{METHODS}", words, id=f"students: {title}")
    for title, (text, words) in METHOD_ROWS.items():
        yield pytest.param(f"{HEAD}{STUDENTS}methods:\n{text}\n", words, id=f"methods: {title}")
    for title, (text, words) in HEADS.items():
        yield pytest.param(
            f"{text}\nstudents: {{s: {{layers: 2, hidden: 8, heads: 2, ffn: 8}}}}\nmethods: [finetune]\n",
            words,
            id=title,
        )
    for title, (text, words) in TEACHERS.items():
        student = "students: {s: {layers: 2, hidden: 64, heads: 4, ffn: 128}}"
        yield pytest.param(
            f"name: x\ntasks: [sst2]\nteachers:\n{text}\n{student}\n{METHODS}", words, id=f"teachers: {title}"
        )


@pytest.mark.parametrize(("text", "words"), list(rows()))
def test_invalid_suites_report_one_problem_with_line_key_and_remedy(suite_problems, text, words):
    reported = suite_problems(text)
    assert len(reported) == 1, reported
    assert [word for word in words if word not in reported[0]] == [], reported[0]
    assert re.match(r"suite\.yaml:\d+: ", reported[0])


def test_a_name_that_is_too_long_for_a_folder_is_reported(suite_problems):
    (problem,) = suite_problems(GOOD.replace("name: ", "name: " + 300 * "x", 1))
    assert problem.startswith("suite.yaml:1: name: should have at most 80 characters")


def test_valid_suite_has_no_problems(suite_problems):
    assert suite_problems(GOOD) == []


def test_all_problems_are_reported_in_the_order_of_the_file(suite_problems):
    reported = suite_problems(
        """\
name: a/b
tasks: [sst3]
teachers:
  big: {architecture: {layers: 4, hidden: 64, heads: 5, ffn: 128}, lrr: 1}
students:
  small: {layers: 0, init: unifrom}
methods:
- logit_kd: {temprature: 4}
- logit_kd: {label: ok, teachers: [bigg], students: [smal]}
- nothing
training: {epohcs: 1, precision: fp8}
tuning: {}
extra: 1
"""
    )
    words = [
        "'a/b'",
        "sst3",
        "heads",
        "lrr",
        "found 0",
        "temprature",
        "bigg",
        "smal",
        "'nothing'",
        "epohcs",
        "fp8",
        "tuning",
    ]
    assert [word for word in [*words, "extra"] if not any(word in line for line in reported)] == []
    lines = [int(line.split(":")[1]) for line in reported]
    assert lines == sorted(lines)


def test_unknown_method_lists_plugins_that_could_not_be_loaded(suite_problems, monkeypatch):
    from harness.plugin_host.host import Host

    create = Host.create

    def with_a_broken_plugin(paths=()):
        host = create(paths)
        host.broken["pkd_plus"] = "cannot be imported: ModuleNotFoundError: No module named 'pkd'"
        return host

    monkeypatch.setattr(Host, "create", with_a_broken_plugin)
    (message,) = suite_problems(GOOD.replace("logit_kd", "pkd_plus"))
    assert "unknown method 'pkd_plus'" in message
    assert "No module named 'pkd'" in message


@pytest.mark.parametrize(
    "value", ['""', '"  "', '"a\\0b"', '"./a\\0b"', "~nobody-of-this-name/x", f"./{'x' * 5000}", "x" * 5000]
)
@pytest.mark.parametrize("key", ["model", "init", "glue", "plugins", "include"])
def test_invalid_paths_are_reported(suite_problems, key, value):
    texts = {
        "model": f"name: x\ntasks: [sst2]\nteachers: {{t: {{model: {value}}}}}\n{STUDENTS}{METHODS}",
        "init": f"{HEAD}students: {{s: {{layers: 2, init: {value}}}}}\n{METHODS}",
        "glue": f"{GOOD}sources: {{glue: {value}}}\n",
        "plugins": f"{GOOD}plugins: [{value}]\n",
        "include": f"{GOOD}include: {value}\n",
    }
    (message,) = suite_problems(texts[key])
    assert key in message
    assert len(message) < 1000
