"""Fine-tuned checkpoints as teachers of a suite, from validation to the board."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from harness.analysis.aggregate import summarize
from harness.api.errors import UserError
from harness.execution import teacher_runs
from harness.models import tokenizers
from harness.prediction import loaded_model
from harness.reporting import board, formats
from harness.resolution import resolve
from harness.storage.run_lookup import find_run
from tests.support.own_code import give_code
from tests.support.run_watcher import Watcher

TEACHER = "teachers={base: {model: ./classifier, finetune: false}}"
WORDS = "sun lamp fire night cave coal tree road hand song"
NAMES = ("dark", "bright")


def examples(small):
    (task,) = small.load().suite.tasks
    rows = task.load(None).validation["validation"]
    return list(rows["text"]), torch.tensor(rows["label"])


def save_classifier(small, folder="classifier", *, names=NAMES, seed=0):
    """A tiny BERT whose head is fitted to the validation examples by least squares, with the task's order of classes.

    `names` are the names in its config.json, in the order of its outputs.
    """
    tokenizer = tokenizers.whole_word([WORDS])
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), **sizes, num_labels=2, initializer_range=0.2)
    config.id2label, config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config).eval()
    texts, labels = examples(small)
    with torch.no_grad():
        states = model.bert(**tokenizer(texts, padding=True, return_tensors="pt")).pooler_output
        ones = torch.ones(len(labels), 1)
        targets = torch.nn.functional.one_hot(labels, 2).float()
        fitted = torch.linalg.lstsq(torch.cat([states, ones], 1), targets).solution
        model.classifier.weight.copy_(fitted[:-1].T)
        model.classifier.bias.copy_(fitted[-1])
    model.save_pretrained(small.folder / folder)
    tokenizer.save_pretrained(small.folder / folder)
    return model


def accuracy(small, folder="classifier", order=(0, 1)):
    """The accuracy of the checkpoint as plain transformers computes it."""
    model = AutoModelForSequenceClassification.from_pretrained(small.folder / folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(small.folder / folder)
    texts, labels = examples(small)
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, list(order)]
    return (logits.argmax(-1) == labels).double().mean().item()


def configure(small, **fields):
    path = small.folder / "classifier" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def printed_board(small):
    return formats.markdown(board.build(summarize(small.store())))


def teacher_keys(small, *overrides):
    return [job.key for job in small.plan(*overrides).teachers]


def test_a_suite_end_to_end(small):
    save_classifier(small, names=("DARK", "Bright"))
    watcher, methods = Watcher(), "methods=[finetune, logit_kd]"
    assert not small.run(TEACHER, methods, "seeds=[1]", observers=(watcher,)).failed
    assert watcher.started == ["finetune", "logit_kd"], "no teacher is trained"
    (teacher,) = small.store().teachers()
    assert teacher.score == pytest.approx(accuracy(small))
    assert teacher.score > 0.7
    assert (teacher.finetune, teacher.seed, teacher.cost.steps, teacher.cost.wall_seconds) == (False, None, 0, 0)
    assert teacher.warnings == []
    distilled = next(record for record in small.store().records() if record.label == "logit_kd")
    assert (distilled.teachers, distilled.teacher_seeds) == (["base"], [None])
    student = small.store().run_folder(distilled.key) / "student"
    assert AutoModelForSequenceClassification.from_pretrained(student).config.id2label == {0: "dark", 1: "bright"}
    text = printed_board(small)
    (cost,) = [line for line in text.split("## Size and cost")[1].split("\n") if "*base*" in line]
    assert [cell.strip() for cell in cost.split("|")][5:7] == ["–", "1 of 1"]
    assert (
        "- Head of teacher base: order: used with its own head, not fine-tuned; its classes are named DARK, Br" in text
    )

    shutil.move(small.folder / "classifier", small.folder / "moved")
    moved = TEACHER.replace("./classifier", "./moved")
    again = Watcher()
    small.run(moved, methods, "seeds=[1]", observers=(again,))
    assert again.started == [], "a moved folder is the same teacher"


def test_the_wrong_order_of_classes_is_noticed_and_corrected(small, caplog):
    save_classifier(small, names=("bright", "dark"))  # the outputs mean dark, bright
    methods = ("methods=[finetune]", "seeds=[1]", "training.epochs=0.2")
    small.run(TEACHER, *methods)
    (wrong,) = small.store().teachers()
    assert wrong.score == pytest.approx(1 - accuracy(small))
    assert wrong.head.endswith("reordered from bright, dark to dark, bright")
    (warning,) = wrong.warnings
    assert "`teachers.base.labels: [dark, bright]`" in warning
    assert f"{accuracy(small):.1%}" in warning
    assert warning in caplog.text
    assert "the head of teacher base seems to be permuted" in printed_board(small)

    stated = TEACHER.replace("false", "false, labels: [dark, bright]")
    small.run(stated, *methods)
    (right,) = [teacher for teacher in small.store().teachers() if teacher.key != wrong.key]
    assert right.score == pytest.approx(accuracy(small))
    assert right.warnings == []
    assert teacher_keys(small, stated) == teacher_keys(
        small, stated.replace("[dark, bright]", "{order: [dark, bright]}")
    )


def declared(small, metric):
    """Overrides for a declared task with the examples of the suite, scored by `metric`."""
    texts, labels = examples(small)
    rows = [{"text": text, "label": NAMES[label]} for text, label in zip(texts, labels.tolist(), strict=True)]
    (small.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = f"train: {small.folder}/rows.jsonl, validation: {small.folder}/rows.jsonl"
    task = f"kind: classification, {files}, text: text, label: label, labels: [dark, bright], metrics: [{metric}]"
    return f"tasks=[rows: {{{task}}}]", TEACHER, "methods=[finetune]", "seeds=[1]", "training.epochs=0.2"


@pytest.mark.parametrize("is_old", [False, True])
def test_another_metric_of_a_declared_task_scores_the_teacher_again(small, is_old):
    save_classifier(small)
    small.run(*declared(small, "accuracy"))
    (before,) = small.store().teachers()
    assert before.metrics.keys() == {"accuracy"}
    if is_old:
        record = small.store().folder_of(before) / "record.json"
        (record.parent / "checksums.json").unlink()
        record.write_text(before.model_copy(update={"scoring": None}).model_dump_json())
    assert not small.run(*declared(small, "f1")).failed
    (after,) = small.store().teachers()
    assert (after.key, after.metrics.keys()) == (before.key, {"f1"})
    assert printed_board(small), "its results are comparable"
    watcher = Watcher()
    small.run(*declared(small, "f1"), observers=(watcher,))
    assert small.store().teachers() == [after]
    assert watcher.started == []


def test_the_contents_of_the_checkpoint_decide_its_key(small):
    save_classifier(small)
    (first,) = teacher_keys(small, TEACHER)
    stated = TEACHER.replace("false", "false, labels: [DARK, Bright]")
    assert teacher_keys(small, stated) == [first], "the same order, stated or named"
    assert teacher_keys(small, TEACHER, "training.epochs=2", "training.precision=bf16") == [first]
    assert teacher_keys(small, TEACHER, "training.max_length=15") != [first]
    configure(small, attention_probs_dropout_prob=0.0)
    assert teacher_keys(small, TEACHER) != [first]


def test_both_sources_of_copied_layers_are_the_checkpoint(small):
    save_classifier(small)
    student = "students={1x32: {layers: 1, init: uniform, init_from: pretrained}}"
    plans = [small.plan(TEACHER, student.replace("pretrained", source)) for source in ("pretrained", "teacher")]
    assert [job.planned.key for job in plans[0].runs] == [job.planned.key for job in plans[1].runs]


@pytest.mark.parametrize(
    ("teacher", "student", "fine_tuned"),
    [
        ("model: ./classifier", "init: uniform", False),
        ("model: ./classifier", "init: uniform, init_from: teacher", True),
        ("model: ./classifier", "init: random", False),
        ("model: ./classifier", "init: ./classifier", False),
        ("model: ./classifier, finetune: false", "init: uniform, init_from: teacher", False),
        ("architecture: {layers: 2, hidden: 32, heads: 2, ffn: 64}", "init: uniform", True),
        ("architecture: {layers: 2, hidden: 32, heads: 2, ffn: 64}", "init: random", False),
        ("architecture: {layers: 2, hidden: 32, heads: 2, ffn: 64}", "init: ./classifier", False),
    ],
)
def test_a_key_names_the_fine_tuned_teacher_if_its_layers_are_copied(small, teacher, student, fine_tuned):
    save_classifier(small)
    plan = small.plan(f"teachers={{base: {{{teacher}}}}}", f"students={{1x32: {{layers: 2, {student}}}}}")
    job = plan.runs[0]
    assert job.copies_fine_tuned(plan.spec.students["1x32"]) == fine_tuned
    assert (job.parts["student"]["source"] == job.source.key) == fine_tuned


@pytest.mark.parametrize(("other", "trained"), [("finetune: false", []), ("epochs: 1", ["other"])])
def test_teachers_that_are_fine_tuned_already_are_not_trained_together(small, other, trained):
    save_classifier(small)
    save_classifier(small, "other", seed=1)
    teachers = f"teachers={{base: {{model: ./classifier, finetune: false}}, other: {{model: ./other, {other}}}}}"
    watcher = Watcher()
    assert not small.run(teachers, "methods=[mt_bert]", "seeds=[1]", observers=(watcher,)).failed
    assert watcher.started == [*trained, "mt_bert"]
    assert {teacher.name for teacher in small.store().teachers()} == {"base", "other"}
    assert "task only, no augmentation, teachers not fine-tuned together, 1 epoch" in printed_board(small)


def test_a_head_of_another_task_is_replaced_and_this_is_said(small):
    save_classifier(small)
    configure(small, id2label={0: "a", 1: "b", 2: "c"}, label2id={"a": 0, "b": 1, "c": 2})
    (teacher,) = small.plan("teachers={base: {model: ./classifier}}").teachers
    assert teacher.head.startswith("the checkpoint's head is replaced by a new one: the head has 3 classes (a, b, c)")
    save_classifier(small)
    (teacher,) = small.plan("teachers={base: {model: ./classifier}}").teachers
    assert teacher.head == "the checkpoint's own head is fine-tuned further"


def test_a_text_stage_needs_a_pretrained_teacher(small):
    save_classifier(small)
    (small.folder / "corpus.txt").write_text("sun lamp\nfire night\n", encoding="utf-8")
    plan = small.plan(TEACHER, "general={data: corpus.txt, steps: 2}", "methods=[finetune, tinybert]")
    (cell,) = plan.not_applicable
    assert cell.label == "tinybert"
    assert "teacher base is fine-tuned on a task already (finetune: false)" in cell.reason


def test_the_floor_applies(small):
    save_classifier(small, names=("bright", "dark"))
    outcome = small.run(TEACHER.replace("false", "false, floor: {order: 0.6}"), "methods=[logit_kd]", "seeds=[1]")
    assert outcome.failed
    (record,) = small.store().records()
    assert "below its floor of 0.6: give another checkpoint, or lower teachers.base.floor.order" in record.error


def test_a_checkpoint_that_changes_after_planning_is_not_used(small):
    save_classifier(small)
    (job,) = small.plan(TEACHER, "methods=[logit_kd]").teachers
    configure(small, attention_probs_dropout_prob=0.0)
    with pytest.raises(UserError, match="has changed since the suite was planned"):
        teacher_runs.add_to_cache(job, lambda: [], small.context())


def test_the_layers_of_the_cached_teacher_are_those_of_the_checkpoint(small):
    model = save_classifier(small, names=("bright", "dark"))
    (job,) = small.plan(TEACHER).teachers
    teacher_runs.add_to_cache(job, lambda: [], small.context())
    weights, originals = teacher_runs.load(job).state_dict(), model.state_dict()
    for name, tensor in originals.items():
        assert torch.equal(weights[name], tensor.flip(0) if name.startswith("classifier") else tensor), name


MESSAGES = {
    "epochs: 2": "so epochs would have no effect; remove it",
    "lr: 0.1, seeds: [1, 2]": "so lr, seeds would have no effect; remove them",
    "batch_size: 3": "so batch_size would have no effect",
    "seed: 3": "so seed would have no effect",
    "labels: [dark]": "teachers.base.labels: expected each class of order once (dark, bright)",
    "labels: {ordre: [dark, bright]}": "unknown task 'ordre'; did you mean 'order'?",
    "labels: []": "is empty",
}


@pytest.mark.parametrize("extra", MESSAGES)
def test_settings_that_cannot_hold_are_errors(small, extra):
    save_classifier(small)
    with pytest.raises(UserError) as caught:
        resolve(small.load(TEACHER.replace("false", f"false, {extra}")), online=False)
    assert MESSAGES[extra] in str(caught.value)


def test_class_names_that_yaml_reads_as_numbers_are_texts(small):
    save_classifier(small)
    with pytest.raises(UserError, match="found 1, true"):
        resolve(small.load(TEACHER.replace("false", "false, labels: [1, true]")), online=False)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("{model: ./classifier, labels: [dark, bright]}", "of a checkpoint with `finetune: false`; remove `labels`"),
        (
            "{architecture: {layers: 1, hidden: 8, heads: 1, ffn: 8}, finetune: false}",
            "needs a fine-tuned `model`; an architecture has random weights",
        ),
    ],
)
def test_other_teachers_have_neither_labels_nor_heads(small, teacher, message):
    save_classifier(small)
    with pytest.raises(UserError, match=message.split("`")[0]):
        small.load(f"teachers={{base: {teacher}}}")


def test_validation_reports_a_checkpoint_without_a_head(small):
    save_classifier(small)
    BertModel.from_pretrained(small.folder / "classifier").save_pretrained(small.folder / "classifier")
    with pytest.raises(UserError) as caught:
        resolve(small.load(TEACHER), online=False)
    (problem,) = caught.value.problems
    assert "teachers.base.model" in str(problem)
    assert "config.json: the model is a BertModel" in str(problem) or "no fine-tuned head for order" in str(problem)
    assert "remove `finetune: false`" in str(problem)


def save_with_code(small, names=NAMES):
    save_classifier(small, names=names)
    give_code(small.folder / "classifier")


OWN = ("trust_remote_code=true", "seeds=[1]", "students={small: {layers: 1}}")


def test_a_checkpoint_with_code_of_its_own(small):
    save_with_code(small, names=("bright", "dark"))
    stated = TEACHER.replace("false", "false, labels: [dark, bright]")
    outcome = small.run(stated, "methods=[logit_kd]", *OWN)
    assert not outcome.failed
    (teacher,) = small.store().teachers()
    assert teacher.score > 0.7
    (record,) = small.store().records()
    run = find_run(record.key, small.folder / "results")
    assert type(loaded_model.of_run(run, trust_remote_code=True).model).__name__ == "OwnForSequenceClassification"


def test_teachers_with_code_of_their_own_are_fine_tuned_together(small):
    save_with_code(small)
    entry = "{model: ./classifier, epochs: 1, lr: 1e-3"
    outcome = small.run(f"teachers={{base: {entry}}}, other: {entry}, seed: 2}}}}", "methods=[mt_bert]", *OWN)
    assert not outcome.failed
    assert [record.status for record in small.store().records()] == ["completed"]
