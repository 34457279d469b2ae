"""Mistakes found in public implementations of distillation, in what they read, keep and report: each test shows that
ours does not make one, and says where it was met and how it shows."""

import json
from dataclasses import replace

import pytest
import torch
import yaml
from datasets import ClassLabel, Dataset, Features, Value
from transformers import AutoModelForSequenceClassification

from harness.analysis.aggregate import summarize
from harness.analysis.speed_up import csv_rows
from harness.api.task import Splits
from harness.config.schema import LatencySpec, TrainingSpec
from harness.latency.candidates import Candidate, Candidates
from harness.latency.eager import Eager
from harness.latency.measurement import measure
from harness.models import heads, tokenizers
from harness.models.capture import Capture
from harness.planning import run_status
from harness.plugin_host.host import Host
from harness.reporting.latency.latency_tables import markdown
from harness.reporting.report_files import write
from harness.tasks.glue import NLI, TASKS
from harness.testing import tiny_model
from harness.training.scoring import score
from tests.support.results_factory import fill, run_key, run_record
from tests.support.training_world import CPU, World

TEACHER = "teachers.base={architecture: {layers: 4, hidden: 32, heads: 2, ffn: 64}, epochs: 1, lr: 1.0e-3}"
STUDENT = "students={small: {layers: 2, init: uniform}}"

CHANGES = [
    ("logit_kd", {}, {"temperature": 2.0}),
    ("logit_kd", {}, {"alpha": 0.9}),
    ("pkd", {}, {"temperature": 9.0}),
    ("pkd", {}, {"alpha": 0.2}),
    ("pkd", {}, {"beta": 99.0}),
    ("pkd", {}, {"strategy": "last"}),
    ("pkd", {}, {"beta_scale": "paper"}),
    ("pkd", {}, {"kd_scale": "code"}),
    ("pkd", {}, {"normalize": False}),
    ("distilbert", {}, {"alpha": 0.5}),
    ("distilbert", {"alpha": 0.5}, {"temperature": 7.0}),
    ("tinybert", {}, {"attention_loss": "kl"}),
    ("tinybert", {}, {"mapping": "first"}),
    ("tinybert", {}, {"attention_weight": 3.0}),
    ("tinybert", {}, {"representation_weight": 0.0}),
    ("tinybert", {}, {"temperature": 2.0}),
    ("tinybert", {}, {"projection_bias": True}),
    ("tinybert", {}, {"stages": {"intermediate": {"lr": 0.002}}}),
    ("tinybert", {}, {"stages": {"intermediate": {"schedule": "constant"}}}),
    ("tinybert", {}, {"stages": {"prediction": {"warmup_ratio": 0.9}}}),
    ("tinybert", {}, {"stages": {"intermediate": {"steps": 3}}}),
    ("tinybert", {}, {"stages": {"prediction": {"epochs": 2}}}),
    ("minilm", {}, {"version": 2}),
    ("minilm", {"version": 2}, {"relation_heads": 2}),
    ("minilm", {}, {"teacher_layer": 1}),
    ("mlkd_bert", {}, {"temperature": 3.0}),
    ("mlkd_bert", {}, {"contrast_temperature": 0.7}),
    ("mlkd_bert", {}, {"views": "dropout"}),
    ("mlkd_bert", {}, {"one_stage": True}),
    *(("mlkd_bert", {}, {name: False}) for name in ("emb", "mha", "ffn", "ss", "sc", "kd")),
    ("mt_bert", {}, {"temperature": 2.0}),
    ("mt_bert", {}, {"cofinetune": False}),
    ("mt_bert", {}, {"hidden_loss": False}),
    ("mt_bert", {}, {"weighting": False}),
]
"""(method, options, options that are changed): every option of every method, and what a suite says of its stages."""

WITH_DATA = {"augment", "general", "assistant", "rare_tokens", "freeze_positions", "regression_loss"}
"""Options that bring data or models of their own or are of another kind of task, tested beside them."""


def test_every_option_is_in_the_table_of_changes():
    told = {(method, option) for method, _, changed in CHANGES for option in changed}
    there = {(name, option) for name, method in Host.create().methods.items() for option in method.Config.model_fields}
    assert {pair for pair in there - told if pair[1] not in WITH_DATA} == set()


