"""An exported folder works with plain transformers, tokenizers and ONNX Runtime."""

import os
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from harness.analysis.best_students import Limits
from harness.api.errors import UserError
from harness.export import model_card, model_folder, onnx_files
from harness.export.exporting import facts_of
from harness.storage.run_lookup import find_run
from tests.support.results_factory import run_key
from tests.support.stored_students import MAX_LENGTH, TEXTS, fill_with_students
from tests.support.tiny_checkpoints import LABELS

KEY = run_key("sst2", "kd", "small", 1)
LONG = " ".join(TEXTS * 5)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    fill_with_students(folder / "demo", seeds=1)
    return folder


@pytest.fixture(scope="module")
def exported(results, tmp_path_factory):
    """The folder with all files, and what was written."""
    target = tmp_path_factory.mktemp("exported") / "model"
    facts = facts_of("demo", results, None, Limits(label="kd", student="small"))
    files = model_folder.write(facts.run, target, lambda files: model_card.text(facts, files), onnx=True, int8=True)
    return target, files


def test_the_weights_are_those_of_the_run(exported, results):
    ours, stored = (
        load_file(path / "model.safetensors") for path in (exported[0], results / "demo/runs" / KEY / "student")
    )
    assert ours.keys() == stored.keys()
    assert all(torch.equal(ours[name], stored[name]) for name in stored)


def test_the_pipeline_reads_texts_of_any_length(exported):
    tokenizer = AutoTokenizer.from_pretrained(exported[0])
    model = AutoModelForSequenceClassification.from_pretrained(exported[0]).eval()
    whole = tokenizer(LONG)["input_ids"]
    assert len(whole) > model.config.max_position_embeddings
    with torch.no_grad():
        shares = model(torch.tensor([[*whole[: MAX_LENGTH - 1], whole[-1]]])).logits[0].softmax(-1)
    (answer,) = pipeline("text-classification", str(exported[0]), truncation=True, device="cpu")(LONG)
    assert answer["label"] == LABELS["classification"][int(shares.argmax())]
    assert answer["score"] == pytest.approx(float(shares.max()), abs=1e-5)


def test_the_tokenizer_truncates_to_the_length_of_the_training(exported):
    tokenizer = AutoTokenizer.from_pretrained(exported[0])
    assert tokenizer.is_fast
    assert tokenizer.model_max_length == MAX_LENGTH
    assert len(tokenizer(LONG, truncation=True)["input_ids"]) == MAX_LENGTH
    assert len(Tokenizer.from_file(str(exported[0] / "tokenizer.json")).encode(LONG).ids) == MAX_LENGTH
    assert (
        tokenizer(TEXTS[0])["input_ids"]
        == Tokenizer.from_file(str(exported[0] / "tokenizer.json")).encode(TEXTS[0]).ids
    )


def test_the_config_names_the_classes(exported):
    config = AutoModelForSequenceClassification.from_pretrained(exported[0]).config
    assert config.id2label == dict(enumerate(LABELS["classification"]))
    assert config.label2id == {name: number for number, name in enumerate(LABELS["classification"])}
    assert config.problem_type == "single_label_classification"


@pytest.mark.parametrize(("file", "tolerance"), [(onnx_files.FLOAT32, 1e-4), (onnx_files.INT8, 1.0)])
def test_onnx_runtime_gives_the_outputs_of_the_model(exported, file, tolerance):
    tokenizer = AutoTokenizer.from_pretrained(exported[0])
    model = AutoModelForSequenceClassification.from_pretrained(exported[0]).eval()
    session = onnxruntime.InferenceSession(exported[0] / file)
    assert [output.name for output in session.get_outputs()] == ["logits"]
    for texts in ([LONG], TEXTS[:1], TEXTS[:5]):
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
        (ours,) = session.run(["logits"], {node.name: inputs[node.name] for node in session.get_inputs()})
        with torch.no_grad():
            theirs = model(**{name: torch.tensor(values) for name, values in inputs.items()}).logits.numpy()
        assert np.abs(ours - theirs).max() < tolerance


def test_the_files_are_compared_and_reported(exported):
    float32, int8 = exported[1].onnx
    assert (float32.path, int8.path) == (onnx_files.FLOAT32, onnx_files.INT8)
    assert float32.deviation < 1e-4 < int8.deviation
    assert int8.examples == len(TEXTS)
    assert 0.5 < int8.agreement <= 1


