"""The code on a model card."""

from __future__ import annotations

from harness.metrics.qa_spans import MAX_ANSWER
from harness.prediction.loaded_model import LoadedModel

_QA_CODE = """\
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("PATH_OR_HUB_ID"{options})
model = AutoModelForQuestionAnswering.from_pretrained("PATH_OR_HUB_ID"{options})
context = "It is in the garden."
inputs = tokenizer("Where is it?", context, return_tensors="pt", truncation="only_second", return_offsets_mapping=True)
offsets = inputs.pop("offset_mapping")[0].tolist()
with torch.no_grad():
    outputs = model(**inputs)
start, end = outputs.start_logits[0], outputs.end_logits[0]
inside = torch.tensor([part == 1 for part in inputs.sequence_ids(0)])
spans = (inside[:, None] & inside).triu().tril({longest} - 1)  # of up to {longest} tokens of the context
scores = (start[:, None] + end).masked_fill(~spans, -torch.inf)
first, last = divmod(scores.argmax().item(), len(start))
answer = context[offsets[first][0] : offsets[last][1]].strip()
"""
"""As `harness.metrics.qa_spans`, for one window."""

_TRUSTED = ", trust_remote_code=True"
"""Option of transformers to load a model with code of its own."""

_NO_ANSWER_CODE = """\
if start[0] + end[0] > scores.max():
    answer = ""  # the question has no answer
"""


def of(model: LoadedModel, pipeline: str) -> str:
    """The code that applies the model to one text: by a pipeline of transformers, which has none for QA any more."""
    return _qa_code(model) if model.kind == "qa" else _pipeline_code(model, pipeline)


def _qa_code(model: LoadedModel) -> str:
    no_answer = _NO_ANSWER_CODE if model.unanswerable else ""
    code = _QA_CODE.format(longest=MAX_ANSWER, options=_TRUSTED if model.has_own_code else "")
    return f"{code}{no_answer}print(answer)\n"


def _pipeline_code(model: LoadedModel, pipeline: str) -> str:
    call = 'model({"text": "A text", "text_pair": "Another text"}' if model.paired else 'model("A text"'
    options = ", truncation=True"
    if model.kind == "token_classification":
        call, options = 'model("Ada Lovelace lived in London."', ', aggregation_strategy="first"'
    elif model.kind == "regression":
        options += ', function_to_apply="none"'
    elif model.kind == "multilabel":
        call += ", top_k=None"
    options += _TRUSTED if model.has_own_code else ""
    return (
        "from transformers import pipeline\n\n"
        f'model = pipeline("{pipeline}", "PATH_OR_HUB_ID"{options})\nprint({call}))\n'
    )