def weights(store, key):
    model = AutoModelForSequenceClassification.from_pretrained(store.run_folder(key) / "student")
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def test_no_option_is_written_where_nothing_reads_it(small):
    """TinyBERT's task script writes each task's defaults to arguments that nothing reads. A setting then changes what
    is printed, and not one bit of the result. Here each changes the run's key and its student."""
    bases = {json.dumps([method, base]): (method, base) for method, base, _ in CHANGES}
    entries = [{method: {**base, "label": f"base{i}"}} for i, (method, base) in enumerate(bases.values())]
    entries += [{method: {**base, **new, "label": f"new{i}"}} for i, (method, base, new) in enumerate(CHANGES)]
    sets = (TEACHER, STUDENT, "seeds=[1]", f"methods={json.dumps(entries)}")
    assert not small.run(*sets).failed
    keys, store = {job.planned.label: job.planned.key for job in small.plan(*sets).runs}, small.store()
    for i, (method, base, new) in enumerate(CHANGES):
        before = keys[f"base{list(bases).index(json.dumps([method, base]))}"]
        assert keys[f"new{i}"] != before
        assert not torch.equal(weights(store, keys[f"new{i}"]), weights(store, before)), (method, new)


TRAINING = {
    "epochs": 2, "batch_size": 8, "lr": 5e-4, "max_length": 8, "warmup_ratio": 0.5, "weight_decay": 0.9,
    "max_grad_norm": 0.01,
    "schedule": "constant", "per_task": "{order: {lr: 5e-4}}",
    "limit.train": 60, "data_seed": 9, "precision": "bf16", "token_budget": 64,
}  # fmt: skip


APART = {"log_every", "checkpoint_every", "tf32", "micro_batch_size", "max_memory_gb"}
"""Settings that change no result, or none that a CPU or so small a batch would show."""


def test_no_training_setting_is_written_where_nothing_reads_it(small):
    """The same of what a suite says of the training of all."""
    assert TrainingSpec.model_fields.keys() - {name.split(".")[0] for name in TRAINING} <= APART
    sets = ["methods=[finetune]", "seeds=[1]", "students={small: {layers: 1, init: random}}"]
    seen = {}
    for name, value in {"as it is": None, **TRAINING}.items():
        change = [f"training.{name}={value}"] if value is not None else []
        small.run(*sets, *change)
        (planned,) = small.plan(*sets, *change).runs
        seen[name] = planned.planned.key, weights(small.store(), planned.planned.key)
    key, before = seen.pop("as it is")
    for name, (changed, after) in seen.items():
        assert changed != key
        assert not torch.equal(after, before), name


def test_the_second_validation_set_of_mnli_does_not_take_the_first_ones_place():
    """TinyBERT's task script keeps MNLI's matched result under the name that the mismatched one then takes. Here each
    question is asked in both sets, with opposite answers: whatever is right in one is wrong in the other."""
    here = World("classification", TrainingSpec())
    rows, encoded = here.data.splits.validation["validation"], here.data.validation["validation"]
    opposite = Dataset.from_dict({**rows.to_dict(), "label": [1 - label for label in rows["label"]]})
    names = ("validation_matched", "validation_mismatched")
    data = replace(
        here.data,
        splits=Splits(here.data.splits.train, dict(zip(names, (rows, opposite), strict=True))),
        validation=dict.fromkeys(names, encoded),
    )
    scored = score(Capture(here.model(seed=3)), data, Host.create().metrics, batch_size=8, device=CPU)
    right = {name: scored.metrics[f"{name}_accuracy"] for name in names}
    assert right[names[0]] != right[names[1]]
    assert sum(right.values()) == pytest.approx(1.0)
    assert scored.score == pytest.approx(0.5)
    assert scored.frame["split"].value_counts().to_dict() == dict.fromkeys(names, 20)


TSV = ("contradiction", "entailment", "neutral")
"""The order of MNLI's classes in GLUE's own files and in many checkpoints; the hub's is `NLI`."""


