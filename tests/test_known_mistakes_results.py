"""Mistakes of public distillation code and benchmarks in options, data, storage and reports.

Each test shows that the harness does not make the mistake. Its docstring names the code and the symptom."""

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from datasets import ClassLabel, Dataset, Features, Value

from harness.analysis.aggregate import summarize
from harness.analysis.speed_up import csv_rows
from harness.api.task import Splits
from harness.config.latency_schema import LatencySpec
from harness.config.training_schema import TrainingSpec
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
from tests.support.student_weights import student_weights
from tests.support.training_world import CPU, World

METHODS = Host.create().methods
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
    ("dist", {}, {"temperature": 3.0}),
    ("dist", {}, {"gamma": 3.0}),
    ("dkd", {}, {"temperature": 2.0}),
    ("dkd", {}, {"alpha": 3.0}),
    ("dkd", {}, {"kd_warmup": 1.0}),
    ("ckd", {}, {"temperature": 4.0}),
    ("ckd", {}, {"alpha": 0.5}),
    ("ckd", {}, {"wr_pair_weight": 1.0}),
    ("ckd", {}, {"wr_angle_weight": 0.0}),
    ("ckd", {}, {"ltr_pair_weight": 2.0}),
    ("ckd", {}, {"ltr_angle_weight": 0.0}),
    ("ckd", {}, {"window": 3}),
    ("ckd", {}, {"mapping": "last"}),
    ("alp_kd", {}, {"mode": "po"}),
    ("alp_kd", {}, {"temperature": 2.0}),
    ("alp_kd", {}, {"task_weight": 2.0}),
    ("alp_kd", {}, {"kd_weight": 2.0}),
    ("alp_kd", {}, {"alp_weight": 3.0}),
    ("alp_kd", {}, {"scale": True}),
    ("alp_kd", {"scale": True}, {"detach_attention": True}),
    ("avg_mt", {}, {"temperature": 2.0}),
    ("avg_mt", {}, {"alpha": 0.9}),
    ("dynamic_kd", {}, {"part": "data"}),
    ("dynamic_kd", {"part": "objective"}, {"strategy": "none"}),
    ("dynamic_kd", {"part": "data"}, {"select": "random"}),
    ("dynamic_kd", {"part": "data"}, {"ratio": 0.25}),
    ("dynamic_kd", {}, {"form": "kl"}),
    ("dynamic_kd", {"form": "kl"}, {"temperature": 2.0}),
    ("dynamic_kd", {}, {"task_weight": 3.0}),
    ("dynamic_kd", {}, {"kd_weight": 3.0}),
    ("dynamic_kd", {"part": "objective"}, {"rep_weight": 30.0}),
    ("dynamic_kd", {"part": "objective"}, {"detach_uncertainty": False}),
    ("codir", {}, {"temperature": 2.0}),
    ("codir", {}, {"beta": 0.1}),
    ("codir", {}, {"crd_weight": 3.0}),
    ("diito", {}, {"alpha": 0.2}),
    ("diito", {}, {"causal_weight": 3.0}),
    ("fitnets", {}, {"temperature": 1.0}),
    ("fitnets", {}, {"kd_weight": 9.0}),
    ("fitnets", {}, {"kd_weight_end": 3.0}),
    ("ted", {}, {"temperature": 4.0}),
    ("ted", {}, {"kd_weight": 1.0}),
    ("ted", {}, {"filtered_weight": 1000.0}),
    ("ted", {}, {"mapping": "last"}),
    ("lrc_bert", {}, {"alpha": 3.0}),
    ("lrc_bert", {}, {"beta": 3.0}),
    ("lrc_bert", {}, {"gamma": 1.0}),
    ("mgskd", {}, {"token_weight": 9.0}),
    ("mgskd", {}, {"span_weight": 9.0}),
    ("mgskd", {}, {"sample_weight": 1.0}),
    ("rail_kd", {}, {"temperature": 2.0}),
    ("sid", {}, {"attention_weight": 3.0}),
    ("sid", {}, {"cls_weight": 3.0}),
]
"""(method, options, changed options): every option of every method, and settings of its stages."""

