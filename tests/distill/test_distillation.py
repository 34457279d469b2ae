"""From a teacher and a CSV file to an exported model, on tiny models."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, pipeline

import harness
from harness.analysis import best_students
from harness.api.errors import UserError
from harness.distill import halving, suite_content
from harness.distill.distillation import _best, _nothing_within, distill, examine, summary_lines
from harness.distill.request import Request
from harness.resolution import load
from tests.support.own_code import give_code
from tests.support.results_factory import SST2, fill, plan
from tests.support.tiny_checkpoints import save_checkpoint

POSITIONS = 40
"""Tokens that the tiny classifier reads."""

PLUGIN = """
from harness import Method, Needs, Stage, hookimpl
from harness.api.losses import task_loss


class Mine(Method):
    name = "mine"
    summary = "fine-tuning under another name"
    min_teachers = max_teachers = 0

    def stages(self):
        return [Stage("finetune", Needs(student=["logits"]))]

    def losses(self, step, batch, student, teachers):
        return {"task": task_loss(student.logits, batch)}


@hookimpl
def harness_register_methods(register):
    register(Mine)
"""

WORDS = ("good", "bad", "film", "plot", "actor", "music", "scene", "ending")


@pytest.fixture
def request_of(tmp_path, monkeypatch):
    """A tiny classifier with the classes no and yes, and 400 labelled texts, in a temporary working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    save_checkpoint(tmp_path / "teacher", "two", positions=POSITIONS)
    rng = random.Random(1)
    texts = [" ".join(rng.choice(WORDS) for _ in range(6)) + f" {index}" for index in range(400)]
    lines = ["review,liked", *(f"{text},{'yes' if text.count('good') > text.count('bad') else 'no'}" for text in texts)]
    (tmp_path / "reviews.csv").write_text("\n".join(lines))

    def make(**options):
        settings = {"name": "reviews", "methods": ("finetune", "logit_kd", "pkd", "tinybert"), "budget": 1.0, **options}
        return Request(teacher="teacher", data="reviews.csv", folder=tmp_path / "out", **settings)

    return make


def execute_in(folder):
    return lambda suite: harness.run(suite, results=folder / "results")


def stop(suite):
    raise KeyboardInterrupt


def test_the_best_candidate_of_the_rungs_is_exported(request_of):
    request = request_of(seeds=(1, 2))
    lines = []
    distilled = distill(request, execute_in(request.folder), lines.append)

    first, last = (yaml.safe_load((request.folder / name).read_text()) for name in ("rung-1.yaml", "suite.yaml"))
    assert first["teachers"]["teacher"]["finetune"] is False
    assert len(first["methods"]) == 3
    assert len(last["methods"]) == 1
    assert (first["seeds"], last["seeds"]) == ([1], [1, 2])

    # The row of the last rung is the one that was best on held-out training examples in the first one.
    runs = harness.load_results(request.results / "reviews-rung-1").summary.results
    held_out = {run.label: max(e.score for e in run.selection.epochs) for run in runs if hasattr(run, "selection")}
    (row,) = last["methods"]
    best = row if isinstance(row, str) else next(iter(row))
    assert held_out[best] == max(held_out.values())
    assert distilled.facts.run.record.label == best

    classifier = pipeline("text-classification", str(distilled.model))
    assert classifier("good good film")[0]["label"] in ("no", "yes")
    card = (distilled.model / "README.md").read_text()
    assert "the teacher" in card
    assert (
        "- `harness distill` compared 3 candidates in 2 rungs. Each rung kept the best by accuracy on held-out training"
        f" examples, where {best} on 1x16 has 0."
    ) in card
    assert "is the only row" not in card
    assert "of a teacher that was fine-tuned before, this is not known" in card
    printed = "\n".join(summary_lines(distilled))
    assert f"{best} on 1x16: accuracy" in printed
    assert "times" in printed, "the speed-up"
    assert str(distilled.model) in printed
    assert "classes: no = no, yes = yes" in lines
    assert any(line.startswith("not compared: pkd on 1x16: ") for line in lines)