def test_labels_in_the_order_of_glues_own_files_are_put_in_the_hubs(tmp_path, monkeypatch):
    """A student trained in one order and scored in the other is wrong where it is right. A data set whose label column
    names its classes is read by those names."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    columns = {"premise": list("abc"), "hypothesis": list("def"), "label": [0, 1, 2], "idx": [0, 1, 2]}
    features = Features(
        {
            "premise": Value("string"),
            "hypothesis": Value("string"),
            "label": ClassLabel(names=TSV),
            "idx": Value("int64"),
        }
    )
    splits = ("train", "validation_matched", "validation_mismatched")
    for split in splits:
        folder = tmp_path / "glue" / "mnli"
        folder.mkdir(parents=True, exist_ok=True)
        Dataset.from_dict(columns, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    files = [{"split": split, "path": f"mnli/{split}-*"} for split in splits]
    listed = {"configs": [{"config_name": "mnli", "data_files": files}]}
    (tmp_path / "glue" / "README.md").write_text(f"---\n{yaml.safe_dump(listed)}---\n", encoding="utf-8")
    mnli = next(task for task in TASKS if task.name == "mnli")
    loaded = mnli.load(str(tmp_path / "glue"))
    assert mnli.labels == NLI == ("entailment", "neutral", "contradiction")
    for part in (loaded.train, *loaded.validation.values()):
        assert [NLI[label] for label in part["label"]] == list(TSV)


def test_a_checkpoints_head_in_another_order_of_classes_is_put_in_the_tasks(tmp_path):
    """The same of a teacher that was fine-tuned elsewhere."""
    mnli = next(task for task in TASKS if task.name == "mnli")
    for family in ("bert", "roberta", "distilbert"):
        model = tiny_model(family, num_labels=3, seed=1)
        model.config.id2label = {i: name.upper() for i, name in enumerate(TSV)}
        model.save_pretrained(tmp_path / family)
        ids = {"input_ids": torch.arange(3, 9)[None], "attention_mask": torch.ones(1, 6, dtype=torch.long)}
        loaded = heads.load(tmp_path / family, mnli, seed=0)
        assert loaded.config.id2label == dict(enumerate(NLI))
        by_name = [
            dict(zip(names, each(**ids).logits[0].tolist(), strict=True))
            for names, each in ((TSV, model), (NLI, loaded))
        ]
        assert by_name[1] == pytest.approx(by_name[0], rel=1e-4)


def test_a_result_of_one_model_is_not_found_for_another(small):
    """A public benchmark keeps results by task and method alone, so that one model's figures appear under another's
    name. Here the key knows the weights: those that were put in the place of others, and those that only moved."""

    def keys(folder, seed):
        tiny_model(layers=2, vocab=20, seed=seed).save_pretrained(small.folder / folder)
        tokenizers.whole_word(["sun night tree"]).save_pretrained(small.folder / folder)
        plan = small.plan(f"teachers={{base: {{model: {small.folder / folder}, epochs: 1}}}}")
        return {job.planned.key for job in plan.runs}, {job.key for job in plan.teachers}

    runs, teachers = keys("here", seed=1)
    assert keys("there", seed=1) == (runs, teachers)
    others, other_teachers = keys("here", seed=2)
    assert not runs & others
    assert not teachers & other_teachers
    small.run(
        "students={a: {layers: 1, init: uniform}, b: {layers: 2, init: uniform}}", "methods=[finetune]", "seeds=[1]"
    )
    assert {record.student: record.size.layers for record in small.store().records()} == {"a": 1, "b": 2}


def test_no_mean_skips_a_task_that_is_missing(tmp_path):
    """A public board averages over the tasks that are there, so that leaving out a hard one raises the mean. Here the
    row has no average and no rank, and says what is missing."""
    store = fill(tmp_path / "demo")
    whole = {(row.label, row.student): row for row in summarize(store).students}
    (store.run_folder(run_key("sst2", "kd", "big", 2)) / "record.json").unlink()
    rows = {(row.label, row.student): row for row in summarize(store).students}
    assert whole["kd", "big"].average is not None
    lost = rows.pop(("kd", "big"))
    assert (lost.average, lost.rank, lost.status) == (None, None, "incomplete")
    assert all(row.average == whole[place].average for place, row in rows.items())
    line = next(line for line in write(store.folder).board.lines if line.cells[1:3] == ("kd", "big"))
    assert line.cells[0] == "incomplete"
    assert "seed 2 not run yet" in write(store.folder).markdown


class Crash(Exception):
    """What ends a process while it writes."""


def crash(*args, **kwargs):
    raise Crash


def test_what_marks_a_result_as_done_is_written_after_its_data(small, monkeypatch):
    """A public script writes its marker and then the model, and a kill between the two leaves a result that is never
    made. Here whoever dies while a student or a teacher is written has not made it, and makes it the next time."""
    store = small.store()
    with pytest.raises(Crash):
        store.save(run_record(key="k"), export=crash)
    assert store.record("k") is None
    sets = ("methods=[finetune]", "seeds=[1]")
    predictions = "pandas.DataFrame.to_parquet"
    moments = [
        ("harness.execution.teacher_runs.Fit.model_dump_json", False),
        (predictions, False),  # the teacher's
        ("harness.storage.records.RunRecord.model_dump_json", True),
        (predictions, True),  # the student's
    ]
    for writes, taught in moments:
        with monkeypatch.context() as patched:
            patched.setattr(writes, crash)
            with pytest.raises(Crash):
                small.run(*sets)
        (run,) = run_status(small.plan(*sets), store)
        assert not run.done
        assert bool(store.teachers()) == taught, "a teacher counts once its weights and predictions are kept"
    assert not small.run(*sets).failed
    (run,) = run_status(small.plan(*sets), store)
    assert run.done


@pytest.fixture(scope="module")
def timed():
    """A measurement of three rounds, and the shape of each batch that the model was called with."""
    shapes = []

    def load():
        model = tiny_model()
        model.register_forward_pre_hook(
            lambda m, args, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
        )
        return model

    settings = LatencySpec(batch_sizes=[5], lengths=[7], backends=["eager"], rounds=3, warmup=12)
    record = measure(
        Candidates([Candidate("a", "model", "made", {"name": "a"}, load)]),
        settings,
        CPU,
        backends={"eager": Eager()},
        say=lambda _: None,
    )
    return record, shapes


def test_the_warm_up_runs_the_model(timed):
    """A public benchmark counts warm-up batches that run nothing, so that the first timed call is the model's first.
    Here the model and its second copy are called for each call that is counted, at the shape that is timed."""
    record, shapes = timed
    assert all(timing.warmup >= 10 for timing in record.timings)
    assert shapes.count((5, 7)) == sum(timing.warmup + len(timing.nanoseconds) for timing in record.timings)


def test_no_percentile_is_told_of_too_few_calls(timed):
    """A public benchmark prints the 99th percentile of ten calls, which is their maximum. Here there is none above the
    90th, and that only where one call in ten can lie beyond it."""
    record, _ = timed

    def told(rounds):
        timings = [t.model_copy(update={"nanoseconds": list(range(1, rounds + 1))}) for t in record.timings]
        few = record.model_copy(update={"timings": timings})
        lines = [line.split("|") for line in markdown("t", [few]).splitlines() if line.startswith("|")]
        header, _, line = lines[:3]
        return line[[cell.strip() for cell in header].index("p90 (ms)")].strip(), csv_rows([few])[0]["p90"]

    assert told(9) == ("–", None)
    assert told(10) == ("0.000", pytest.approx(9.1e-9))
    assert "p99" not in markdown("t", [record])


def test_what_is_counted_is_examples_and_tokens_not_the_keys_of_a_batch(timed):
    """A public benchmark divides `len(batch)` by the time, which for a dict of tensors is the number of its keys. Here
    a batch of five is five rows, and a run's tokens are the real ones that it was trained on."""
    record, shapes = timed
    assert {(timing.batch_size, timing.length) for timing in record.timings} == {(5, 7)}
    assert shapes[-1] == (5, 7)
    here = World("classification", TrainingSpec(epochs=2, batch_size=8))
    run = here.run("finetune")
    list(here.cohort(run).train(stop=lambda: False, checkpoint=lambda run: None))
    assert run.tokens == 2 * sum(int(length) for length in here.data.train.lengths)
