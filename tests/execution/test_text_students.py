"""Text stages: executed once, before all tasks, and used by every run that starts from their result."""

import itertools
import random
import re
import shutil
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM, BertModel

from harness import hookimpl
from harness.execution import student_runs, text_student_files, text_students
from harness.execution.job_states import job_states
from harness.execution.ray_engine import transport
from harness.execution.ray_engine.artifact_files import files_of
from harness.execution.ray_engine.transport import Roots
from harness.models import heads, tokenizers
from harness.planning import graph_builder, keys
from harness.plugin_host.host import Host
from harness.resolution.method_rows import has_text_stage
from harness.storage import checksums
from harness.storage.store import Store
from harness.training.continued_modules import weights_of
from harness.training.run import Run
from harness.training.text_distillation import TextStageMethod
from tests.support.student_weights import change_student

WORDS = ["sun", "lamp", "fire", "night", "cave", "coal", "tree", "road", "hand", "song"]
METHODS = [
    "finetune",
    "distilbert",
    "tinybert",
    {"minilm": {"assistant": True}},
    {"minilm": {"label": "plain", "general": False}},
]


def pretrained(folder, *, head=True):
    tokenizer = tokenizers.whole_word([" ".join(WORDS)])
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), num_hidden_layers=2, hidden_size=32, num_attention_heads=2, intermediate_size=64
    )
    (BertForMaskedLM if head else BertModel)(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture
def suite(small):
    """The small suite, with a pretrained teacher, and a text."""
    rng = random.Random(1)
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(3, 25))) for _ in range(120)]
    (small.folder / "corpus.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    pretrained(small.folder / "base")
    content = yaml.safe_load(small.path.read_text(encoding="utf-8"))
    content["teachers"] = {"base": {"model": "./base", "epochs": 1, "lr": 1e-3}}
    content["methods"] = METHODS
    content["general"] = {"data": "corpus.txt", "steps": 12, "batch_size": 8, "max_length": 12, "lr": 1e-3}
    small.path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return small


class Listener:
    def __init__(self):
        self.started, self.finished, self.failed = [], [], {}

    @hookimpl
    def harness_run_started(self, event):
        self.started.append((event.run.role, event.run.label, event.run.student))

    @hookimpl
    def harness_run_finished(self, event):
        self.finished.append((event.run.role, event.run.label, event.run.student))

    @hookimpl
    def harness_run_failed(self, event):
        self.failed[event.run.role, event.run.label, event.run.student] = event.error


def weights(store, record):
    return load_file(store.run_folder(record.key) / "student" / "model.safetensors")


def test_each_text_stage_is_executed_once_before_all_tasks(suite):
    listener = Listener()
    outcome = suite.run(observers=(listener,))
    assert outcome.failed == []
    general = [started for started in listener.started if started[0] == "general"]
    assert listener.started[: len(general)] == general
    assert sorted(listener.finished) == sorted(listener.started)
    assert sorted(general) == [
        ("general", "distilbert", "1x32"),
        ("general", "minilm", "1x32"),
        ("general", "minilm", "assistant of 1x32"),
        ("general", "tinybert", "1x32"),
    ]
    again = Listener()
    suite.run("seeds=[1, 2, 3]", "training.lr=0.002", observers=(again,))
    assert {role for role, *_ in again.started} == {"student"}


def test_records_students_and_the_board(suite):
    from harness.reporting import report

    suite.run()
    store = suite.store()
    planned = {(*job.labels, job.student): job for job in store.plan().generals}
    assistant, student = planned["minilm", "assistant of 1x32"], planned["minilm", "1x32"]
    records = {place: store.general(job.key) for place, job in planned.items()}
    assert records["minilm", "assistant of 1x32"].size.layers == 2  # as deep as the teacher
    assert records["minilm", "1x32"].size.layers == 1
    assert records["minilm", "1x32"].parts["teacher"] == assistant.key
    assert {point.stage for point in records["tinybert", "1x32"].losses} == {"general"}
    # tinybert and the assistant use unmasked text and the same teacher: one cohort, one teacher forward per batch.
    costs = [records[place].cost for place in (("tinybert", "1x32"), ("minilm", "assistant of 1x32"))]
    assert [(cost.cohort_size, cost.teacher_forwards) for cost in costs] == [(2, 12), (2, 12)]
    folder = store.general_folder(student.key) / "student"
    assert AutoModel.from_pretrained(folder).config.num_hidden_layers == 1
    AutoModelForMaskedLM.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("sun lamp")["input_ids"]
    text = report(store.folder).markdown
    assert "minilm, assistant of 1x32: 12 steps on corpus.txt" in text
    assert f"general/{student.key}/student" in text


def test_a_failed_text_stage_is_reported_after_the_others_are_stored(suite, monkeypatch):
    losses = TextStageMethod.losses

    def faulty(self, *args):
        if self.method.name == "tinybert":
            raise ZeroDivisionError("on purpose")
        return losses(self, *args)

    methods = "methods=[tinybert, {minilm: {assistant: true}}]"
    with monkeypatch.context() as patch:
        patch.setattr(TextStageMethod, "losses", faulty)
        outcome = suite.run(methods, "seeds=[1]")
    (failure,) = outcome.failures
    assert failure.title == "student 1x32 of tinybert on text"
    assert re.match(r"step 1 .*on purpose", failure.error)
    assert {(record.label, record.error) for record in outcome.failed} == {("tinybert", failure.cause)}
    listener = Listener()
    assert suite.run(methods, "seeds=[1]", observers=(listener,)).failed == []
    general = [(label, student) for role, label, student in listener.started if role == "general"]
    assert general == [("tinybert", "1x32")], "the others are stored"


def test_every_model_may_run_code_of_its_own_if_the_suite_allows_it(suite, monkeypatch):
    allowed, load = [], heads.load

    def watched(folder, task, *, trust_remote_code=False, **options):
        allowed.append((folder.name, trust_remote_code))
        return load(folder, task, **options)

    monkeypatch.setattr(heads, "load", watched)
    outcome = suite.run(
        "methods=[{minilm: {assistant: true}}]", "seeds=[1]", "general.steps=2", "trust_remote_code=true"
    )
    assert outcome.failed == []
    assert len(dict(allowed)) >= 3, "the teacher, its assistant and the student"
    assert all(trust for _, trust in allowed), allowed


ONE = ("methods=[tinybert]", "seeds=[1]", "general.steps=2")


@pytest.fixture
def stage(suite):
    """A finished suite with one text stage: its job."""
    suite.finished(*ONE)
    (job,) = suite.plan(*ONE).text_stages(suite.plan(*ONE).runs)
    return job


def two_seeds(suite):
    """Add a seed. Returns the roles of the runs that start."""
    listener = Listener()
    outcome = suite.run(*ONE, "seeds=[1, 2]", observers=(listener,))
    assert not [*outcome.failed, *outcome.failures]
    return {role for role, *_ in listener.started}


def state_of(suite, job):
    """The state of a text stage in the list of jobs."""
    plan, context = suite.plan(*ONE, "seeds=[1, 2]"), suite.context()
    states = job_states(plan, graph_builder.build(plan, plan.runs), context.store, context.host)
    (state,) = [state for state in states if job.key in {artifact.key for artifact in state.job.artifacts}]
    return state.state


def delete_cache(job):
    shutil.rmtree(text_student_files.cached(job).path)


def change_cache(job):
    """The cache has another student with the same key, such as that of a suite in another results folder."""
    path = text_student_files.cached(job).path
    weights = load_file(path / "model.safetensors")
    save_file({name: -tensor for name, tensor in weights.items()}, path / "model.safetensors", {"format": "pt"})
    checksums.seal(path, *(file for file in checksums.files_at(path) if file.name != checksums.NAME))


def damage_cache(job):
    (text_student_files.cached(job).path / "model.safetensors").write_bytes(b"damaged")


@pytest.mark.parametrize("lose", [delete_cache, change_cache, damage_cache])
def test_the_stored_student_is_used_if_the_cache_has_it_no_more(suite, stage, lose):
    """The same weights as those that earlier seeds started from: trained again, a GPU could give others."""
    stored = suite.store().general_folder(stage.key)
    change_student(stored)
    lose(stage)
    assert state_of(suite, stage) == "done"
    assert two_seeds(suite) == {"student"}
    cached = text_student_files.cached(stage)
    assert cached.is_kept()
    weights, used = (load_file(path / "model.safetensors") for path in (stored / "student", cached.path))
    assert weights.keys() == used.keys()
    assert all(torch.equal(used[name], tensor) for name, tensor in weights.items())
    assert (cached.path / text_student_files.RECORD).read_bytes() == (stored / "record.json").read_bytes()


def test_a_worker_on_another_node_gets_the_stored_student(suite, stage, tmp_path):
    plan, here = suite.plan(*ONE), Roots(suite.store().folder, suite.folder / "cache")
    (artifact,) = [
        artifact
        for job in graph_builder.build(plan, plan.runs).jobs
        for artifact in job.artifacts
        if artifact.key == stage.key
    ]
    change_student(suite.store().general_folder(stage.key))
    sent = transport.read(files_of(artifact, here).sources, here)
    delete_cache(stage)
    transport.write(sent, Roots(tmp_path / "worker", here.cache))
    context = replace(suite.context(), store=Store(tmp_path / "worker"))
    assert list(text_students.make([stage], context)) == [(stage, None)]
    for name in ("model.safetensors", text_student_files.MODULES):
        received = (text_student_files.cached(stage).path / name).read_bytes()
        assert received == (suite.store().general_folder(stage.key) / "student" / name).read_bytes()


def test_a_stored_student_that_was_removed_is_distilled_again_unless_the_cache_has_it(suite, stage):
    shutil.rmtree(suite.store().general_folder(stage.key) / "student")
    assert state_of(suite, stage) == "done"
    assert two_seeds(suite) == {"student"}
    delete_cache(stage)
    shutil.rmtree(suite.store().run_folder(suite.plan(*ONE).runs[0].planned.key))
    assert state_of(suite, stage) == "ready"
    assert two_seeds(suite) == {"general", "student"}


def test_a_damaged_stored_student_fails_its_stage_alone(suite, stage):
    delete_cache(stage)
    damaged = suite.store().general_folder(stage.key) / "student" / "model.safetensors"
    damaged.write_bytes(b"damaged")
    outcome = suite.run("methods=[tinybert, distilbert]", "seeds=[1, 2]", "general.steps=2")
    (failure,) = outcome.failures
    assert failure.title == "student 1x32 of tinybert on text"
    assert str(damaged) in failure.error
    assert "`harness doctor DIR --repair` sets aside" in failure.error
    assert {record.label for record in outcome.failed} == {"tinybert"}


THREE = ("methods=[tinybert, {minilm: {assistant: true}}, glmd]", "seeds=[1]", "general.steps=2")
"""Text stages of one cohort, and one that learns from a member of it. Only glmd needs the teacher's head."""


def failed_stages(outcome):
    return {failure.title: failure.error for failure in outcome.failures}


def test_notes_that_cannot_be_stored_fail_their_stage_only(suite, monkeypatch):
    notes = TextStageMethod.notes
    monkeypatch.setattr(
        TextStageMethod, "notes", lambda self: {"w": object()} if self.method.name == "tinybert" else notes(self)
    )
    listener = Listener()
    outcome = suite.run(*THREE, observers=(listener,))
    ((title, error),) = failed_stages(outcome).items()
    assert title == "student 1x32 of tinybert on text"
    assert error.startswith("before step 1 (general): TypeError: notes()['w'] is of type object; expected plain values")
    assert listener.failed["general", "tinybert", "1x32"] == error
    assert {record.label for record in outcome.failed} == {"tinybert"}


def test_lack_of_memory_halves_a_cohort_and_a_run_that_cannot_be_built_fails_alone(suite, monkeypatch):
    cohort, with_examples = text_students._cohort, text_students.with_examples

    def starved(jobs, context):
        if len(jobs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return cohort(jobs, context)

    def broken(method, examples):
        if method.name == "tinybert":
            raise ValueError("cannot be built")
        return with_examples(method, examples)

    monkeypatch.setattr(text_students, "_cohort", starved)
    monkeypatch.setattr(text_students, "with_examples", broken)
    outcome, store = suite.run(*THREE), suite.store()
    assert failed_stages(outcome) == {"student 1x32 of tinybert on text": "before step 1: ValueError: cannot be built"}
    stored = {(job.labels[0], job.student): store.general(job.key) for job in store.plan().generals}
    assert stored.pop(("tinybert", "1x32")) is None
    assert {record.cost.cohort_size for record in stored.values()} == {1}


WEIGHTS = {
    "distilbert": ("{temperature: 3}", {"mlm_kd": 5, "mlm": 2, "cosine": 1}),
    "tinybert": (
        "{attention_weight: 3, representation_weight: 0.25}",
        {"attention": 3, "hidden": 0.25, "embedding": 0.25},
    ),
    "minilm": ("{version: 2}", {"qq": 1, "kk": 1, "vv": 1}),
    "glmd": ("{lm_temperature: 2}", {"lm_kd": 1}),
}
"""Of every method with such a stage: options, and the weights that its README documents for them."""


def test_the_total_is_the_sum_of_the_terms_by_their_weights(suite):
    assert WEIGHTS.keys() == {name for name, method in Host.create().methods.items() if has_text_stage(method)}
    methods = ", ".join(f"{name}: {options}" for name, (options, _) in WEIGHTS.items())
    suite.run(f"methods=[{methods}]", "seeds=[1]")
    for planned in suite.store().plan().generals:
        ((method,), record) = planned.labels, suite.store().general(planned.key)
        _, weights = WEIGHTS[method]
        for point in record.losses:
            assert point.terms.keys() == {"loss", *weights}
            parts = [weight * point.terms[name] for name, weight in weights.items()]
            assert min(parts) > 1e-4 * sum(parts), f"{method}: a term is too small to be seen"
            assert point.terms["loss"] == pytest.approx(sum(parts), rel=1e-5)


def test_tuning_leaves_the_stage_as_it_is(suite):
    listener = Listener()
    tuned = ("tuning={trials: 3}", "methods=[distilbert, tinybert]", "seeds=[1]")
    assert suite.run(*tuned, observers=(listener,)).failed == []
    roles = [role for role, *_ in listener.started]
    assert (roles.count("general"), roles.count("trial")) == (2, 6), "one stage for all trials"
    tuning_records = {record.label: suite.store().tuning(record.tuning.study) for record in suite.store().records()}
    spaces = {label: set(record.space) for label, record in tuning_records.items()}
    assert spaces == {"distilbert": {"training.lr", "alpha"}, "tinybert": {"training.lr", "temperature"}}
    # With its default, alpha 0, distilbert needs no teacher, but the trials do.
    assert [trial.error for trial in tuning_records["distilbert"].trials] == [None] * 3
    assert tuning_records["distilbert"].trials[1].values["alpha"] > 0


def test_rows_that_share_a_stage_are_all_named(suite):
    plan = suite.plan("methods=[tinybert, {tinybert: {label: soft, temperature: 2}}]")
    (planned,) = plan.file("").generals
    assert planned.labels == ["tinybert", "soft"]


def test_runs_start_from_the_result(suite):
    """With a learning rate near 0, a run ends with its initial weights."""
    suite.run("training.lr=1e-30", "methods=[tinybert]", "seeds=[1, 2]")
    store = suite.store()
    (planned,) = store.plan().generals
    distilled = load_file(store.general_folder(planned.key) / "student" / "model.safetensors")
    for record in store.records():
        assert record.parts["student"]["init"] == "general"
        assert record.parts["student"]["source"] == planned.key
        weights_of_run = weights(store, record)
        shared = [name for name in weights_of_run if name in distilled]
        assert len(shared) > 15
        assert all(torch.equal(weights_of_run[name], distilled[name]) for name in shared)
    from_teacher = load_file(suite.folder / "base" / "model.safetensors")
    name = "bert.encoder.layer.0.output.dense.weight"
    assert not torch.equal(distilled[name], from_teacher["bert.encoder.layer.1.output.dense.weight"])


def first_modules(suite, monkeypatch, *overrides):
    """The modules of each run of a suite before its first step, by seed."""
    found = {}

    def watched(run_id, *args, **given):
        run = Run(run_id, *args, **given)
        found[run_id.seed] = weights_of(run.modules)
        return run

    monkeypatch.setattr(student_runs, "Run", watched)
    outcome = suite.run(*overrides)
    assert not [*outcome.failed, *outcome.failures]
    return found


def test_runs_continue_with_the_modules_of_the_text_stage(suite, stage, monkeypatch):
    trained = load_file(suite.store().general_folder(stage.key) / "student" / text_student_files.MODULES)
    assert trained.keys() == {"embedding.weight", "hidden_1.weight"}
    assert not any(torch.equal(weight, torch.eye(32)) for weight in trained.values())
    delete_cache(stage)
    found = first_modules(suite, monkeypatch, *ONE, "seeds=[2, 3]")
    assert found.keys() == {2, 3}
    for modules in found.values():
        assert all(torch.equal(modules[name], weight) for name, weight in trained.items())


def test_a_run_without_the_text_stage_has_new_modules(suite, stage, monkeypatch):
    found = first_modules(suite, monkeypatch, "methods=[tinybert: {general: false}]", "seeds=[1]")
    assert all(torch.equal(weight, torch.eye(32)) for weight in found[1].values())


def test_only_students_of_methods_with_modules_have_a_file_of_them(suite):
    suite.run("seeds=[1]", "general.steps=2")
    students = {job.labels[0]: suite.store().general_folder(job.key) for job in suite.store().plan().generals}
    having = {label for label, folder in students.items() if (folder / "student" / text_student_files.MODULES).exists()}
    assert having == {"tinybert"}


def test_the_version_of_the_modules_changes_the_keys_of_methods_with_modules_only(suite, monkeypatch):
    def found():
        plan = suite.plan("seeds=[1]")
        stages = {f"{job.label} on text": job.key for job in plan.text_stages(plan.runs)}
        return {**stages, **{run.planned.label: run.planned.key for run in plan.runs}}

    before = found()
    monkeypatch.setattr(keys, "TEXT_STAGE_MODULES_VERSION", 100)
    assert {name for name, key in found().items() if key != before[name]} == {"tinybert", "tinybert on text"}


def test_general_false_and_methods_without_one_keep_their_keys(suite):
    with_it = {run.planned.label: run.planned.key for run in suite.plan().runs if run.planned.seed == 1}
    methods = "methods=[finetune, tinybert, {minilm: {label: plain}}]"
    without = {
        run.planned.label: run.planned.key for run in suite.plan("general=null", methods).runs if run.planned.seed == 1
    }
    assert with_it["finetune"] == without["finetune"]
    assert with_it["plain"] == without["plain"]
    assert with_it["tinybert"] != without["tinybert"]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ("general.steps=13", False),
        ("general.lr=0.002", False),
        ("general.seed=2", False),
        ("general.max_length=14", False),
        ("methods=[tinybert: {attention_loss: kl}]", False),
        ("methods=[tinybert: {temperature: 3}]", True),
        ("training.epochs=2", True),
        ("training.limit.train=50", True),
        ("tasks=[order]", True),
    ],
)
def test_the_key_of_a_text_stage_depends_only_on_its_settings(suite, change, same):
    def key(*overrides):
        plan = suite.plan("methods=[tinybert]", *overrides)
        (job,) = plan.text_stages(plan.runs)
        return job.key

    assert (key(change) == key()) is same


