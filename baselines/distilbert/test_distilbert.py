"""distilbert's terms against loops in float64, written from the formulas of Sanh et al. 2019."""

import math

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from harness.errors import UserError
from harness.testing import loss_terms, tiny_batch, tiny_model

VOCAB = 23


def model(layers, hidden=16, seed=0):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCAB,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=2,
        intermediate_size=24,
        initializer_range=0.4,
    )
    return BertForMaskedLM(config).double().eval()


def text(padding=0):
    """Three texts of 7, 5 and 4 tokens; 2, 1 and 0 of them masked."""
    ids = torch.randint(5, VOCAB, (3, 7), generator=torch.Generator().manual_seed(3))
    ids = torch.nn.functional.pad(ids, (0, padding))
    mask = torch.arange(7 + padding) < torch.tensor([7, 5, 4])[:, None]
    labels = torch.full_like(ids, -100)
    labels[0, 2], labels[0, 5], labels[1, 1] = 9, 6, 11
    return {"input_ids": ids * mask, "attention_mask": mask.long(), "labels": labels}


def log_softmax(row):
    top = max(row)
    total = math.log(sum(math.exp(x - top) for x in row)) + top
    return [x - total for x in row]


def outputs(model, batch):
    with torch.no_grad():
        out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True)
    return out.logits.tolist(), out.hidden_states[-1].tolist()


def expected(student, teacher, batch, t):
    """Within an example the mean over its tokens, then the mean over the examples."""
    (z_s, h_s), (z_t, h_t) = outputs(student, batch), outputs(teacher, batch)
    kd, mlm, cosine = [], [], []
    for b, length in enumerate(batch["attention_mask"].sum(-1).tolist()):
        kls, cosines, crossed = [], [], []
        for n in range(length):
            log_s = log_softmax([x / t for x in z_s[b][n]])
            log_t = log_softmax([x / t for x in z_t[b][n]])
            kls.append(sum(math.exp(q) * (q - p) for p, q in zip(log_s, log_t, strict=True)))
            dot = sum(x * y for x, y in zip(h_s[b][n], h_t[b][n], strict=True))
            norms = math.sqrt(sum(x * x for x in h_s[b][n])) * math.sqrt(sum(y * y for y in h_t[b][n]))
            cosines.append(1 - dot / norms)
            label = batch["labels"][b][n].item()
            if label != -100:
                crossed.append(-log_softmax(z_s[b][n])[label])
        kd.append(t * t * sum(kls) / length)
        cosine.append(sum(cosines) / length)
        mlm.append(sum(crossed) / len(crossed) if crossed else 0.0)
    return {name: sum(values) / 3 for name, values in (("mlm_kd", kd), ("mlm", mlm), ("cosine", cosine))}


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_general_stage_equals_the_loops(temperature, padding):
    student, teacher = model(2, seed=1), model(4, seed=2)
    teacher.train()  # handed over in training mode, it teaches without dropout all the same
    terms = loss_terms(
        "distilbert", student=student, teachers=[teacher], batch=text(padding), config={"temperature": temperature}
    )
    want = expected(student, teacher.eval(), text(), temperature)
    assert terms.keys() == want.keys()
    for name, value in want.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-5), name


def test_general_stage_is_zero_for_the_teacher_itself():
    teacher = model(2)
    terms = loss_terms("distilbert", student=teacher, teachers=[teacher], batch=text(), stage="general")
    assert terms["mlm_kd"].item() == pytest.approx(0, abs=1e-12)
    assert terms["cosine"].item() == pytest.approx(0, abs=1e-12)
    assert terms["mlm"].item() > 0


@pytest.mark.parametrize("kind", ["classification", "regression", "qa"])
def test_finetune_has_the_labels_and_the_teacher_if_asked(kind):
    student, teacher = tiny_model(kind=kind), tiny_model(kind=kind, layers=4, seed=1)
    batch = tiny_batch(kind)
    alone = loss_terms("distilbert", student=student, teachers=[teacher], batch=batch)
    both = loss_terms("distilbert", student=student, teachers=[teacher], batch=batch, config={"alpha": 0.3})
    hinton = loss_terms("logit_kd", student=student, teachers=[teacher], batch=batch, config={"temperature": 2.0})
    assert alone.keys() == {"task"}
    assert both == hinton


def test_unequal_widths_are_refused():
    with pytest.raises(UserError, match="equal widths: student has 8, teacher 1 has 16"):
        loss_terms("distilbert", student=model(2, hidden=8), teachers=[model(2)], batch=text())
