"""Augmented training data of methods in a suite, from the plan to the record."""

import json
import os
import re
import shutil

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

from harness.api.engine import Interrupted
from harness.api.errors import UserError
from harness.cli.plan_command import plan_suite
from harness.execution import augmented_data
from harness.models import masked_lm, tokenizers
from harness.models.initialization import seeded
from harness.resolution import load, resolve
from harness.tasks.fingerprints import fingerprint
from harness.training.run import Run
from tests.support.run_watcher import Watcher
from tests.support.student_weights import assert_same_weights, student_weights

WORDS = "sun lamp fire night cave coal tree road hand song"
METHODS = "methods=[finetune, tinybert, {tinybert: {label: more, augment: {variants: 4, model: language}}}]"
ALONE = "methods=[{tinybert: {label: more, augment: {variants: 4, model: language}}}]"


def save_language_model(folder, cls=BertForMaskedLM):
    tokenizer = tokenizers.whole_word([WORDS])
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    with seeded(1):
        model = cls(BertConfig(vocab_size=len(tokenizer), pad_token_id=0, initializer_range=0.4, **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture
def lm(small):
    """The small suite, with a masked language model in its folder."""
    save_language_model(small.folder / "language")
    return small


def weights(small, label):
    (record,) = (r for r in small.store().records() if r.label == label)
    return student_weights(small.store(), record.key)


def job(small, *overrides):
    plan = small.plan(*(overrides or (ALONE,)))
    (augmentation,) = plan.augmentations(plan.runs)
    return augmentation


def test_a_suite_end_to_end(lm):
    lm.run("methods=[finetune, tinybert]", "seeds=[1]")
    plain = {label: weights(lm, label) for label in ("finetune", "tinybert")}
    keys = {r.label: r.key for r in lm.store().records()}
    watcher = Watcher()
    assert not lm.run(METHODS, "seeds=[1]", observers=(watcher,)).failed
    assert watcher.started == ["more"], "the run on the task's own data was finished before"
    records = {r.label: r for r in lm.store().records()}
    more, before = records["more"], records["tinybert"]
    assert {label: records[label].key for label in keys} == keys
    assert more.key != before.key
    assert "augmentation" not in before.parts
    assert before.parts["method"] == more.parts["method"]
    assert more.parts["augmentation"]["method"]["options"]["variants"] == 4
    assert more.cost.steps == before.cost.steps == 8
    assert more.data_fingerprint == before.data_fingerprint
    rows = augmented_data.load(job(lm))
    assert more.notes["augmentation"] == {"rows": len(rows), "fingerprint": fingerprint(rows)}
    assert not torch.equal(weights(lm, "more")["classifier.weight"], plain["tinybert"]["classifier.weight"])
    shutil.rmtree(lm.folder / "results")
    assert not lm.run(METHODS, "seeds=[1]").failed
    for label, expected in plain.items():
        assert_same_weights(weights(lm, label), expected)


def test_held_out_examples_are_not_augmented(lm):
    chosen = (ALONE, "seeds=[1]", "selection=train", "training.epochs=2")
    assert not lm.run(*chosen).failed
    splits, augmented = job(lm, *chosen).data.splits, augmented_data.load(job(lm, *chosen))
    originals = {row.split("~")[0] for row in augmented["id"]}
    assert originals == set(splits.train["id"])
    assert not originals & set(splits.selection["id"])
    (record,) = lm.store().records()
    assert record.selection.examples == 24
    assert [point.step for point in record.selection.epochs] == [record.cost.steps] == [12]


def test_the_rows_are_the_originals_and_their_variants(lm):
    description = augmented_data.make(job(lm), lm.context())
    rows, originals = augmented_data.load(job(lm)), job(lm).data.splits.train
    assert description.rows == len(rows)
    assert rows.features == originals.features
    by_id = {row["id"]: row for row in originals}
    assert [row for row in rows if "~" not in row["id"]] == list(originals)
    assert 3 * len(originals) < len(rows) <= 5 * len(originals)
    for row in rows:
        original = by_id[row["id"].split("~")[0]]
        assert row["label"] == original["label"]
        assert len(row["text"].split()) == len(original["text"].split())


def test_cached_rows_are_not_made_again(lm, monkeypatch):
    lm.finished(ALONE, "seeds=[1]")
    first = {path: path.stat().st_mtime_ns for path in augmented_data.cached(job(lm)).path.iterdir()}
    monkeypatch.setattr(masked_lm, "load", lambda *args, **options: pytest.fail("the model is not needed"))
    lm.run(ALONE, "seeds=[1, 2]")
    assert len(lm.store().records()) == 2
    assert {path: path.stat().st_mtime_ns for path in first} == first


def test_a_student_is_bit_identical_alone_and_in_a_cohort(lm):
    lm.finished(ALONE, "seeds=[1]")
    expected = weights(lm, "more")
    shutil.rmtree(lm.folder / "results")
    second = "{tinybert: {label: two, temperature: 2, augment: {variants: 4, model: language}}}"
    methods = METHODS.replace("]", f", {second}]")
    plan = lm.plan(methods, "seeds=[1]")
    assert [sorted(j.planned.label for j in c) for c in plan.cohorts(plan.runs)] == [
        ["finetune", "tinybert"],
        ["more", "two"],
    ]
    assert len(plan.augmentations(plan.runs)) == 1
    lm.run(methods, "seeds=[1]")
    assert_same_weights(weights(lm, "more"), expected)


def test_an_incomplete_write_is_ignored(lm):
    lm.finished(ALONE, "seeds=[1]")
    expected, cached = weights(lm, "more"), augmented_data.cached(job(lm)).path
    left = cached.rename(cached.with_name(f"{cached.name}.partial"))
    (left / "rows.arrow").write_bytes(b"half")
    for path in (left, *left.iterdir()):
        os.utime(path, (0, 0))
    shutil.rmtree(lm.folder / "results")
    assert not augmented_data.cached(job(lm)).is_kept()
    lm.run(ALONE, "seeds=[1]")
    assert_same_weights(weights(lm, "more"), expected)
    assert not list(cached.parent.glob("*.partial"))


def test_an_interruption_caches_nothing_and_the_next_run_completes(lm):
    with pytest.raises(Interrupted):
        augmented_data.make(job(lm), lm.context(lambda: True))
    assert not augmented_data.cached(job(lm)).is_kept()
    outcome = lm.run(ALONE, "seeds=[1]", observers=(Watcher(signal_at=("more", 5)),))
    assert outcome.interrupted
    assert lm.store().records() == []
    assert not lm.run(ALONE, "seeds=[1]").failed
    resumed = weights(lm, "more")
    shutil.rmtree(lm.folder / "results")
    lm.run(ALONE, "seeds=[1]")
    assert_same_weights(weights(lm, "more"), resumed)


def test_what_changes_the_key(lm):
    before = job(lm).key
    assert job(lm).key == before
    assert job(lm, ALONE, "training.lr=0.1", "training.batch_size=4", "seeds=[9]").key == before
    assert job(lm, ALONE.replace("variants: 4", "variants: 5")).key != before
    assert job(lm, ALONE, "training.limit.train=50").key != before
    (lm.folder / "words.txt").write_text("sun 1 2\nlamp 1 0\n")
    filed = ALONE.replace("variants: 4", "vectors: words.txt")
    with_file = job(lm, filed).key
    (lm.folder / "words.txt").write_text("sun 1 2\nlamp 1 1\n")
    assert job(lm, filed).key != with_file
    shutil.copytree(lm.folder / "language", lm.folder / "elsewhere")
    assert job(lm, ALONE.replace("model: language", "model: elsewhere")).key == before


def test_the_plan_lists_augmented_data(lm, capsys):
    def planned(*, as_json):
        plan_suite(str(lm.path), [ALONE, "seeds=[1, 2]"], [], lm.folder / "results", as_json=as_json)
        return capsys.readouterr().out

    message = "Training data augmented before these runs: order (more, 120 examples)."
    assert message in planned(as_json=False)
    assert json.loads(planned(as_json=True))["augmentations"] == [
        {"task": "order", "label": "more", "key": job(lm).key}
    ]
    augmented_data.make(job(lm), lm.context())
    assert message not in planned(as_json=False)
    assert "augmentations" not in json.loads(planned(as_json=True))


def test_the_default_model_is_the_teachers_checkpoint(lm):
    teacher = "teachers={base: {model: language, epochs: 1, lr: 0.001}}"
    student = "students={1x16: {layers: 1, init: uniform}}"
    true = "methods=[{tinybert: {label: more, augment: true}}]"
    assert job(lm, teacher, student, true).model == (lm.folder / "language").resolve()
    assert not lm.run(teacher, student, true, "seeds=[1]").failed
    (record,) = lm.store().records()
    assert record.notes["augmentation"]["rows"] > 120 * 15


def test_a_teacher_from_scratch_has_no_language_model(lm):
    loaded = load(lm.path, overrides=["methods=[finetune, {tinybert: {augment: true}}]"])
    with pytest.raises(UserError, match=r"teacher base is trained from scratch; set `augment: \{model: "):
        resolve(loaded, online=False)


def test_missing_files_are_reported_before_training(lm):
    for option, message in (
        ("vectors: none.txt, model: language", "file not found: .*none.txt"),
        ("model: ./gone", "folder not found"),
    ):
        loaded = load(lm.path, overrides=[f"methods=[{{tinybert: {{augment: {{{option}}}}}}}]"])
        with pytest.raises(UserError, match=f"augment.*{message}"):
            resolve(loaded, online=False)


def test_a_model_without_a_trained_head_fails_the_runs_that_need_it(lm):
    save_language_model(lm.folder / "bare", cls=BertModel)
    watcher = Watcher()
    outcome = lm.run(ALONE.replace("model: language", "model: bare"), observers=(watcher,))
    (failure,) = outcome.failures
    assert re.search(r"bare holds no trained masked language model.*`augment: \{model: ", failure.error)
    assert {record.error for record in outcome.failed} == {failure.cause}
    assert watcher.started == ["base"], "only the teacher, which is on the board"


BROKEN = """
from harness import Augmentation, Method, Needs, Stage, hookimpl
from harness.api.losses import task_loss

def make(rows, model, files):
    for row in rows:
        yield {"text": row["text"]}

class Broken(Method):
    name = "broken"
    def augmentation(self):
        return Augmentation(make, model="language")
    def stages(self):
        return [Stage("only", Needs(student=["logits"]))]
    def losses(self, step, batch, student, teachers):
        return {"task": task_loss(student.logits, batch)}

@hookimpl
def harness_register_methods(register):
    register(Broken)
"""


def test_an_augmentation_without_a_language_model_needs_none(lm):
    source = BROKEN.replace('model="language"', "options={'order': 'reversed'}").replace(
        'yield {"text": row["text"]}',
        """yield row
        assert model is None
        yield {**row, "id": row["id"] + "~1", "text": " ".join(reversed(row["text"].split()))}""",
    )
    (lm.folder / "broken.py").write_text(source)
    outcome = lm.run("methods=[broken]", plugins=(str(lm.folder / "broken.py"),))
    assert not outcome.failures
    rows = augmented_data.load(job_of(lm, "broken"))
    assert rows["text"][1] == " ".join(reversed(rows["text"][0].split()))


def test_the_advice_names_no_option_that_the_method_does_not_have(lm):
    source = BROKEN.replace("import Augmentation,", "import Augmentation, FIRST_TEACHER,")
    (lm.folder / "broken.py").write_text(source.replace('model="language"', "model=FIRST_TEACHER"))
    loaded = load(lm.path, overrides=["methods=[broken]"], plugins=[str(lm.folder / "broken.py")])
    with pytest.raises(UserError, match="teacher base is trained from scratch; choose a pretrained first teacher"):
        resolve(loaded, online=False)


def test_rows_with_other_columns_are_reported(lm):
    (lm.folder / "broken.py").write_text(BROKEN)
    outcome = lm.run("methods=[broken]", plugins=(str(lm.folder / "broken.py"),))
    (failure,) = outcome.failures
    assert re.match(r"augmented data of order for broken failed: .*columns text; .* id, label, text", failure.cause)
    assert not augmented_data.cached(job_of(lm, "broken")).is_kept()


def job_of(small, name):
    plan = small.plan(f"methods=[{name}]", plugins=(str(small.folder / f"{name}.py"),))
    return plan.augmentations(plan.runs)[0]


STAGED = (
    "methods=[{tinybert: {label: more, augment: {variants: 4, model: language}, stages: {prediction: {data: task}}}}]"
)


def test_a_stage_trains_on_the_tasks_own_data_where_the_suite_says_so(lm, monkeypatch):
    seen = []

    def watched(run, batches, *models, step=Run.step):
        seen.append((run.stage.name, [id for batch in batches for id in batch.ids]))
        step(run, batches, *models)

    monkeypatch.setattr(Run, "step", watched)
    assert not lm.run(STAGED, "seeds=[1]", "training.epochs=3").failed
    steps = [step for step in seen if step[0] in ("intermediate", "prediction")]
    assert [name for name, _ in steps] == ["intermediate"] * 16 + ["prediction"] * 8
    assert any("~" in id for name, ids in steps for id in ids if name == "intermediate")
    task_ids = [id for name, ids in steps for id in ids if name == "prediction"]
    assert sorted(task_ids) == sorted(job(lm, STAGED).data.splits.train["id"]), "one epoch of the task's own examples"


def test_the_data_of_a_stage_are_part_of_the_key_and_decide_the_cohort(lm):
    usual, staged = lm.plan(ALONE, "seeds=[1]"), lm.plan(STAGED, "seeds=[1]")
    assert usual.runs[0].planned.key != staged.runs[0].planned.key
    assert usual.runs[0].cohort != staged.runs[0].cohort


def test_a_method_whose_stages_all_use_the_tasks_data_makes_none(lm):
    stages = "stages: {intermediate: {data: task}, prediction: {data: task}}"
    plan = lm.plan(STAGED.replace("stages: {prediction: {data: task}}", stages), "seeds=[1]")
    assert plan.augmentations(plan.runs) == []
    assert "augmentation" not in plan.runs[0].parts
    assert plan.runs[0].cohort == lm.plan("methods=[finetune]", "seeds=[1]").runs[0].cohort


def test_the_protocol_names_augmented_data(lm):
    rows = lm.plan(STAGED, "seeds=[1]").file("harness run").rows
    assert rows["more"].protocol == (
        "task only, augmented data in some stages, stages intermediate + prediction, 1 epoch"
    )
    assert "task only, augmented data, " in lm.plan(ALONE, "seeds=[1]").file("harness run").rows["more"].protocol