TESTED_ELSEWHERE = {"augment", "general", "assistant", "rare_tokens", "freeze_positions", "regression_loss"}
"""Options that need data or models of their own; tests of these cover them."""


def is_tested_in_its_folder(method, option):
    """Whether the tests in the method's folder set the option."""
    tests = Path(inspect.getfile(METHODS[method])).parent.glob("test_*.py")
    return any(re.search(rf"\b{option}\b", path.read_text(encoding="utf-8")) for path in tests)


def test_every_option_is_in_the_table_of_changes():
    covered = {(method, option) for method, _, changed in CHANGES for option in changed}
    existing = {(name, option) for name, method in METHODS.items() for option in method.Config.model_fields}
    missing = {pair for pair in existing - covered if pair[1] not in TESTED_ELSEWHERE}
    assert {pair for pair in missing if not is_tested_in_its_folder(*pair)} == set()


def weights(store, key):
    return torch.cat([tensor.flatten() for tensor in student_weights(store, key).values()])


def test_every_option_changes_key_and_student(small):
    """TinyBERT's task script writes each task's defaults to arguments that nothing reads: a setting changes the printed
    options, but not the result. Here each option changes the key of the run and the weights of the student."""
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
    "batching": "bucketed", "schedule": "constant", "per_task": "{order: {lr: 5e-4}}",
    "limit.train": 60, "data_seed": 9, "precision": "bf16", "token_budget": 64,
}  # fmt: skip


WITHOUT_EFFECT = {"log_every", "checkpoint_every", "tf32", "micro_batch_size", "max_memory_gb", "execution"}
"""Settings that change no result, or none on a CPU with batches as small as these."""


def test_every_training_setting_changes_key_and_student(small):
    """The same for the suite's `training` section."""
    assert TrainingSpec.model_fields.keys() - {name.split(".")[0] for name in TRAINING} <= WITHOUT_EFFECT
    sets = ["methods=[finetune]", "seeds=[1]", "students={small: {layers: 1, init: random}}"]
    results = {}
    for name, value in {"unchanged": None, **TRAINING}.items():
        change = [f"training.{name}={value}"] if value is not None else []
        small.run(*sets, *change)
        (planned,) = small.plan(*sets, *change).runs
        results[name] = planned.planned.key, weights(small.store(), planned.planned.key)
    key, before = results.pop("unchanged")
    for name, (changed, after) in results.items():
        assert changed != key
        assert not torch.equal(after, before), name


def test_both_validation_sets_of_mnli_are_reported():
    """TinyBERT's task script stores MNLI's matched result under a name that the mismatched result then overwrites. Here
    both sets have the same questions with opposite labels, so a correct prediction in one is wrong in the other."""
    setup = World("classification", TrainingSpec())
    rows, encoded = setup.data.splits.validation["validation"], setup.data.validation["validation"]
    opposite = Dataset.from_dict({**rows.to_dict(), "label": [1 - label for label in rows["label"]]})
    names = ("validation_matched", "validation_mismatched")
    data = replace(
        setup.data,
        splits=Splits(setup.data.splits.train, dict(zip(names, (rows, opposite), strict=True))),
        validation=dict.fromkeys(names, encoded),
    )
    scored = score(Capture(setup.model(seed=3)), data, Host.create().metrics, batch_size=8, device=CPU)
    accuracies = {name: scored.metrics[f"{name}_accuracy"] for name in names}
    assert accuracies[names[0]] != accuracies[names[1]]
    assert sum(accuracies.values()) == pytest.approx(1.0)
    assert scored.score == pytest.approx(0.5)
    assert scored.frame["split"].value_counts().to_dict() == dict.fromkeys(names, 20)


TSV = ("contradiction", "entailment", "neutral")
"""The order of MNLI's classes in GLUE's files and in many checkpoints; `NLI` is the order on the hub."""


