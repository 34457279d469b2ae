"""Sentences of the model card that depend on the run."""

import re
from dataclasses import replace

import pytest
import torch
import yaml

from harness.analysis.aggregate import summarize
from harness.analysis.best_students import candidates
from harness.config.latency_schema import LatencySpec
from harness.export import model_card
from harness.export.model_card import CardFacts
from harness.export.model_folder import ModelFiles
from harness.export.onnx_files import OnnxFile
from harness.prediction import loaded_model, predictions
from harness.storage.plan_file import DataReport
from harness.storage.records import EpochScore, SelectionRecord
from harness.storage.run_lookup import StoredRun
from tests.support.latency_factory import latency_record
from tests.support.results_factory import SST2, fill, plan, run_key, run_record, teacher_record
from tests.support.tiny_checkpoints import save_checkpoint
from tests.support.tokenizer_factory import corpus

KEY = run_key("sst2", "kd", "small", 1)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """kind -> a model with a head of that kind."""
    root = tmp_path_factory.mktemp("models")
    return {
        kind: loaded_model.load(save_checkpoint(root / kind, kind), max_length=24)
        for kind in ("classification", "multilabel", "regression", "qa", "token_classification")
    }


def card(folder, model, *, onnx=(), latency=None, teacher=None, finetune=True, metrics=None, task=SST2, **changes):
    """The card of a run whose record has `changes`, and those `metrics`."""
    planned = plan([task], seeds=1, latency=latency and latency.settings)
    store = fill(folder, planned, instead={KEY: run_record("sst2", "kd", "small", 1, 0.75, **changes)})
    if latency is not None:
        store.save_latency(latency)
    if teacher is not None:
        store.save_teacher(teacher_record("sst2", model=teacher).model_copy(update={"finetune": finetune}))
    summary = summarize(store)
    record = store.record(KEY)
    record = record if metrics is None else record.model_copy(update={"metrics": metrics})
    row = next(row for row in candidates(summary, task) if row.name == "kd on small")
    return model_card.text(CardFacts(summary, StoredRun(store, record), task, row), ModelFiles(model, onnx))


def metadata(text):
    return yaml.safe_load(text.split("---")[1])


@pytest.mark.parametrize(
    ("kind", "pipeline", "call"),
    [
        ("classification", "text-classification", 'model("A text")'),
        ("multilabel", "text-classification", 'model("A text", top_k=None)'),
        ("regression", "text-classification", 'model("A text")'),
        ("qa", "question-answering", 'tokenizer("Where is it?", context, return_tensors="pt", '),
        ("token_classification", "token-classification", 'model("Ada Lovelace lived in London.")'),
    ],
)
def test_the_printed_code_works(tmp_path, models, kind, pipeline, call):
    text = card(tmp_path, models[kind])
    assert metadata(text)["pipeline_tag"] == pipeline
    assert call in text
    run_code(text, models[kind])


def run_code(text, model, context="It is in the garden."):
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    code = code.replace("PATH_OR_HUB_ID", str(model.model.config.name_or_path)).replace("It is in the garden.", context)
    exec(compile(code, "card", "exec"), {})


def test_the_printed_code_gives_the_answers_that_are_scored(tmp_path, capsys):
    read = loaded_model.load(save_checkpoint(tmp_path / "model", "qa", seed=3), max_length=24)
    question = "Where is it?"
    contexts = [text for text in corpus(40, seed=3) if len(read.tokenizer(question, text)["input_ids"]) <= 24][:6]
    contexts += contexts[0].split()  # of few spans, so that some score less than no answer
    for unanswerable in (False, True):
        model = replace(read, unanswerable=unanswerable)
        columns = ([question] * len(contexts), contexts)
        expected = predictions.predict(model, columns, torch.device("cpu"), batch_size=4)["answer"]
        assert len(set(expected)) > 3
        text = card(tmp_path / str(unanswerable), model)
        for context in contexts:
            run_code(text, model, context)
        assert capsys.readouterr().out.split("\n")[:-1] == expected
        assert ("" in expected) == unanswerable


def test_a_local_teacher_is_named_without_its_path(tmp_path, models):
    text = card(tmp_path, models["classification"], teacher="/home/me/secret/big-teacher")
    assert "from `base` (a local checkpoint, big-teacher)" in text
    assert "secret" not in text
    assert "base_model" not in metadata(text)


def test_latencies_of_every_backend(tmp_path, models):
    settings = LatencySpec(batch_sizes=[1, 8], lengths=[32], backends=["eager", "onnx"], rounds=10)
    text = card(tmp_path, models["classification"], latency=latency_record(settings=settings))
    assert "| eager, batch 1 of 32 tokens, on cpu, Test CPU, 2 cores, 2 threads | 2.00 | 2.00 | 4.0× base |" in text
    assert "| onnx, batch 1 of 32 tokens, on cpu" in text


def test_without_measurements_there_is_no_latency(tmp_path, models):
    assert "## Latency" not in card(tmp_path, models["classification"])


def test_selection_on_the_scored_examples_is_said(tmp_path, models):
    epochs = [EpochScore(step=10, epoch=1, score=0.75)]
    on = SelectionRecord(on="validation", examples=100, fingerprint="f", epochs=epochs, step=10)
    assert "so the scores are likely to be too high" in card(tmp_path, models["classification"], selection=on)


