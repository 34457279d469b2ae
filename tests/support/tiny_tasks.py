"""Tiny tokenizers and tasks."""

from __future__ import annotations

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from harness.api.task import Splits, Task

LABELS = {
    "classification": ("no", "yes"),
    "multilabel": ("animal", "place", "action"),
    "token_classification": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
}
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def wordpiece() -> PreTrainedTokenizerFast:
    """BERT's kind: a few whole words, all else letter by letter; with token types."""
    words = ["the", "cat", "sat", "on", "a", "mat", "who", "where"]
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *words,
        *LETTERS,
        *(f"##{letter}" for letter in LETTERS),
        "?",
        ".",
    ]
    tokenizer = Tokenizer(
        models.WordPiece({word: i for i, word in enumerate(dict.fromkeys(vocabulary))}, unk_token="[UNK]")
    )
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


def bytelevel() -> PreTrainedTokenizerFast:
    """RoBERTa's kind: bytes with leading blanks, two separators between a pair, no token types."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        ["the cat sat on a mat", "who sat"],
        trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )


def task(kind: str, name: str = "tiny", **options) -> Task:
    metrics = {
        "classification": "accuracy",
        "multilabel": "f1_micro",
        "regression": "pearson_spearman",
        "token_classification": "entity_f1",
    }
    if kind == "qa":
        options = {"unanswerable": True} | options
        metrics["qa"] = "squad_v2" if options["unanswerable"] else "squad"
    scores = {**metrics, "regression": "pearson", "qa": "f1"}
    labels = LABELS.get(kind, ())
    return Task(name, kind, lambda source: Splits(None, {}), (metrics[kind],), scores[kind], labels, **options)


def questions(*rows: tuple[str, str, str | None]) -> Dataset:
    """(question, context, answer) each; the answer is looked up in the context, None: there is none."""
    return Dataset.from_list(
        [
            {
                "id": f"q{index}",
                "question": question,
                "context": context,
                "answers": [] if answer is None else [{"text": answer, "start": context.index(answer)}],
            }
            for index, (question, context, answer) in enumerate(rows)
        ]
    )