def test_labels_in_the_order_of_glues_files_are_mapped_to_the_hubs(tmp_path, monkeypatch):
    """If training and scoring use different orders of classes, correct predictions count as wrong. A data set with
    class names in its label column is read by name."""
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
    metadata = {"configs": [{"config_name": "mnli", "data_files": files}]}
    (tmp_path / "glue" / "README.md").write_text(f"---\n{yaml.safe_dump(metadata)}---\n", encoding="utf-8")
    mnli = next(task for task in TASKS if task.name == "mnli")
    loaded = mnli.load(str(tmp_path / "glue"))
    assert mnli.labels == NLI == ("entailment", "neutral", "contradiction")
    for part in (loaded.train, *loaded.validation.values()):
        assert [NLI[label] for label in part["label"]] == list(TSV)


def test_a_checkpoints_head_with_another_order_of_classes_is_mapped_to_the_tasks(tmp_path):
    """The same for a teacher that was fine-tuned elsewhere."""
    mnli = next(task for task in TASKS if task.name == "mnli")
    for family in ("bert", "roberta", "distilbert"):
        model = tiny_model(family, num_labels=3, seed=1)
        model.config.id2label = {i: name.upper() for i, name in enumerate(TSV)}
        model.save_pretrained(tmp_path / family)
        ids = {"input_ids": torch.arange(3, 9)[None], "attention_mask": torch.ones(1, 6, dtype=torch.long)}
        loaded = heads.load(tmp_path / family, mnli, seed=0)
        assert loaded.config.id2label == dict(enumerate(NLI))
        by_name = [
            dict(zip(names, classifier(**ids).logits[0].tolist(), strict=True))
            for names, classifier in ((TSV, model), (NLI, loaded))
        ]
        assert by_name[1] == pytest.approx(by_name[0], rel=1e-4)


def test_a_result_of_one_model_is_not_reused_for_another(small):
    """A public benchmark stores results by task and method only, so that the numbers of one model appear under the name
    of another. Here the key includes the weights: other weights give another key, a moved folder does not."""

    def keys(folder, seed):
        tiny_model(layers=2, vocab=32, seed=seed).save_pretrained(small.folder / folder)
        tokenizers.whole_word(["sun night tree"]).save_pretrained(small.folder / folder)
        plan = small.plan(f"teachers={{base: {{model: {small.folder / folder}, epochs: 1}}}}")
        return {job.planned.key for job in plan.runs}, {job.key for job in plan.teachers}

    runs, teachers = keys("first", seed=1)
    assert keys("moved", seed=1) == (runs, teachers)
    others, other_teachers = keys("first", seed=2)
    assert not runs & others
    assert not teachers & other_teachers
    small.run(
        "students={a: {layers: 1, init: uniform}, b: {layers: 2, init: uniform}}", "methods=[finetune]", "seeds=[1]"
    )
    assert {record.student: record.size.layers for record in small.store().records()} == {"a": 1, "b": 2}


def test_no_mean_skips_a_task_that_is_missing(tmp_path):
    """A public board averages over the tasks with results, so that omitting a hard task raises the mean. Here the
    row has no average and no rank, and names the missing run."""
    store = fill(tmp_path / "demo")
    complete = {(row.label, row.student): row for row in summarize(store).students}
    (store.run_folder(run_key("sst2", "kd", "big", 2)) / "record.json").unlink()
    rows = {(row.label, row.student): row for row in summarize(store).students}
    assert complete["kd", "big"].average is not None
    incomplete = rows.pop(("kd", "big"))
    assert (incomplete.average, incomplete.rank, incomplete.status) == (None, None, "incomplete")
    assert all(row.average == complete[name].average for name, row in rows.items())
    line = next(line for line in write(store.folder).board.lines if line.cells[1:3] == ("kd", "big"))
    assert line.cells[0] == "incomplete"
    assert "seed 2 not run yet" in write(store.folder).markdown