def test_what_it_wrote_is_a_suite_whose_runs_are_done(request_of):
    request = request_of(methods=("finetune",), seeds=(1,))
    distilled = distill(request, execute_in(request.folder))
    again = harness.run(distilled.suite, results=request.results)
    assert again.successful
    assert len(harness.load_results(again.folder).runs) == 1


def test_limits_that_nothing_meets_are_an_error_with_what_was_measured(request_of):
    request = request_of(methods=("finetune",), max_seconds=1e-9)
    with pytest.raises(UserError, match=r"limits: the fastest takes .* ms for a text; raise --max-latency"):
        distill(request, execute_in(request.folder))
    with pytest.raises(UserError, match="has as few parameters as 10; the smallest one has"):
        distill(request_of(max_parameters=10), execute_in(request.folder))


def test_a_message_about_limits_names_only_those_that_were_given(request_of):
    candidate = SimpleNamespace(
        parameters=2000, latencies=[SimpleNamespace(seconds=0.001), SimpleNamespace(seconds=0.004)]
    )
    messages = [
        _nothing_within([candidate], request_of(**limits))
        for limits in ({"max_parameters": 1000}, {"max_seconds": 0.002}, {"max_parameters": 1000, "max_seconds": 0.002})
    ]
    assert messages == [
        f"no student is within the limits: {message}"
        for message in (
            "the smallest has 2,000 parameters; raise --max-params",
            "the fastest takes 4.00 ms for a text; raise --max-latency",
            "the smallest has 2,000 parameters, and the fastest takes 4.00 ms for a text; raise --max-params or"
            " --max-latency",
        )
    ]


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_candidate_with_an_undefined_score_is_the_last(
    tmp_path, request_of, monkeypatch, everything, higher_is_better
):
    rows = [halving.Candidate(method, "small") for method in ("finetune", "kd")]
    scores = {"finetune": None, "kd": 0.5}
    monkeypatch.setattr(best_students, "held_out_score", lambda runs: scores[runs[0].label])
    task = SST2.model_copy(update={"higher_is_better": higher_is_better})
    best = _best(fill(tmp_path / "results", plan([task])), rows, request_of(), everything=everything)
    assert best == ([rows[1], rows[0]] if everything else [rows[1]])


def test_an_interrupted_rung_keeps_its_length(request_of):
    request = request_of()

    def epochs_of_the_first_rung():
        with pytest.raises(KeyboardInterrupt):
            distill(request, stop)
        return yaml.safe_load((request.folder / "rung-1.yaml").read_text())["training"]["epochs"]

    epochs = epochs_of_the_first_rung()
    times = request.folder / "rungs.json"
    times.write_text(times.read_text().replace(f'"epochs": {epochs}', '"epochs": 0.75'))
    assert epochs != 0.75
    assert epochs_of_the_first_rung() == 0.75


def test_invalid_data_are_an_error_before_anything_is_written(request_of, tmp_path):
    request = request_of()
    lines = (tmp_path / "reviews.csv").read_text().splitlines()
    (tmp_path / "reviews.csv").write_text("\n".join([*lines, "an unlabelled text,", ",yes"]))
    with pytest.raises(UserError) as error:
        distill(request, execute_in(request.folder))
    assert "line 402, column 'liked': found no label" in str(error.value)
    assert "line 403, column 'review': found an empty text" in str(error.value)
    assert not request.folder.exists()


@pytest.mark.parametrize(
    ("name", "message"), [("my reviews", "--name: invalid name"), ("sst2", "--name: .* --name my-sst2")]
)
def test_the_name_must_be_one_of_a_new_task(request_of, name, message):
    with pytest.raises(UserError, match=message):
        distill(request_of(name=name), execute_in(None))


def test_files_have_any_encoding_and_delimiter(request_of, tmp_path):
    text = (tmp_path / "reviews.csv").read_text().replace(",", ";").replace("good", "très bon")
    (tmp_path / "reviews.csv").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="set `encoding` to"):
        examine(request_of(delimiter=";"))
    with pytest.raises(UserError, match="set `delimiter` to ';'"):
        examine(request_of(encoding="latin-1"))
    request = request_of(encoding="latin-1", delimiter=";", quoting=False)
    setting = examine(request)
    (task,) = suite_content.suite(request, setting, [], name="reviews", epochs=1, seeds=[1])["tasks"]
    assert {key: task["reviews"][key] for key in ("encoding", "delimiter", "quoting")} == {
        "encoding": "latin-1",
        "delimiter": ";",
        "quoting": False,
    }


