"""SQuAD from the hub's layout to answers: hand-made cases, with logits that point to the labels."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from harness.api.errors import UserError
from harness.metrics.builtin_metrics import harness_register_metrics
from harness.metrics.task_scores import evaluate_outputs
from harness.tasks.data_checks import refuse_invalid
from harness.tasks.fingerprints import fingerprint
from harness.tasks.squad import TASKS
from harness.tasks.tokenization import encode
from tests.support.hub_layout import squad_rows, write_dataset
from tests.support.tiny_tasks import bytelevel, questions, wordpiece

SQUAD, SQUAD_V2 = TASKS
METRICS = {}
harness_register_metrics(METRICS.__setitem__)


def bert() -> PreTrainedTokenizerFast:
    """A tokenizer like BERT's: lower case, accents stripped, control characters dropped, each CJK character a word."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz0123456789.?,東京都"]
    vocabulary += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


TOKENIZERS = {"bert": bert(), "wordpiece": wordpiece(), "bytelevel": bytelevel()}


def answers(rows, tokenizer, max_length, task=SQUAD):
    """Predictions and metrics of logits that point to the labels."""
    encoded = encode(rows, task, tokenizer, max_length)
    logits = [np.zeros((2, length)) for length in encoded.lengths]
    for output, (first, last) in zip(logits, encoded.labels, strict=True):
        output[0, first] = output[1, last] = 5
    scored = evaluate_outputs(task, rows, encoded, logits, METRICS)
    return scored.frame["prediction"].tolist(), scored.metrics


ACUTE = "\N{COMBINING ACUTE ACCENT}"
FAMILY = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}"
HEART = "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}"

# context, answer
UNICODE = {
    "mark at the very end": (f"they met in a cafe{ACUTE}", f"cafe{ACUTE}"),
    "mark at the very start": (f"E{ACUTE}cole is a school", f"E{ACUTE}cole"),
    "composed and decomposed": (f"école or e{ACUTE}cole", f"e{ACUTE}cole"),
    "the complete context": (f"cafe{ACUTE}", f"cafe{ACUTE}"),
    "cjk within a sentence": ("首都は東京都です", "東京都"),
    "cjk at the end": ("それは 東京", "東京"),
    "emoji": (f"the sign was {FAMILY} then", FAMILY),
    "emoji at the end": (f"the sign was {HEART}", HEART),
    "emoji alone before words": (f"{HEART} was the sign", HEART),
    "control character first": ("\N{ZERO WIDTH NO-BREAK SPACE}Paris is old", "\N{ZERO WIDTH NO-BREAK SPACE}Paris"),
    "outside the basic plane": (
        "the letter \N{MATHEMATICAL BOLD CAPITAL A} is bold",
        "\N{MATHEMATICAL BOLD CAPITAL A}",
    ),
    "right to left": ("the word שלום means peace", "שלום"),
    "dotted capital that grows in lower case": ("in İzmir by day", "İzmir"),
}


@pytest.mark.parametrize("name", ["bert", "bytelevel"])
@pytest.mark.parametrize("case", UNICODE)
def test_unicode(name, case):
    context, answer = UNICODE[case]
    (prediction,), _ = answers(questions(("what", context, answer)), TOKENIZERS[name], 64)
    assert prediction.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}") == answer.removeprefix(
        "\N{ZERO WIDTH NO-BREAK SPACE}"
    )


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("answer", ["first words", "last of all", "42 in the middle", "one"])
@pytest.mark.parametrize(("max_length", "windows"), [(64, True), (384, False)])
def test_an_answer_at_any_position(name, answer, max_length, windows):
    context = f"first words {'here and there ' * 5}one 42 in the middle {'now and then ' * 5}last of all"
    rows = questions(("who?", context, answer))
    assert (len(encode(rows, SQUAD, TOKENIZERS[name], max_length)) > 1) == windows
    (prediction,), metrics = answers(rows, TOKENIZERS[name], max_length)
    assert prediction == answer
    assert metrics == {"exact": 100.0, "f1": 100.0}


def test_an_answer_longer_than_a_window_is_labelled_as_absent():
    rows = questions(("who?", "here and there now and then", "here and there now and then"))
    encoded = encode(rows, SQUAD, TOKENIZERS["bert"], 16)
    assert len(encoded) > 1
    assert (encoded.labels == 0).all()