@pytest.mark.parametrize(
    ("finetune", "claim"),
    [
        (True, "on which nothing was trained."),
        (False, "on which this model was not trained; of a teacher that was fine-tuned before, this is not known."),
    ],
)
def test_what_is_known_about_training_on_the_scored_examples(tmp_path, models, finetune, claim):
    assert claim in card(tmp_path, models["classification"], teacher="some/teacher", finetune=finetune)


@pytest.mark.parametrize("finetune", [True, False])
def test_training_texts_among_the_scored_ones_are_said(tmp_path, models, finetune):
    data = DataReport(examples={"validation": 100}, overlap={"validation": 2})
    task = SST2.model_copy(update={"data": data})
    text = card(tmp_path, models["classification"], teacher="some/teacher", finetune=finetune, task=task)
    assert (
        "**Note that the texts of 2 of 100 validation examples (2.0 %) are also training texts, so scores are likely to"
        " be too high.**"
    ) in text.split("## Use")[0]
    assert "100 examples of validation, some of which have texts of the training split." in text
    assert "trained." not in text.split("## Scores")[1].split("##")[0]


def test_onnx_files_are_listed(tmp_path, models):
    text = card(tmp_path, models["classification"], onnx=[OnnxFile("onnx/model_int8.onnx", 0.012, 0.99, 200)])
    assert (
        "`onnx/model_int8.onnx`: its outputs differ from PyTorch by at most 1.2e-02; 99.0 % of 200 validation examples"
        " have the same prediction." in text
    )


def test_undefined_metrics_are_not_in_the_metadata(tmp_path, models):
    text = card(tmp_path, models["classification"], metrics={"main": 0.75, "other": float("nan")})
    metrics = metadata(text)["model-index"][0]["results"][0]["metrics"]
    assert [metric["type"] for metric in metrics] == ["main"]
    assert "| other, this model | undefined |" in text


def test_an_error_beside_the_score_is_not_in_percent(tmp_path, models):
    task = SST2.model_copy(update={"kind": "regression", "score": "pearson"})
    metrics = {"pearson": 0.75, "spearmanr": 0.7, "mae": 0.52, "mse": 412.3, "quantile_loss": 3.14159}
    text = card(tmp_path, models["regression"], metrics=metrics, task=task)
    assert "| pearson, this model | 75.0 |" in text
    assert "| spearmanr, this model | 70.0 |" in text
    assert "| mae, this model | 0.52 |" in text
    assert "| mse, this model | 412 |" in text
    assert "| quantile_loss, this model | 3.14 |" in text
    assert "In percent (mae, mse, quantile_loss: as reported), on " in text


def test_a_score_is_on_the_scale_of_its_task_and_other_metrics_on_theirs(tmp_path, models):
    task = SST2.model_copy(update={"score": "top_three", "percent": True})
    text = card(tmp_path, models["classification"], metrics={"top_three": 91.25, "accuracy": 0.75}, task=task)
    assert "| top_three, this model | 91.2 |" in text
    assert "| accuracy, this model | 75.0 |" in text
    assert "In percent, on " in text


def test_beside_an_error_as_the_score_all_is_as_reported(tmp_path, models):
    task = SST2.model_copy(
        update={"kind": "regression", "score": "quantile_loss", "percent": True, "higher_is_better": False}
    )
    text = card(tmp_path, models["regression"], metrics={"quantile_loss": 0.75, "pearson": 0.5}, task=task)
    assert "| quantile_loss, this model | 0.75" in text
    assert "| pearson, this model | 0.5 |" in text
    assert "percent" not in text


def test_metrics_of_several_splits_have_the_scale_of_the_metric(tmp_path, models):
    task = SST2.model_copy(update={"data": DataReport(examples={"easy": 10, "hard": 10}, overlap={})})
    metrics = {"easy_accuracy": 0.75, "hard_accuracy": 0.5, "hard_f1_macro": 0.25, "hard_loss": 0.123}
    text = card(tmp_path, models["classification"], metrics=metrics, task=task)
    for line in ("easy_accuracy, this model | 75.0", "hard_accuracy, this model | 50.0"):
        assert f"| {line} |" in text
    assert "| hard_f1_macro, this model | 25.0 |" in text
    assert "| hard_loss, this model | 0.123 |" in text


def test_parts_of_squad_are_in_percent(tmp_path, models):
    metrics = {"f1": 75.0, "exact": 70.0, "NoAns_exact": 60.0, "HasAns_f1": 80.0}
    task = SST2.model_copy(update={"kind": "qa", "score": "f1", "percent": True})
    text = card(tmp_path, models["qa"], metrics=metrics, task=task)
    assert all(f"| {name}, this model | {value:.1f} |" in text for name, value in metrics.items())


def test_a_teacher_that_is_a_student_of_the_suite_is_named_with_its_run(tmp_path, models):
    key = run_key("sst2", "kd", "big", 1)
    text = card(tmp_path, models["classification"], teachers=["medium"], assistants={"medium": key}, parts={})
    assert "from `medium` (the student big of the row kd of this suite)." in text
    assert f"Teacher `medium`: the student big of the row kd of this suite, run `{key}`, seed 1" in text
    assert "which learned from base." in text
    assert "without a teacher" not in text