TEXT_KD = """
from pydantic import Field
from harness import Augmentation, General, Method, MethodConfig, Needs, Stage, hookimpl
from harness.api.losses import task_loss, token_kl

class TextKD(Method):
    name = "text_kd"
    class Config(MethodConfig):
        t: float = Field(1.0, description="temperature")
        rate: float | None = Field(None, description="learning rate")
        freeze: bool = Field(False, description="whether to freeze the embeddings")
    def general(self):
        frozen = frozenset({"embeddings"} if self.config.freeze else ())
        stage = Stage("text", Needs(["logits"], [["logits"]]), lr=self.config.rate, frozen=frozen)
        return General(stage, **OPTIONS)
    def augmentation(self):
        return Augmentation(lambda rows, model, files: rows, **OPTIONS)
    def stages(self):
        return [Stage("task", Needs(["logits"]))]
    def losses(self, step, batch, student, teachers):
        if batch.kind == "text":
            return {"kd": token_kl(student.logits, teachers[0].logits, batch.mask, self.config.t)}
        return {"task": task_loss(student.logits, batch)}

@hookimpl
def harness_register_methods(register):
    register(TextKD)
"""


@pytest.fixture
def keys_of_text_kd(suite):
    """The keys of the text stage and of the augmented data, with these options of `General` and `Augmentation`."""

    def keys(declared, option):
        (suite.folder / "text_kd.py").write_text(TEXT_KD.replace("OPTIONS", declared), encoding="utf-8")
        plan = suite.plan(f"methods=[text_kd: {{{option}}}]", plugins=(str(suite.folder / "text_kd.py"),))
        ((stage,), run) = plan.text_stages(plan.runs), plan.runs[0]
        return stage.key, run.augmented.key

    return keys