@pytest.mark.parametrize(
    ("options", "validation", "message"),
    [
        ({"delimiter": ";"}, "review;liked\nx,y\n", "the header is one cell, 'review,liked'.*set --delimiter to ','"),
        ({}, "review;liked\nx;y\n", "more.csv: the header is one cell.*set --delimiter to ';'"),
        ({}, "review,rated\nx,yes\n", r"more.csv: no column 'liked' \(--label\)"),
        ({}, 'review,liked\n"x,yes\n', "more.csv, line 2: .*set --no-quoting if"),
        ({}, "review,liked\né,yes\n", "more.csv, line 2: .*set --encoding to"),
        ({"data": "rows.jsonl", "delimiter": ";"}, None, "^--delimiter: has no meaning for jsonl files"),
    ],
)
def test_messages_about_files_name_options(request_of, tmp_path, options, validation, message):
    if validation is not None:
        (tmp_path / "more.csv").write_text(validation, encoding="latin-1")
    (tmp_path / "rows.jsonl").write_text('{"review": "a film", "liked": "yes"}\n{"review": "b film", "liked": "no"}\n')
    scored = {} if validation is None else {"validation": "more.csv"}
    with pytest.raises(UserError, match=message):
        distill(replace(request_of(**scored), **options), stop)


def test_texts_are_truncated_to_the_length_that_is_asked_for_and_that_the_teacher_reads(request_of):
    lines = []
    for asked, expected in ((128, POSITIONS), (16, 16)):
        request = request_of(max_length=asked)
        setting = examine(request, lines.append)
        content = suite_content.suite(request, setting, [], name="reviews", epochs=1, seeds=[1])
        assert content["training"]["max_length"] == expected
        assert f"texts are truncated to {expected} tokens" in lines


