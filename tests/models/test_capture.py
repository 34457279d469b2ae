"""Captured outputs equal those of eager attention and `output_hidden_states`; no other outputs exist."""

import gc
import json
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from harness.api.errors import UserError
from harness.api.method import layers
from harness.models import attention
from harness.models.capture import Capture
from harness.testing import tiny_batch, tiny_model

FAMILIES = ["bert", "roberta", "distilbert", "electra", "albert"]
KINDS = ["classification", "regression", "qa"]
LAYERS = 3
PER_LAYER = ["hidden", "scores", "queries", "keys", "values", "context"]
EVERYTHING = {"logits", "embeddings"} | {n for name in PER_LAYER for n in layers(name, range(1, LAYERS + 1))}


def inputs_of(batch):
    return {k: v for k, v in batch.items() if k in ("input_ids", "attention_mask", "token_type_ids")}


def make(family, kind="classification", **sizes):
    model = tiny_model(family, kind=kind, layers=LAYERS, **sizes)
    inputs = inputs_of(tiny_batch(kind, token_type_ids=family != "distilbert"))
    return model, inputs


def names(tensors):
    """All tensors of a `ModelOutputs`, by the name that requests them."""
    held = {f"{name}[{i}]" for name in PER_LAYER for i in getattr(tensors, name)}
    return held | {name for name in ("logits", "pooled", "embeddings") if getattr(tensors, f"_{name}") is not None}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_equal_those_of_eager_attention(family, kind):
    model, inputs = make(family, kind)
    with torch.no_grad():
        got = Capture(model).run(inputs, EVERYTHING)
        model.set_attn_implementation("eager")
        plain = model(**inputs, output_attentions=True, output_hidden_states=True)
    mask = inputs["attention_mask"].bool()
    hidden = [got.embeddings, *(got.hidden[i] for i in range(1, LAYERS + 1))]
    # ALBERT's first recorded state is its embedding before the projection; ours is the first layer's input.
    for ours, theirs in list(zip(hidden, plain.hidden_states[-LAYERS - 1 :], strict=True))[family == "albert" :]:
        torch.testing.assert_close(ours[mask], theirs[mask], atol=1e-5, rtol=1e-5)
    for i, theirs in enumerate(plain.attentions, 1):
        weights = got.scores[i].masked_fill(~mask[:, None, None], float("-inf")).softmax(-1)
        torch.testing.assert_close(weights.transpose(1, 2)[mask], theirs.transpose(1, 2)[mask], atol=1e-5, rtol=1e-5)
        scores = got.queries[i] @ got.keys[i].mT / got.queries[i].shape[-1] ** 0.5
        torch.testing.assert_close(got.scores[i], scores, atol=1e-5, rtol=1e-5)
        context = (theirs @ got.values[i]).transpose(1, 2).flatten(2)
        torch.testing.assert_close(got.context[i][mask], context[mask], atol=1e-5, rtol=1e-5)
    if kind == "qa":
        for ours, theirs in zip(got.logits.unbind(1), (plain.start_logits, plain.end_logits), strict=True):
            torch.testing.assert_close(ours[mask], theirs[mask], atol=1e-5, rtol=1e-5)
            assert (ours[~mask] == torch.finfo(torch.float32).min).all()
    else:
        torch.testing.assert_close(got.logits, plain.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_pooled_is_the_input_of_the_last_linear_layer(family):
    model, inputs = make(family)
    got = Capture(model).run(inputs, {"pooled", "logits"})
    head = model.classifier if isinstance(model.classifier, nn.Linear) else model.classifier.out_proj
    torch.testing.assert_close(head(got.pooled), got.logits)
    assert got.pooled.shape == (4, 32)


def test_qa_logits_are_lowest_outside_the_answer_mask():
    model, _ = make("bert", "qa")
    batch = tiny_batch("qa")
    logits = Capture(model).run(inputs_of(batch), {"logits"}, answer_mask=batch["answer_mask"]).logits
    lowest = torch.finfo(logits.dtype).min
    assert ((logits == lowest) == ~batch["answer_mask"][:, None]).all()
    assert logits.shape == (4, 2, 12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "need", ["logits", "pooled", "embeddings", *layers("hidden", [1, 3]), "scores[2]", "context[1]"]
)
def test_gradients_flow_from_requested_outputs(family, need):
    model, inputs = make(family)
    got = Capture(model.train()).run(inputs, {need})
    tensor = getattr(got, need.split("[")[0])
    tensor = tensor[int(need[-2])] if "[" in need else tensor
    tensor.square().sum().backward()
    grad = model.base_model.embeddings.word_embeddings.weight.grad
    assert grad is not None
    assert torch.isfinite(grad).all()
    assert grad.abs().sum() > 0


@given(st.sets(st.sampled_from(sorted(EVERYTHING | {"pooled"}))))
@settings(max_examples=30)
def test_only_requested_outputs_exist(needs):
    model, inputs = make("bert")
    with torch.no_grad():
        assert names(Capture(model).run(inputs, needs)) == needs


def test_scores_are_computed_for_requested_layers_only(monkeypatch):
    from harness.models import attention

    computed = []
    scores = attention.AttentionInputs.scores
    monkeypatch.setattr(attention.AttentionInputs, "scores", lambda self: computed.append(1) or scores(self))
    model, inputs = make("bert")
    capture = Capture(model)
    capture.run(inputs, {"logits", "queries[1]"})
    assert computed == []
    capture.run(inputs, {"logits", "scores[2]"})
    assert computed == [1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("needs", "layers_run", "attention_run"),
    [
        (["embeddings"], 0, 0),
        (["scores[2]"], 1, 1),
        (["context[2]", "hidden[1]"], 1, 2),
        (["hidden[2]", "scores[1]"], 2, 2),
        (["pooled"], 3, 3),
    ],
)
def test_forward_pass_ends_at_the_deepest_requested_output(family, needs, layers_run, attention_run, monkeypatch):
    from transformers.integrations import sdpa_attention

    model, inputs = make(family)
    capture = Capture(model)
    finished, kernels = [], []
    fused = sdpa_attention.sdpa_attention_forward
    monkeypatch.setattr(sdpa_attention, "sdpa_attention_forward", lambda *a, **k: kernels.append(1) or fused(*a, **k))
    for layer in set(capture.parts.layers):
        layer.register_forward_hook(lambda *_: finished.append("layer"))
    capture.parts.head.register_forward_hook(lambda *_: finished.append("head"))
    capture.run(inputs, needs)
    assert finished == ["layer"] * layers_run
    assert len(kernels) == attention_run


@pytest.mark.parametrize("needs", [["hidden[2]", "scores[1]"], sorted(EVERYTHING)])
def test_capture_keeps_no_reference_to_outputs(needs):
    model, inputs = make("bert")
    capture = Capture(model)
    gc.disable()
    try:
        got = capture.run(inputs, needs)
        watched = [weakref.ref(got.hidden[2]), weakref.ref(got.scores[1])]
        del got
        assert [ref() for ref in watched] == [None, None]
    finally:
        gc.enable()


@settings(max_examples=20)
@given(family=st.sampled_from(FAMILIES), extra=st.integers(1, 20), seed=st.integers(0, 5))
def test_padding_does_not_change_outputs_at_real_tokens(family, extra, seed):
    model = tiny_model(family, layers=LAYERS)
    inputs = inputs_of(tiny_batch("classification", seed=seed))
    longer = {name: nn.functional.pad(tensor, (0, extra)) for name, tensor in inputs.items()}
    capture = Capture(model)
    with torch.no_grad():
        short, long = capture.run(inputs, EVERYTHING | {"pooled"}), capture.run(longer, EVERYTHING | {"pooled"})
    mask = inputs["attention_mask"].bool()
    n = mask.shape[1]
    pairs = mask[:, None, :, None] & mask[:, None, None, :]
    for name in ("logits", "pooled"):
        torch.testing.assert_close(getattr(short, name), getattr(long, name), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(short.embeddings[mask], long.embeddings[:, :n][mask], atol=1e-5, rtol=1e-4)
    for i in range(1, LAYERS + 1):
        for name in ("hidden", "context"):
            a, b = getattr(short, name)[i][mask], getattr(long, name)[i][:, :n][mask]
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
        a, b = short.scores[i] * pairs, long.scores[i][..., :n, :n] * pairs
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("mode", ["float64", "autocast", "train"])
def test_dtypes_and_modes(mode):
    model, inputs = make("bert")
    if mode == "float64":
        model.double()
    model.train(mode == "train")
    capture = Capture(model)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
        got = capture.run(inputs, {"logits", "scores[1]"})
        torch.manual_seed(0)
        plain = model(**inputs).logits
    torch.testing.assert_close(got.logits, plain)
    expected = {"float64": torch.float64, "autocast": torch.bfloat16, "train": torch.float32}[mode]
    assert got.logits.dtype == got.scores[1].dtype == expected


@pytest.fixture
def kernel_calls(monkeypatch):
    """Head size of each call of the fused kernel, and whether it could be cuDNN's."""
    calls, attention_of = [], F.scaled_dot_product_attention

    def recorded(query, *args, **options):
        calls.append((query.shape[-1], torch.backends.cuda.cudnn_sdp_enabled()))
        return attention_of(query, *args, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", recorded)
    return calls


def test_heads_are_padded_to_what_the_kernel_of_a_gpu_takes(kernel_calls, monkeypatch):
    """As those of 26 numbers of a student with 312 dimensions: 6 instead of 8."""
    model, inputs = make("bert", hidden=12, heads=2)
    capture = Capture(model)
    kernel_calls.clear()
    with torch.no_grad():
        expected = capture.run(inputs, EVERYTHING)
        monkeypatch.setattr(attention, "ALIGNED_DEVICES", frozenset({"cpu"}))
        got = capture.run(inputs, EVERYTHING)
    assert [size for size, _ in kernel_calls] == [6] * LAYERS + [8] * LAYERS
    for name in names(expected) - {"logits", "embeddings"}:
        kind, layer = name.rstrip("]").split("[")
        torch.testing.assert_close(getattr(got, kind)[int(layer)], getattr(expected, kind)[int(layer)])
    torch.testing.assert_close(got.logits, expected.logits)


def test_cudnn_builds_no_plans_for_attention(kernel_calls):
    model, inputs = make("bert")
    capture = Capture(model)
    kernel_calls.clear()
    capture.run(inputs, {"logits"})
    capture.layer_calls(inputs)[1](torch.zeros(*inputs["input_ids"].shape, model.config.hidden_size))
    assert [cudnn for _, cudnn in kernel_calls] == [False] * (LAYERS + 1)
    assert torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.parametrize("family", FAMILIES)
def test_model_is_unchanged_after_a_run(family, tmp_path):
    model, inputs = make(family)
    model.set_attn_implementation("eager")
    model.train()
    model.base_model.embeddings.eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    capture = Capture(model)
    assert torch.equal(state, torch.get_rng_state())
    capture.run(inputs, {"hidden[2]"})
    capture.run(inputs, EVERYTHING)
    assert [module.training for module in model.modules()] == modes
    assert model.config._attn_implementation == "eager"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    model.eval().save_pretrained(tmp_path)
    assert "harness" not in (tmp_path / "config.json").read_text()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == family
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(again(**inputs).logits, capture.run(inputs, {"logits"}).logits, atol=1e-5, rtol=1e-5)


def test_model_is_unchanged_after_a_failed_run():
    model, inputs = make("bert")
    capture = Capture(model)
    with pytest.raises(IndexError):
        capture.run(inputs | {"input_ids": inputs["input_ids"] + 1000}, {"hidden[1]"})
    assert model.config._attn_implementation == "sdpa"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_inputs_that_a_model_does_not_take_are_dropped():
    inputs = inputs_of(tiny_batch("classification"))
    capture = Capture(tiny_model("distilbert"))
    without = {name: tensor for name, tensor in inputs.items() if name != "token_type_ids"}
    assert torch.equal(capture.run(inputs, {"logits"}).logits, capture.run(without, {"logits"}).logits)


@pytest.mark.parametrize(
    ("needs", "kind", "words"),
    [
        (["hiden[1]"], "classification", ["hiden[1]", "did you mean 'hidden'?"]),
        (["hidden"], "classification", ["names no layer", "hidden[1]"]),
        (["scores[4]"], "classification", ["scores[4]", "3 layers"]),
        (["keys[0]"], "classification", ["keys[0]", "counted from 1 to 3"]),
        (["pooled"], "qa", ["pooled", "questions"]),
        (["pooled"], "token_classification", ["pooled", "labels tokens"]),
        (["attentions[1]"], "classification", ["unknown output 'attentions[1]'", "allowed:", "scores"]),
    ],
)
def test_invalid_needs_raise(needs, kind, words):
    model, inputs = make("bert", kind)
    capture = Capture(model)
    [problem] = capture.check(needs)
    assert all(word in problem.message for word in words), problem.message
    with pytest.raises(UserError):
        capture.run(inputs, needs)


def test_every_invalid_need_is_reported():
    model, _ = make("bert")
    assert len(Capture(model).check(["hidden[9]", "foo", "logits", "scores[7]"])) == 3


def test_outputs_that_an_encoder_does_not_give_are_named():
    model = tiny_model("funnel")
    inputs = inputs_of(tiny_batch("classification", token_type_ids=False))
    capture = Capture(model)
    torch.testing.assert_close(capture.run(inputs, {"logits"}).logits, model(**inputs).logits)
    [problem] = capture.check({"logits", "hidden[1]"}, "big")
    assert "hidden[1] cannot be captured from big: a funnel encoder gives only pooled, logits" in problem.message
    [problem] = Capture(tiny_model("mpnet")).check({"hidden[1]", "queries[1]", "scores[2]"})
    assert problem.message.startswith("scores[2] cannot be captured")


def test_a_bare_encoder_has_no_logits():
    config = AutoConfig.for_model(
        "bert", vocab_size=64, hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=64
    )
    capture = Capture(AutoModel.from_config(config))
    assert capture.check({"hidden[1]"}) == []
    [problem] = capture.check({"logits"})
    assert "head" in problem.message


def test_token_types_are_dropped_for_a_model_of_one_segment():
    model = tiny_model("roberta")
    model.config.type_vocab_size = 1
    model.base_model.embeddings.token_type_embeddings = nn.Embedding(1, 32)
    inputs = inputs_of(tiny_batch("classification"))
    assert (inputs["token_type_ids"] == 1).any()
    assert torch.isfinite(Capture(model).run(inputs, {"logits"}).logits).all()
