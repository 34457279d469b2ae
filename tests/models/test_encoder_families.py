"""Every encoder family: captured outputs against transformers' own, copied layers, and students of other sizes."""

import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from harness.api.errors import UserError
from harness.api.method import layers
from harness.api.task import Task
from harness.config.student_schema import StudentSpec
from harness.models import introspection, students
from harness.models.capture import Capture
from harness.models.families import OWN_SCORES, shape
from harness.models.introspection import find_parts, missing_outputs
from harness.models.resizing import resized
from tests.support.encoder_families import SETTINGS, tiny_encoder

LAYERS = 4
LAYERED = [family for family in SETTINGS if family != "Funnel"]
ATTENTION = ("queries", "keys", "values", "context", "scores")
TASK = Task("t", "classification", load=lambda source: None, metrics=(), score="", labels=("no", "yes"))


def inputs_for(model, lengths=(24, 22, 20)):
    """Random tokens in rows of these lengths. Longer padding would make eager local attention NaN in float64."""
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 64, (len(lengths), max(lengths)), generator=rng)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    inputs = {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": (ids % 2) * mask}
    return {name: tensor for name, tensor in inputs.items() if name in find_parts(model).inputs}


def in_double(model):
    """The model in float64, with weights so large that its attention is far from uniform."""
    with torch.no_grad():
        for name, parameter in model.double().named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(8)
    return model


def captured(model, inputs, names=("hidden", *ATTENTION)):
    capture = Capture(model)
    missing = capture.parts.missing
    needs = {need for name in names if name not in missing for need in layers(name, range(1, LAYERS + 1))}
    with torch.no_grad():
        return capture.run(inputs, needs | {"embeddings", "logits", "pooled"})


def reference(model, inputs):
    model.set_attn_implementation("eager")
    model.config._attn_implementation = "eager"  # before 5.7, transformers refuses it for ModernBERT
    with torch.no_grad():
        return model(**inputs, output_hidden_states=True, output_attentions=True)


def build(spec, teacher, seed=1):
    return students.build(spec, name="s", task=TASK, teacher=teacher, checkpoint=None, seed=seed)


@pytest.mark.parametrize("family", LAYERED)
def test_hidden_states_are_those_of_transformers(family):
    model = in_double(tiny_encoder(family, layers=LAYERS))
    inputs = inputs_for(model)
    got, plain = captured(model, inputs, ["hidden"]), reference(model, inputs)
    real = inputs["attention_mask"].bool()
    ours = [got.embeddings, *(got.hidden[i] for i in range(1, LAYERS + 1))]
    theirs = plain.hidden_states[-LAYERS - 1 :]
    for a, b in list(zip(ours, theirs, strict=True))[family == "ALBERT" :]:  # whose first is before the projection
        torch.testing.assert_close(a[real], b[real], atol=1e-5, rtol=1e-5)  # norms of EuroBERT are in float32
    torch.testing.assert_close(got.logits, plain.logits, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("family", [f for f in LAYERED if f not in ("DeBERTa", "DeBERTa-v2", "DeBERTa-v3", "MPNet")])
def test_queries_keys_and_values_give_attention_maps_and_context(family):
    """softmax(Q K^T / sqrt(d)) V, in float64, over real tokens and within the window of local layers."""
    model = in_double(tiny_encoder(family, layers=LAYERS).base_model)
    if family == "Longformer":  # a bare encoder without global attention, and windows as long as the sequence
        model = in_double(tiny_encoder(family, layers=LAYERS, settings={"attention_window": 48}).base_model)
    inputs = inputs_for(model)
    capture = Capture(model)
    needs = {n for name in ATTENTION if name not in capture.parts.missing for n in layers(name, range(1, LAYERS + 1))}
    with torch.no_grad():
        got = capture.run(inputs, needs)
    attentions = reference(model, inputs).attentions
    real, rows = inputs["attention_mask"].bool(), torch.arange(24)
    for i in range(1, LAYERS + 1):
        q, k, v = (getattr(got, name)[i] for name in ("queries", "keys", "values"))
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        allowed = real[:, None, None].expand_as(scores)
        if family == "ModernBERT" and model.config.layer_types[i - 1] == "sliding_attention":
            allowed = allowed & ((rows[:, None] - rows).abs() <= model.config.local_attention // 2)
        maps = scores.masked_fill(~allowed, float("-inf")).softmax(-1)
        context = (maps @ v).transpose(1, 2).flatten(2)
        taken = got.context[i][..., : context.shape[-1]]  # ConvBERT's heads are followed by its convolutions
        torch.testing.assert_close(taken[real], context[real], atol=1e-6, rtol=1e-6)
        if family != "Longformer":  # which returns maps of windows
            torch.testing.assert_close(got.scores[i], scores, atol=1e-9, rtol=1e-9)
            torch.testing.assert_close(
                maps.transpose(1, 2)[real], attentions[i - 1].transpose(1, 2)[real], atol=1e-6, rtol=1e-6
            )


@pytest.mark.parametrize("family", ["DeBERTa", "DeBERTa-v2", "DeBERTa-v3", "MPNet"])
def test_attention_with_position_terms_from_queries_keys_and_values(family):
    """The family's own position terms, computed from the captured Q and K, complete Q K^T to its attention map."""
    model = in_double(tiny_encoder(family, layers=LAYERS))
    inputs = inputs_for(model)
    got, plain = captured(model, inputs, ["hidden", "queries", "keys", "values", "context"]), reference(model, inputs)
    real = inputs["attention_mask"].bool()
    for i, layer in enumerate(find_parts(model).layers, 1):
        q, k, v = (getattr(got, name)[i] for name in ("queries", "keys", "values"))
        with torch.no_grad():
            scores = position_terms(family, model.base_model.encoder, layer, q, k, got.hidden)
        maps = scores.masked_fill(~real[:, None, None], float("-inf")).softmax(-1)
        theirs = plain.attentions[i - 1]
        # DeBERTa takes the square root of the scaling in float32.
        torch.testing.assert_close(maps.transpose(1, 2)[real], theirs.transpose(1, 2)[real], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(got.context[i], (theirs @ v).transpose(1, 2).flatten(2), atol=1e-9, rtol=1e-9)


def position_terms(family, encoder, layer, q, k, hidden):
    """All scores of a layer, from queries and keys."""
    if family == "MPNet":
        return q @ k.mT / math.sqrt(q.shape[-1]) + encoder.compute_position_bias(hidden[1])
    attention, relative = layer.attention.self, encoder.get_rel_embedding()
    positions = encoder.get_rel_pos(hidden[1])
    if family == "DeBERTa":
        q = q / math.sqrt(3 * q.shape[-1])
        return q @ k.mT + attention.disentangled_att_bias(q, k, positions, relative, 3)
    flat = [tensor.reshape(-1, *tensor.shape[2:]) for tensor in (q, k)]
    bias = attention.disentangled_attention_bias(*flat, positions, relative, 3)
    return q @ k.mT / math.sqrt(3 * q.shape[-1]) + bias.view(*q.shape[:3], -1)


@pytest.mark.parametrize("family", LAYERED)
def test_a_copy_of_all_layers_equals_its_teacher_and_loads_with_transformers(family, tmp_path):
    teacher = tiny_encoder(family, layers=LAYERS)
    student = build(StudentSpec(layers=LAYERS, init="first"), teacher)
    inputs = inputs_for(teacher)
    ours, theirs = (captured(model, inputs, ["hidden"]) for model in (student, teacher))
    assert torch.equal(ours.embeddings, theirs.embeddings)
    assert all(torch.equal(ours.hidden[i], theirs.hidden[i]) for i in range(1, LAYERS + 1))
    student.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, student(**inputs).logits)


@pytest.mark.parametrize("family", LAYERED)
def test_fewer_layers_are_copied(family, tmp_path):
    teacher = tiny_encoder(family, layers=LAYERS)
    spec = StudentSpec(layers=2, init=[3, 1])
    student = build(spec, teacher)
    chosen = students.source_layers(spec, LAYERS)
    for layer, index in zip(find_parts(student).layers, chosen, strict=True):
        weights, source = layer.state_dict(), find_parts(teacher).layers[index - 1].state_dict()
        both = weights.keys() & source.keys()
        assert weights.keys() ^ source.keys() <= {"attn_norm.weight"}  # ModernBERT's first layer has none
        assert all(torch.equal(weights[name], source[name]) for name in both)
    student.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    inputs = inputs_for(teacher)
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, student(**inputs).logits)


@pytest.mark.parametrize("family", SETTINGS)
def test_students_of_other_sizes_learn_and_have_the_planned_shape(family):
    teacher = tiny_encoder(family, layers=LAYERS)
    spec = StudentSpec(layers=5, hidden=48, heads=6, ffn=40)
    student = build(spec, teacher)
    planned = students.shape(spec, "s", shape(teacher.config, "t"))
    assert shape(student.config, "s") == planned
    inputs = inputs_for(student)
    capture = Capture(student)
    assert capture.layers == (0 if family == "Funnel" else planned.layers)
    last = [f"{name}[{planned.layers}]" for name in ("hidden", *ATTENTION) if name not in capture.parts.missing]
    got = capture.run(inputs, {"logits", *last})
    got.logits.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)
    if "queries" not in capture.parts.missing:
        heads = (len(inputs["input_ids"]), planned.heads, 24, planned.qkv_width // planned.heads)
        assert all(getattr(got, name)[planned.layers].shape == heads for name in ("queries", "keys", "values"))
        assert got.context[planned.layers].shape[-1] == planned.context_width
    if last:
        assert got.hidden[planned.layers].shape == (*inputs["input_ids"].shape, planned.hidden)


def test_layers_keep_their_kind_of_attention_and_new_ones_continue_the_pattern():
    full, local = "full_attention", "sliding_attention"
    teacher = tiny_encoder("ModernBERT", layers=7).config
    assert teacher.layer_types == [full, local, local, full, local, local, full]
    sizes = {"hidden": 32, "heads": 4, "ffn": 64}
    assert resized(teacher, layers=3, copied=[2, 4, 7], **sizes).layer_types == [local, full, full]
    assert resized(teacher, layers=9, **sizes).layer_types == [full, local, local] * 3
    assert resized(teacher, layers=2, **sizes).rope_parameters == teacher.rope_parameters
    windows = AutoConfig.for_model("longformer", num_hidden_layers=4, attention_window=[8, 16, 8, 32])
    sizes = {"hidden": 768, "heads": 12, "ffn": 3072}
    assert resized(windows, layers=2, copied=[2, 4], **sizes).attention_window == [16, 32]
    assert resized(windows, layers=3, **sizes).attention_window == [8, 16, 8]
    assert resized(windows, layers=6, **sizes).attention_window == [8, 16, 8, 32, 8, 16]


def test_two_layers_and_two_kinds_of_position_terms_are_not_confused():
    config = tiny_encoder("DeBERTa-v3", layers=2).config
    assert resized(config, layers=1, hidden=32, heads=4, ffn=64).pos_att_type == ["c2p", "p2c"]


def test_heads_of_deberta_cannot_be_merged():
    with pytest.raises(UserError, match="head by head"):
        build(StudentSpec(layers=2, heads=2, init="first"), tiny_encoder("DeBERTa", layers=4))


def test_results_of_big_bird_do_not_depend_on_earlier_batches():
    model = tiny_encoder("BigBird", layers=2, settings={"block_size": 2, "num_random_blocks": 1})
    capture, long = Capture(model), inputs_for(model, (40, 38))
    with torch.no_grad():
        first = capture.run(long, {"logits"}).logits
        capture.run(inputs_for(model, (8, 7)), {"logits"})
        assert torch.equal(capture.run(long, {"logits"}).logits, first)


@pytest.mark.parametrize("family", SETTINGS)
def test_missing_outputs_are_known_without_weights(family):
    model = tiny_encoder(family, layers=LAYERS)
    missing = missing_outputs(model.config, "the teacher")
    assert missing == find_parts(model).missing
    if family == "Funnel":
        assert {"hidden", "embeddings", "values"} <= missing
    elif family.startswith(("DeBERTa", "MPNet", "Longformer")):
        assert missing == {"scores"}
    else:
        assert not missing


@pytest.mark.parametrize("model_type", OWN_SCORES)
def test_families_with_scores_of_their_own_compute_plain_attention(model_type):
    from harness.testing import tiny_model

    model = in_double(tiny_model(model_type, layers=LAYERS))
    inputs = inputs_for(model)
    got, attentions = captured(model, inputs), reference(model, inputs).attentions
    real = inputs["attention_mask"].bool()
    for i in range(1, LAYERS + 1):
        maps = got.scores[i].masked_fill(~real[:, None, None], float("-inf")).softmax(-1).transpose(1, 2)
        torch.testing.assert_close(maps[real], attentions[i - 1].transpose(1, 2)[real], atol=1e-9, rtol=1e-9)


def test_an_encoder_that_cannot_run_is_an_error_with_the_reason():
    config = tiny_encoder("ModernBERT").config
    odd = resized(config, layers=2, hidden=36, heads=4, ffn=64)  # rotary embeddings need an even width of a head
    with pytest.raises(UserError, match=r"tiny: an encoder of type 'modernbert' with 4 heads, hidden 36 .* fails"):
        missing_outputs(odd, "tiny")


def test_an_encoder_is_probed_once(monkeypatch):
    config = tiny_encoder("ALBERT", layers=3).config
    first = missing_outputs(config, "a")
    monkeypatch.setattr(introspection, "find_parts", lambda model: pytest.fail("probed again"))
    assert missing_outputs(config, "b") == first


@pytest.mark.parametrize("family", [family for family in LAYERED if family != "ConvBERT"])
def test_padding_does_not_change_outputs_at_real_tokens(family):
    """ConvBERT's convolutions read the padding next to the last token, in transformers, too."""
    model = tiny_encoder(family, layers=LAYERS)
    short = inputs_for(model)
    longer = {name: torch.nn.functional.pad(tensor, (0, 7)) for name, tensor in short.items()}
    a, b = captured(model, short), captured(model, longer)
    real = short["attention_mask"].bool()
    torch.testing.assert_close(a.logits, b.logits, atol=1e-5, rtol=1e-4)
    for i in range(1, LAYERS + 1):
        torch.testing.assert_close(a.hidden[i][real], b.hidden[i][:, :24][real], atol=1e-5, rtol=1e-4)
        for name in ("queries", "keys", "values"):
            ours, theirs = getattr(a, name)[i].transpose(1, 2), getattr(b, name)[i].transpose(1, 2)
            torch.testing.assert_close(ours[real], theirs[:, :24][real], atol=1e-5, rtol=1e-4)