def test_a_method_of_a_plugin_is_compared(request_of, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    request = request_of(methods=("mine",), plugins=("mine.py",))
    with pytest.raises(KeyboardInterrupt):
        distill(request, stop)
    (method,) = load(request.folder / "suite.yaml").suite.variants
    assert method.label == "mine", "the suite names the plugin, so that `harness run` finds it"
    with pytest.raises(UserError, match="nowhere"):
        distill(request_of(plugins=("nowhere.py",)), execute_in(None))


def test_a_teacher_with_code_of_its_own_is_distilled_if_that_is_trusted(request_of, tmp_path):
    request = request_of(methods=("finetune",), seeds=(1,))
    give_code(tmp_path / "teacher")
    with pytest.raises(UserError, match=r"the model has Python code of its own; .* --trust-remote-code"):
        distill(request, stop)
    distilled = distill(replace(request, trust_remote_code=True), execute_in(request.folder))
    assert (distilled.model / "modeling_own.py").is_file()


def test_nothing_is_overwritten(request_of):
    request = request_of()
    request.model.mkdir(parents=True)
    (request.model / "config.json").write_text("{}")
    with pytest.raises(UserError, match="nothing is overwritten"):
        distill(request, execute_in(request.folder))


def test_labels_of_a_teacher_of_several_labels_are_separated(request_of):
    save_checkpoint(request_of().folder.parent / "tagger", "multilabel")
    rows = [f"a {index} loud film,{'cheap;fast' if index % 3 else 'loud'}" for index in range(300)]
    (request_of().folder.parent / "tags.csv").write_text("\n".join(["text,labels", *rows]))
    request = replace(
        request_of(methods=("finetune",), seeds=(1,)), teacher="tagger", data="tags.csv", name="tags", separator=";"
    )
    distilled = distill(request, execute_in(request.folder))
    suite = yaml.safe_load(distilled.suite.read_text())
    assert suite["tasks"][0]["tags"]["kind"] == "multilabel"
    assert distilled.facts.run.record.metrics.keys() >= {"f1_micro"}


@pytest.mark.parametrize(("label", "outputs"), [(lambda row: "abcde"[row % 5], 5), (lambda row: row / 8, 1)])
def test_parameters_are_those_with_the_head_that_the_data_need(request_of, label, outputs):
    folder = request_of().folder.parent
    AutoModel.from_pretrained(folder / "teacher").save_pretrained(folder / "encoder")
    (folder / "rows.csv").write_text("\n".join(["text,label", *(f"film {row},{label(row)}" for row in range(300))]))
    config = AutoConfig.from_pretrained(folder / "encoder", num_labels=outputs)
    parameters = AutoModelForSequenceClassification.from_config(config).num_parameters()

    request = replace(request_of(methods=("finetune",)), teacher="encoder", data="rows.csv")

    def students(limit):
        return examine(replace(request, max_parameters=limit)).students

    setting = examine(request)
    rows = suite_content.candidates(request, setting)
    suite = suite_content.suite(request, setting, rows, name="a", epochs=1, seeds=[1])
    (task,) = suite["tasks"][0].values()
    assert task.get("standardize", False) == (outputs == 1), "labels of a regression may have any size"
    assert list(students(parameters)) == ["1x16"]
    assert list(students(parameters - 1)) == ["1x8"]


@pytest.mark.parametrize(("labels", "classes"), [(("Cheap", "FAST"), {}), (("c", "f"), {"c": "cheap", "f": "fast"})])
def test_labels_of_a_teacher_of_several_labels_may_be_spelled_differently_or_absent(request_of, labels, classes):
    folder = request_of().folder.parent
    save_checkpoint(folder / "tagger", "multilabel")
    rows = [f"a {index} loud film,{labels[0] if index % 3 else ';'.join(labels)}" for index in range(300)]
    (folder / "tags.csv").write_text("\n".join(["text,labels", *rows]))
    request = replace(request_of(), teacher="tagger", data="tags.csv", name="tags", separator=";", classes=classes)
    setting = examine(request)
    assert setting.kind == "multilabel"
    assert list(setting.labels.items()) == [(labels[0], "cheap"), (labels[1], "fast"), ("loud", "loud")]


@pytest.mark.parametrize(
    ("teacher", "options", "message"),
    [
        ("two", {"separator": ";"}, "--separator: only a teacher of several labels .* this is classification"),
        ("regression", {"classes": {"1": "one"}}, "--class: the task is a regression"),
        ("regression", {"separator": ";"}, "--separator: .* this is regression"),
    ],
)
def test_options_about_labels_that_would_be_ignored_are_errors(request_of, teacher, options, message):
    folder = request_of().folder.parent
    save_checkpoint(folder / "other", teacher)
    (folder / "rows.csv").write_text("text,label\n" + "a loud film,1\na film,0\n" * 100)
    with pytest.raises(UserError, match=message):
        examine(replace(request_of(**options), teacher="other", data="rows.csv"))


def test_cells_of_several_labels_without_a_separator_are_an_error_of_the_data(request_of):
    folder = request_of().folder.parent
    save_checkpoint(folder / "tagger", "multilabel")
    (folder / "tags.csv").write_text("text,labels\n" + "a loud film,cheap;fast\n" * 300)
    with pytest.raises(
        UserError, match="found 'cheap;fast', expected a list of labels, or a text that --separator splits"
    ):
        distill(replace(request_of(), teacher="tagger", data="tags.csv", name="tags"), stop)


def test_labels_that_are_no_classes_are_an_error_of_an_option(request_of):
    folder = request_of().folder.parent
    save_checkpoint(folder / "encoder", "two")
    AutoModel.from_pretrained(folder / "encoder").save_pretrained(folder / "encoder")  # without its head
    rows = "".join(f"a loud film,{number}th\n" for number in range(1001))
    (folder / "rows.csv").write_text(f"text,label\n{rows}")
    with pytest.raises(UserError, match=r"^--data: .* found 1001 classes"):
        distill(replace(request_of(), teacher="encoder", data="rows.csv"), stop)