def test_the_best_span_of_all_windows_is_the_answer():
    """The answer is in the second window; the first has a worse candidate, and no span crosses windows."""
    rows = questions(("who?", "ab cd ef gh ij kl mn op qr st uv wx yz", "yz"))
    encoded = encode(rows, SQUAD, TOKENIZERS["bert"], 24)
    assert len(encoded) == 2
    logits = [np.zeros((2, length)) for length in encoded.lengths]
    first, last = (np.flatnonzero(encoded.answer_mask[row])[1:] for row in (0, 1))
    logits[0][0, first[0]] = logits[0][1, first[1]] = 3
    logits[0][0, first[0]] += 0.5
    logits[1][0, last[-2]] = logits[1][1, last[-1]] = 4
    scored = evaluate_outputs(SQUAD, rows, encoded, logits, METRICS)
    assert scored.frame["prediction"][0] == "yz"
    assert scored.frame["scores"][0] == [8.0, 0.0]
    logits[0][0, first[0]] = 9
    assert evaluate_outputs(SQUAD, rows, encoded, logits, METRICS).frame["prediction"][0] == "ab"


@pytest.mark.parametrize("max_length", [8, 12, 20, 64])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_question_longer_than_the_window(name, max_length):
    rows = questions(("who sat on the mat and why " * 20, "the cat 42 sat on the mat", "42"))
    encoded = encode(rows, SQUAD, TOKENIZERS[name], max_length)
    assert encoded.lengths.max() <= max_length
    assert all(encoded.answer_mask[row].sum() > 1 for row in range(len(encoded)))
    if max_length > 8:
        assert answers(rows, TOKENIZERS[name], max_length)[0] == ["42"]


def test_a_span_has_no_more_than_thirty_tokens():
    rows = questions(("who?", " ".join("abcdefghij" * 6), "a b"))
    encoded = encode(rows, SQUAD, TOKENIZERS["bert"], 128)
    tokens = np.flatnonzero(encoded.answer_mask[0])[1:]
    logits = np.zeros((2, encoded.lengths[0]))
    logits[0, tokens[0]] = 9
    logits[1, tokens[30]] = 9
    logits[1, tokens[29]] = 5
    prediction = evaluate_outputs(SQUAD, rows, encoded, [logits], METRICS).frame["prediction"][0]
    assert len(prediction.split()) == 30


def hub(folder, config, train, validation):
    return str(write_dataset(folder / "data", {config: {"train": train, "validation": validation}}))


CONTEXT = "Denver beat Carolina in February, in California."
FIRST = squad_rows(("56be", "Who won?", CONTEXT, ["Denver"]))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("cache")
def test_squad_in_the_hubs_layout(tmp_path):
    validation = squad_rows(
        ("a", "Who won?", CONTEXT, ["Denver", "Denver", "Denver beat Carolina"]),
        ("b", "When?", CONTEXT, ["February", "in February"]),
    )
    splits = SQUAD.load(hub(tmp_path, "plain_text", FIRST, validation))
    assert splits.train.to_list() == [
        {"id": "56be", "question": "Who won?", "context": CONTEXT, "answers": [{"text": "Denver", "start": 0}]}
    ]
    rows = splits.validation["validation"]
    assert [len(references) for references in rows["answers"]] == [3, 2]
    assert fingerprint(rows) != fingerprint(rows.select([0]))
    predictions, metrics = answers(rows, TOKENIZERS["bert"], 64)
    assert predictions == ["Denver", "February"]
    assert metrics == {"exact": 100.0, "f1": 100.0}


@pytest.mark.usefixtures("cache")
def test_squad_v2_in_the_hubs_layout(tmp_path):
    validation = squad_rows(("a", "Who won?", CONTEXT, ["Denver"]), ("b", "Who lied?", CONTEXT, []))
    splits = SQUAD_V2.load(hub(tmp_path, "squad_v2", FIRST, validation))
    predictions, metrics = answers(splits.validation["validation"], TOKENIZERS["bert"], 64, SQUAD_V2)
    assert predictions == ["Denver", ""]
    names = [f"{part}{name}" for part in ("", "HasAns_", "NoAns_") for name in ("exact", "f1")]
    assert metrics == dict.fromkeys(names, 100.0)


@pytest.mark.usefixtures("cache")
def test_squad_refuses_questions_without_an_answer(tmp_path):
    rows = squad_rows(("a", "Who won?", CONTEXT, ["Denver"]), ("b", "Who lied?", CONTEXT, []))
    splits = SQUAD.load(hub(tmp_path, "plain_text", rows, rows))
    with pytest.raises(UserError, match=r"'squad', split 'train', .*row 1 \(id 'b'\): found no answer, .*squad_v2"):
        refuse_invalid(SQUAD, splits)


@pytest.mark.usefixtures("cache")
def test_a_folder_of_the_other_version_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no config 'squad_v2'.*plain_text"):
        SQUAD_V2.load(hub(tmp_path, "plain_text", FIRST, FIRST))
