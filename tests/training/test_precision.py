"""Half precision trains like float32; fp16 scales the loss and counts skipped steps."""

import pytest
import torch

from harness import Method, Needs, Stage
from harness.api.batch import Batch
from harness.api.losses import task_loss
from harness.config.training_schema import TrainingSpec
from harness.execution import run_checkpoints
from harness.training import precision, scoring

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Overflows(Method):
    """Its fourth step has a small loss whose gradients overflow in half precision."""

    name = "overflows"
    max_teachers = min_teachers = 0

    def stages(self):
        return [Stage("only", Needs(student=["logits"]))]

    def losses(self, step, batch, student, teachers):
        loss = task_loss(student.logits, batch)
        return {"task": loss + 1e38 * (loss - loss.detach()) if step.index == 3 else loss}


def train(cohort, **options):
    return list(cohort.train(**{"stop": lambda: False, "checkpoint": lambda run: None, **options}))


@pytest.mark.parametrize("half", ["bf16", "fp16"])
@pytest.mark.parametrize("method", ["finetune", "tinybert", "minilm", "mlkd_bert"])
def test_half_precision_is_close_to_float32(world, method, half):
    seen = []
    full, halved = world().run(method), world(precision=half).run(method)
    run = halved.capture.run
    halved.capture.run = lambda *args, **options: seen.append(run(*args, **options)) or seen[-1]
    for one, here in ((full, world()), (halved, world(precision=half))):
        train(here.cohort(one))
        assert one.error is None
    assert any(t.dtype == precision.HALF[half] for tensors in seen for t in tensors.tensors())
    assert {p.dtype for p in halved.student.parameters()} == {torch.float32}
    assert halved.trained.skipped_steps <= 1  # the first scale is a guess
    for mine, theirs in zip(halved.history, full.history, strict=True):
        assert mine.terms == pytest.approx(theirs.terms, rel=0.1, abs=0.02)
    assert halved.history != full.history


@pytest.mark.parametrize("max_grad_norm", [1.0, None])
def test_a_step_with_overflowing_gradients_is_skipped_and_counted(world, max_grad_norm, tmp_path):
    here = world(precision="fp16", max_grad_norm=max_grad_norm)
    run, saved, seen = here.run(Overflows), tmp_path / "run.pt", {}
    scale = run.trained.scaler.get_scale()

    def at(position):
        seen.setdefault(run.position, {name: t.clone() for name, t in run.student.state_dict().items()})
        return run.position == position

    train(here.cohort(run), stop=lambda: at(5), checkpoint=lambda run: run_checkpoints.save(run, saved))
    assert run.error is None
    assert run.trained.skipped_steps == 1
    assert all(torch.equal(seen[3][name], seen[4][name]) for name in seen[3])
    assert not all(torch.equal(seen[4][name], seen[5][name]) for name in seen[4])
    again = here.run(Overflows)
    assert run_checkpoints.restore(again, saved)
    assert again.trained.skipped_steps == 1
    assert again.trained.scaler.get_scale() == scale / 2
    train(here.cohort(again))
    whole = here.run(Overflows)
    train(here.cohort(whole))
    assert all(torch.equal(mine, again.student.state_dict()[n]) for n, mine in whole.student.state_dict().items())


def tf32():
    """The precision of products, and whether convolutions may use TF32."""
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def test_tf32_is_set_for_training_on_a_gpu_only():
    before = tf32()
    for device, allowed, expected in [
        (CUDA, True, ("high", True)),
        (CUDA, False, ("highest", False)),
        (CPU, True, before),
    ]:
        with precision.matmuls(TrainingSpec(tf32=allowed), device):
            assert tf32() == expected
        assert tf32() == before


def test_a_gpu_scores_without_tf32(world, monkeypatch):
    """Also in convolutions, which use it by default."""
    here, seen = world(), []
    run = here.run("finetune")
    capture = run.capture.run
    monkeypatch.setattr(Batch, "to", lambda batch, device: batch)
    monkeypatch.setattr(run.capture, "run", lambda *args, **options: seen.append(tf32()) or capture(*args, **options))
    with precision.tf32_products(True, CUDA):
        scoring.logits(run.capture, here.data.validation["validation"], here.data.pad_token_id, device=CUDA)
    assert set(seen) == {("highest", False)}
