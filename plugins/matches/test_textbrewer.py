"""The losses of matches equal those of TextBrewer 0.2.1 on the same tensors."""

import pytest
import torch

from harness import Batch
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model

textbrewer = pytest.importorskip("textbrewer")

METHOD = Host.create().methods["matches"]
SIZES = {"hidden": 16, "heads": 4, "ffn": 16}


def model(seed, **sizes):
    made = tiny_model(kind="classification", num_labels=3, seed=seed, **{**SIZES, **sizes})
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(14)
    return made.double().eval()


STUDENT, TEACHER = model(1, layers=2), model(2, layers=4)


def batch_of(*, ragged):
    batch = tiny_batch("classification", batch=4, length=9, num_labels=3, seed=3)
    if not ragged:
        batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
    return batch


class Observed(METHOD):
    """Keeps the outputs that it is given."""

    seen: dict

    def losses(self, step, batch, student, teachers):
        type(self).seen = {"batch": batch, "student": student, "teacher": teachers[0], "modules": step.modules}
        return super().losses(step, batch, student, teachers)


def both(match, *, ragged, student=STUDENT, teacher=TEACHER, **options):
    """The term of a match, and the tensors that it was computed from."""
    given = {"student": student, "teachers": [teacher], "batch": batch_of(ragged=ragged)}
    config = {"matches": [match] if match else [], **options}
    found = loss_terms(Observed, **given, config=config)
    return found["match_1" if match else "kd"].item(), Observed.seen


def scores(outputs, layer, batch: Batch):
    """The scores as encoders of TextBrewer's time give them: a large negative number where the key is padding."""
    queries, keys = outputs.queries[layer], outputs.keys[layer]
    found = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return found.masked_fill(~batch.mask[:, None, None, :], -10000.0)


LOSSES = textbrewer.presets.MATCH_LOSS_MAP


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("hidden_mse", {"loss": "mse", "reduction": "tokens"}),
        ("cos", {"loss": "cosine", "reduction": "tokens"}),
        ("pkd", {"loss": "l2", "tokens": "cls", "normalize": True}),
    ],
)
def test_hidden_states(theirs, ours, ragged):
    found, seen = both({"student": "hidden[1]", "teacher": "hidden[3]", **ours}, ragged=ragged)
    states = seen["student"].hidden[1], seen["teacher"].hidden[3]
    expected = LOSSES[theirs](*states, mask=seen["batch"].inputs["attention_mask"])
    assert found == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("attention_mse", {"loss": "mse"}),
        ("attention_mse_sum", {"loss": "mse", "heads": "sum"}),
        ("attention_ce", {"loss": "ce"}),
        ("attention_ce_mean", {"loss": "ce", "heads": "mean"}),
    ],
)
def test_attention(theirs, ours, ragged):
    match = {"student": "scores[1]", "teacher": "scores[3]", "reduction": "tokens", **ours}
    found, seen = both(match, ragged=ragged)
    batch = seen["batch"]
    given = scores(seen["student"], 1, batch), scores(seen["teacher"], 3, batch)
    expected = LOSSES[theirs](*given, mask=batch.inputs["attention_mask"])
    assert found == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("loss", ["fsp", "gram"])
def test_the_flow_between_two_layers(loss, ragged):
    match = {"student": ["hidden[1]", "hidden[2]"], "teacher": ["hidden[2]", "hidden[4]"], "loss": loss}
    found, seen = both(match, ragged=ragged)
    student, teacher = seen["student"].hidden, seen["teacher"].hidden
    mask = seen["batch"].inputs["attention_mask"]
    expected = LOSSES[loss]([student[1], student[2]], [teacher[2], teacher[4]], mask=mask)
    assert found == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("loss", ["nst", "mmd"])
def test_the_selectivity_of_neurons(loss):
    """With a mask, TextBrewer divides by the padded length in place of the width."""
    match = {"student": "hidden[1]", "teacher": "hidden[4]", "loss": loss, "reduction": "tokens"}
    found, seen = both(match, ragged=False, teacher=model(2, layers=4, hidden=24))
    student, teacher = seen["student"].hidden[1], seen["teacher"].hidden[4]
    assert found == pytest.approx(LOSSES[loss]([student] * 2, [teacher] * 2).item(), rel=1e-12)
    found, seen = both(match, ragged=True)
    student, teacher = seen["student"].hidden[1], seen["teacher"].hidden[4]
    expected = LOSSES[loss]([student] * 2, [teacher] * 2, mask=seen["batch"].inputs["attention_mask"])
    width, length = student.shape[2], student.shape[1]
    assert found == pytest.approx(expected.item() * (length / width) ** 2, rel=1e-12)


@pytest.mark.parametrize("name", ["linear", "relu", "tanh"])
def test_projections(name):
    match = {"student": "hidden[1]", "teacher": "hidden[3]", "project": name, "reduction": "tokens"}
    found, seen = both(match, ragged=True, teacher=model(2, layers=4, hidden=24))
    projection = textbrewer.presets.PROJ_MAP[name](16, 24).double()
    own = seen["modules"]["match_1"]
    projection.load_state_dict(own.state_dict())
    mask = seen["batch"].inputs["attention_mask"]
    with torch.no_grad():
        expected = LOSSES["hidden_mse"](projection(seen["student"].hidden[1]), seen["teacher"].hidden[3], mask=mask)
    assert found == pytest.approx(expected.item(), rel=1e-12)


RULES = [None, {"rule": "flsw", "beta": 1.0, "gamma": 2.0}, {"rule": "cwsm", "beta": 0.5}]


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kd", ["ce", "mse"])
def test_logits(kd, rule, shift):
    options = {"kd": kd, "temperature": 3.0, "probability_shift": shift, "example_temperature": rule}
    found, seen = both(None, ragged=True, **options)
    student, teacher = seen["student"].logits, seen["teacher"].logits.clone()
    if shift:
        teacher = textbrewer.distiller_utils.probability_shift_(teacher, seen["batch"].labels)
    temperature = 3.0
    if rule:
        arguments = [rule["beta"], *([rule["gamma"]] if "gamma" in rule else [])]
        schedule = textbrewer.presets.TEMPERATURE_SCHEDULER[[rule["rule"], *arguments]]
        temperature = schedule(student, teacher, 3.0)
    expected = textbrewer.presets.KD_LOSS_MAP[kd](student, teacher, temperature)
    assert found == pytest.approx(expected.item(), rel=1e-12)
