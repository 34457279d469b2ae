"""One student of a BERT and a RoBERTa with different tokenizers, in suites from the plan to the leaderboard."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from harness.execution import teacher_runs as teachers
from harness.models import tokenizers
from harness.models.capture import Capture
from harness.training.batch_stream import encode_task
from harness.training.scoring import score
from tests.support.run_watcher import Watcher
from tests.support.student_weights import assert_same_weights, student_weights
from tests.support.tokenizer_factory import bytelevel, save, wordpiece

pytestmark = pytest.mark.xdist_group("tokenizers")  # tests that share finished suites

REGRESSION = '''
"""How bright a pair of sentences is."""

import random

from harness import hookimpl
from harness.api.task import Splits, Task

WORDS = "sun café 東京 night cave привет coal tree unbelievable".split()


def made(count, seed):
    from datasets import Dataset

    rng = random.Random(seed)
    texts = [[" ".join(rng.choices(WORDS, k=rng.randint(2, 6))) for _ in range(count)] for _ in range(2)]
    labels = [float(first.count("sun") - second.count("night")) for first, second in zip(*texts)]
    ids = [str(i) for i in range(count)]
    return Dataset.from_dict({"id": ids, "text": texts[0], "text_pair": texts[1], "label": labels})


def load(source):
    return Splits(made(48, 1), {"validation": made(24, 2)})


@hookimpl
def harness_register_tasks(register):
    register(Task("bright", "regression", load, ("pearson_spearman",), "pearson", paired=True, synthetic=True))
'''
TASKS = {
    "order": ("training.limit={train: 48, validation: 24}",),
    "bright": ("training.max_length=12",),
    "synthetic_qa": ("training.limit={train: 24, validation: 12}", "training.max_length=48"),
}


@pytest.fixture(name="mixed")
def _mixed(small):
    """The small suite with two pretrained teachers of different depths, widths and tokenizers."""
    (small.folder / "bright.py").write_text(REGRESSION, encoding="utf-8")
    save(small.folder / "bert", "bert", layers=2, hidden=32)
    save(small.folder / "roberta", "roberta", layers=4, hidden=16)
    return small


def settings(task="order", method="mt_bert", **replaced):
    models = {"base": "bert", "other": "roberta"} | replaced
    teachers = {n: {"model": f"./{m}", "epochs": 1, "lr": 0.001} for n, m in models.items()}
    return (
        f"tasks=[{task}]",
        "plugins=[order.py, bright.py]",
        f"teachers={json.dumps(teachers)}",
        f"methods=[{method}]",
        "seeds=[1]",
        "training.log_every=1",
        *TASKS[task],
    )


def student(small, label="mt_bert"):
    (record,) = (r for r in small.store().records() if r.label == label)
    return record, student_weights(small.store(), record.key)


@pytest.mark.parametrize(("task", "cofinetune"), [*((task, True) for task in TASKS), ("synthetic_qa", False)])
def test_one_student_of_teachers_with_different_tokenizers(mixed, task, cofinetune):
    method = f"{{mt_bert: {{label: mt_bert, cofinetune: {str(cofinetune).lower()}}}}}"
    overrides = settings(task, method)
    assert not mixed.run(*overrides).failed
    record, _ = student(mixed)
    assert set(record.losses[-1].terms) == {"loss", "hidden", "distillation", "task"}
    assert record.notes == {"layer_maps": [[2], [4]]}
    assert record.parts["alignment"]["read"][1].endswith("/198")
    assert record.parts["alignment"]["version"] == (2 if task == "synthetic_qa" else 1)
    names = ["base (mt_bert)", "other (mt_bert)"] if cofinetune else ["base", "other"]
    assert record.teachers == names
    teacher_records = {teacher.name: teacher for teacher in mixed.store().teachers()}
    assert {*names} <= teacher_records.keys()
    for job in mixed.plan(*overrides).teachers:  # each is scored in its own tokens
        encoded = encode_task(
            job.data.task,
            job.data.splits,
            job.tokenizer_ref.tokenizer,
            job.tokenizer_ref.fingerprint,
            job.training.max_length,
        )
        metrics = mixed.load(*overrides).host.metrics
        model = Capture(teachers.load(job))
        batch_size = job.training.batch_size
        scored = score(model, encoded, metrics, batch_size=batch_size, device=torch.device("cpu"))
        assert teacher_records[job.name].score == pytest.approx(scored.score, nan_ok=True)
        folder = teachers.cached(job).path / str(job.index) if job.group else teachers.cached(job).path
        assert tokenizers.fingerprint(AutoTokenizer.from_pretrained(folder)) == job.tokenizer_ref.fingerprint


def test_the_student_can_use_the_byte_level_tokenizer(mixed):
    overrides = settings("synthetic_qa", base="roberta", other="bert")
    assert not mixed.run(*overrides).failed
    folder = mixed.store().run_folder(student(mixed)[0].key) / "student"
    assert tokenizers.fingerprint(AutoTokenizer.from_pretrained(folder)) == tokenizers.fingerprint(bytelevel())


@pytest.mark.parametrize("method", ["logit_kd", "pkd", "tinybert", "minilm", "mlkd_bert"])
def test_methods_with_one_teacher_of_another_tokenizer(mixed, method):
    """pkd and logit_kd need only states and predictions; the others need attention, which is an error."""
    save(mixed.folder / "twin", "roberta", layers=4, hidden=32)
    row = f"{{{method}: {{teachers: [other]}}}}"
    plan = mixed.plan(*settings(method=row, other="twin"), "students={two: {layers: 2}}")
    if method in ("logit_kd", "pkd"):
        assert not plan.not_applicable
    else:
        (cell,) = plan.not_applicable
        assert "of teacher other, whose tokenizer is not the student's" in cell.reason


def test_a_teacher_that_the_method_runs_must_have_the_student_s_tokenizer(mixed):
    save(mixed.folder / "twin", "roberta", layers=4, hidden=32)
    plan = mixed.plan(*settings(method="{ad_kd: {teachers: [other]}}", other="twin"))
    (cell,) = plan.not_applicable
    assert cell.reason == "runs teacher other on the student's tokens, but its tokenizer is not the student's"
    assert not mixed.plan(*settings(method="{ad_kd: {teachers: [base]}}", other="twin")).not_applicable


def test_a_student_is_bit_identical_alone_and_in_a_cohort(mixed):
    overrides = settings()
    mixed.finished(*overrides)
    record, expected = student(mixed)
    (mixed.store().run_folder(record.key) / "record.json").unlink()
    rows = "[finetune, logit_kd, {mt_bert: {label: apart, cofinetune: false}}, mt_bert]"
    assert not mixed.run(*overrides, f"methods={rows}").failed
    again, weights = student(mixed)
    assert again.cost.cohort_size == 4
    assert again.key == record.key
    assert_same_weights(weights, expected)


@pytest.mark.parametrize("task", TASKS)
def test_cached_outputs_equal_those_of_running_teachers(mixed, task):
    overrides = settings(task)
    mixed.finished(*overrides)
    cached, weights = student(mixed)
    assert (cached.parts["numeric"]["teacher_tensors"], "alignment" in cached.parts) == ("kept", True)
    assert cached.cost.teacher_forwards == 2 * 2  # each over 48 examples or windows
    (mixed.folder / "results").rename(mixed.folder / "results before")
    mixed.run(*overrides, "teacher_cache.max_gb=0")
    fresh, others = student(mixed)
    assert fresh.key != cached.key
    for mine, theirs in zip(cached.losses, fresh.losses, strict=True):
        assert mine.terms == pytest.approx(theirs.terms, rel=1e-3)
    assert all(torch.allclose(weights[name], tensor, atol=1e-3) for name, tensor in others.items())


def test_runs_with_one_tokenizer_do_not_depend_on_the_cohort(mixed):
    overrides = settings(method="logit_kd")
    mixed.run(*overrides)
    record, expected = student(mixed, "logit_kd")
    assert "alignment" not in record.parts
    (mixed.store().run_folder(record.key) / "record.json").unlink()
    assert not mixed.run(*overrides, "methods=[logit_kd, mt_bert]").failed
    assert_same_weights(student(mixed, "logit_kd")[1], expected)


@pytest.mark.parametrize("label", ["base (mt_bert)", "mt_bert"])
def test_interrupted_equals_uninterrupted(mixed, label):
    overrides = settings()
    mixed.finished(*overrides)
    _, expected = student(mixed)
    for name in ("results", "cache"):
        shutil.rmtree(mixed.folder / name)
    assert mixed.run(*overrides, observers=(Watcher((label, 1)),)).interrupted
    assert not mixed.run(*overrides).interrupted
    assert_same_weights(student(mixed)[1], expected)


def test_the_tokenizer_of_a_teacher_is_part_of_the_keys(mixed):
    def keys(method):
        plan = mixed.plan(*settings(method=method))
        return {job.key for job in plan.teachers if job.group}, {job.planned.key for job in plan.runs}

    rows = ("mt_bert", "{mt_bert: {cofinetune: false}}")
    before = [keys(row) for row in rows]
    short = bytelevel()
    path = mixed.folder / "roberta" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 20}))
    assert tokenizers.load(mixed.folder / "roberta").model_max_length == 20
    assert tokenizers.fingerprint(short) == tokenizers.fingerprint(tokenizers.load(mixed.folder / "roberta"))
    for row, (groups, runs) in zip(rows, before, strict=True):
        changed_groups, changed_runs = keys(row)
        assert not runs & changed_runs
        assert not groups & changed_groups


def test_the_maximum_length_of_a_model(tmp_path):
    for family, tokenizer, most in (("bert", wordpiece(), 200), ("roberta", bytelevel(), 198)):
        folder = save(tmp_path / family, family)
        config = AutoModelForSequenceClassification.from_pretrained(folder).config
        assert tokenizers.most_tokens(tokenizer, config) == most
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        model(input_ids=torch.full((1, most), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, most + 1), 5))