@pytest.fixture
def exported_before(exported, monkeypatch):
    """Takes the ONNX file of `exported` for that of the same model: exporting again takes seconds."""
    source = exported[0] / onnx_files.FLOAT32
    monkeypatch.setattr(onnx_files.onnx, "export", lambda model, example, path: shutil.copyfile(source, path))


@pytest.mark.usefixtures("exported_before")
def test_the_int8_file_alone(results, tmp_path):
    facts = facts_of("demo", results, None, Limits(label="kd", student="small"))
    files = model_folder.write(facts.run, tmp_path / "m", lambda files: "", int8=True)
    assert [file.path for file in files.onnx] == [onnx_files.INT8]
    assert not (tmp_path / "m" / onnx_files.FLOAT32).exists()


@pytest.mark.usefixtures("exported_before")
def test_an_export_with_other_outputs_is_refused_and_leaves_nothing(results, tmp_path):
    facts = facts_of("demo", results, None, Limits(label="finetune"))  # another model than that of the ONNX file
    with pytest.raises(UserError, match="the outputs of the exported model differ from PyTorch by up to"):
        model_folder.write(facts.run, tmp_path / "m", lambda files: "", onnx=True)
    assert list(tmp_path.iterdir()) == []


def test_the_card_has_the_metadata_of_the_hub(exported):
    card = ModelCard.load(exported[0] / "README.md")
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.base_model == ["some/model"]
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("sst2", "main", 0.75)
    assert card.data.to_dict()["kd_harness"]["paired"] is False


def test_the_card_says_what_the_model_is(exported):
    text = (exported[0] / "README.md").read_text()
    assert "distilled with the method `kd` from `base` (some/model)" in text
    assert "| accuracy, the row of kd on small | 75.0 [" in text
    assert "| accuracy, teacher base | 92.0 [" in text
    assert "kd on small is the only row of the method kd on the student small: mean accuracy 75.0" in text
    assert "17.0 points worse, 81.5 % of its score" in text
    assert "`trained-on` (training), `fingerprint-of-sst2` (scored examples)" in text
    assert "@article{someone2020," in text
    assert f"on texts of up to {MAX_LENGTH} tokens" in text
    assert "None" not in text


def test_modes_are_those_of_the_umask(results, tmp_path):
    facts = facts_of("demo", results, None, Limits())
    before = os.umask(0o022)
    try:
        model_folder.write(facts.run, tmp_path / "m", lambda files: "card")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "m").rglob("*") if path.is_file()}
    assert modes == {0o644}


def test_a_suite_file_is_found_by_its_name_without_its_plugins(results, tmp_path):
    (tmp_path / "base.yaml").write_text("name: other\nmethods: [method_of_a_plugin]\n")
    (tmp_path / "suite.yaml").write_text("include: base.yaml\nname: demo\n")
    assert facts_of(str(tmp_path / "suite.yaml"), results, None, Limits()).summary.plan.suite == "demo"
    (tmp_path / "base.yaml").write_text("methods: [finetune]\n")
    with pytest.raises(UserError, match=r"base\.yaml.*: name: missing"):
        facts_of(str(tmp_path / "base.yaml"), results, None, Limits())
    (tmp_path / "base.yaml").write_text("name: ../demo\n")
    with pytest.raises(UserError, match=r"base\.yaml:1: name: '\.\./demo' is not a name of letters"):
        facts_of(str(tmp_path / "base.yaml"), results, None, Limits())


def test_an_occupied_folder_is_refused(results, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(
        UserError, match="is not empty; nothing is overwritten: choose another folder with --to, or remove it"
    ):
        model_folder.refuse_occupied(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        model_folder.refuse_occupied(tmp_path / "mine.txt")
    model_folder.refuse_occupied(tmp_path / "new")


def test_a_damaged_student_is_refused(tmp_path):
    store = fill_with_students(tmp_path / "demo", seeds=1)
    config = store.run_folder(KEY) / "student" / "config.json"
    config.write_text(config.read_text().replace("negative", "positive"))
    run = find_run(str(store.run_folder(KEY)), tmp_path)
    with pytest.raises(UserError, match=r"config.json .*; `harness rerun SUITE"):
        model_folder.write(run, tmp_path / "m", lambda files: "")