@pytest.mark.parametrize("option", ["t: 8", "rate: 0.5", "freeze: true"])
def test_work_before_the_task_depends_on_every_option_unless_the_method_names_some(keys_of_text_kd, option):
    (stage, data), (other_stage, other_data) = keys_of_text_kd("{}", ""), keys_of_text_kd("{}", option)
    assert stage != other_stage
    assert data != other_data


@pytest.mark.parametrize(("option", "same"), [("t: 8", True), ("rate: 0.5", False), ("freeze: true", False)])
def test_a_method_that_names_its_options_shares_a_text_stage_with_the_same_settings(keys_of_text_kd, option, same):
    none = "dict(options={})"
    (stage, data), (other_stage, other_data) = keys_of_text_kd(none, ""), keys_of_text_kd(none, option)
    assert (stage == other_stage) is same
    assert data == other_data


def test_settings_of_the_stage_do_not_hide_an_option_of_the_same_name(suite):
    (suite.folder / "text_kd.py").write_text(TEXT_KD.replace("OPTIONS", "dict(options={'lr': 7})"), encoding="utf-8")
    plan = suite.plan("methods=[text_kd: {rate: 0.5}]", plugins=(str(suite.folder / "text_kd.py"),))
    (stage,) = plan.text_stages(plan.runs)
    assert stage.parts["method"]["options"] == {"lr": 7, "stage.lr": 0.5}