class Crash(BaseException):
    """Simulates the end of the process during a write."""


def crash(*args, **kwargs):
    raise Crash


def test_the_record_is_written_after_the_data(small, monkeypatch):
    """A public script writes its completion marker before the model: if it is killed in between, the result is never
    computed. Here a student or teacher whose writing was interrupted is not done, and the next run trains it again."""
    store = small.store()
    with pytest.raises(Crash):
        store.save(run_record(key="k"), export=crash)
    assert store.record("k") is None
    sets = ("methods=[finetune]", "seeds=[1]")
    predictions = "pandas.DataFrame.to_parquet"
    interrupted_writes = [
        ("harness.execution.teacher_runs.FineTuneResult.model_dump_json", False),
        (predictions, False),  # the teacher's
        ("harness.storage.records.RunRecord.model_dump_json", True),
        (predictions, True),  # the student's
    ]
    for write_function, teacher_done in interrupted_writes:
        with monkeypatch.context() as patched:
            patched.setattr(write_function, crash)
            with pytest.raises(Crash):
                small.run(*sets)
        (run,) = run_status.status(small.plan(*sets), store)
        assert not run.done
        assert bool(store.teachers()) == teacher_done, "a teacher is done when its weights and predictions are stored"
    assert not small.run(*sets).failed
    (run,) = run_status.status(small.plan(*sets), store)
    assert run.done


@pytest.fixture(scope="module")
def timed():
    """A latency record of three rounds, and the shape of each batch of the model's calls."""
    shapes = []

    def load():
        model = tiny_model()
        model.register_forward_pre_hook(
            lambda m, args, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
        )
        return model

    settings = LatencySpec(batch_sizes=[5], lengths=[7], backends=["eager"], rounds=3, warmup=12, memory=False)
    record = measure(
        Candidates([Candidate("a", "model", "random", {"name": "a"}, load)]),
        settings,
        CPU,
        backends={"eager": Eager()},
        say=lambda _: None,
    )
    return record, shapes


def test_the_warm_up_runs_the_model(timed):
    """A public benchmark counts warm-up batches without running the model, so that the first timed call is the model's
    first. Here each counted call runs the model, or its second copy, at the timed shape."""
    record, shapes = timed
    assert all(timing.warmup >= 10 for timing in record.timings)
    assert shapes.count((5, 7)) == sum(timing.warmup + len(timing.nanoseconds) for timing in record.timings)


def test_percentiles_need_enough_calls(timed):
    """A public benchmark prints the 99th percentile of ten calls, which is their maximum. Here the 90th is the highest
    percentile, and it needs at least ten calls."""
    record, _ = timed

    def p90(rounds):
        timings = [t.model_copy(update={"nanoseconds": list(range(1, rounds + 1))}) for t in record.timings]
        shortened = record.model_copy(update={"timings": timings})
        lines = [line.split("|") for line in markdown("t", [shortened]).splitlines() if line.startswith("|")]
        header, _, line = lines[:3]
        return line[[cell.strip() for cell in header].index("p90 (ms)")].strip(), csv_rows([shortened])[0]["p90"]

    assert p90(9) == ("–", None)
    assert p90(10) == ("0.000", pytest.approx(9.1e-9))
    assert "p99" not in markdown("t", [record])


def test_throughput_counts_examples_and_tokens(timed):
    """A public benchmark divides `len(batch)` by the time, which for a dict of tensors is its number of keys. Here a
    batch of five has five rows, and the tokens of a run are those it was trained on, without padding."""
    record, shapes = timed
    assert {(timing.batch_size, timing.length) for timing in record.timings} == {(5, 7)}
    assert shapes[-1] == (5, 7)
    setup = World("classification", TrainingSpec(epochs=2, batch_size=8))
    run = setup.run("finetune")
    list(setup.cohort(run).train(stop=lambda: False, checkpoint=lambda run: None))
    assert run.cost.tokens == 2 * sum(int(length) for length in setup.data.train.lengths)