def test_frozen_parameters_of_distilbert_are_part_of_the_key(suite):
    plan = suite.plan("methods=[distilbert: {freeze_positions: true}]")
    (stage,) = plan.text_stages(plan.runs)
    assert stage.parts["method"]["options"] == {"temperature": 2.0, "frozen": ["position_embeddings"]}


def distil(jobs, context):
    """Run the text stages of jobs, cohort by cohort."""
    for _, group in itertools.groupby(jobs, key=lambda job: job.cohort):
        assert [error for _, error in text_students.make(list(group), context) if error] == []


def test_an_interruption_gives_the_same_bits(suite, monkeypatch):
    from harness.api.engine import Interrupted

    def make(stop):
        plan = suite.plan("methods=[distilbert, tinybert]")
        jobs = plan.text_stages(plan.runs)
        distil(jobs, suite.context(stop))
        return {job.label: load_file(text_student_files.cached(job).path / "model.safetensors") for job in jobs}

    uninterrupted = make(lambda: False)
    for folder in ("cache", "results/small"):
        shutil.rmtree(suite.folder / folder / "general")
    stop_checks = iter(range(100))
    with pytest.raises(Interrupted):
        make(lambda: next(stop_checks) > 5)
    assert list((suite.folder / "cache" / "general").glob("*.pt"))
    after = make(lambda: False)
    assert not list((suite.folder / "cache" / "general").glob("*.pt"))
    for label, tensors in uninterrupted.items():
        assert all(torch.equal(tensor, after[label][name]) for name, tensor in tensors.items())


def test_a_student_is_bit_identical_alone_and_in_a_cohort(suite):
    def make(methods):
        plan = suite.plan(f"methods={methods}")
        jobs = plan.text_stages(plan.runs)
        distil(jobs, suite.context())
        students = {
            (job.label, job.student): load_file(text_student_files.cached(job).path / "model.safetensors")
            for job in jobs
        }
        for folder in ("cache", "results/small"):
            shutil.rmtree(suite.folder / folder / "general")
        return students

    both = make("[tinybert, minilm]")
    for alone in (make("[tinybert]"), make("[minilm]")):
        for place, tensors in alone.items():
            assert all(torch.equal(tensor, both[place][name]) for name, tensor in tensors.items())


def test_the_result_alone_as_init(suite):
    suite.run("methods=[tinybert]", "seeds=[1]")
    (planned,) = suite.store().plan().generals
    init = suite.store().general_folder(planned.key) / "student"
    outcome = suite.run("general=null", "methods=[finetune]", f"students.1x32.init={init}")
    assert outcome.failed == []


def test_a_teacher_from_scratch_cannot_have_a_text_stage(suite):
    scratch = "teachers={base: {architecture: {layers: 2, hidden: 32, heads: 2, ffn: 64}}}"
    reasons = {cell.label: cell.reason for cell in suite.plan(scratch).not_applicable}
    assert reasons.keys() == {"distilbert", "tinybert", "minilm"}
    assert "trained from scratch" in reasons["tinybert"]
    assert "`general: false`" in reasons["tinybert"]


def test_predictions_need_a_teacher_with_a_trained_head(suite):
    shutil.rmtree(suite.folder / "base")
    pretrained(suite.folder / "base", head=False)
    outcome = suite.run("methods=[distilbert, tinybert]", "seeds=[1]")
    assert [record.label for record in outcome.failed] == ["distilbert"], "tinybert does not use the head"
    (failure,) = outcome.failures
    assert re.search(r"no trained masked language model.*`general: false`.*distilbert", failure.error)
