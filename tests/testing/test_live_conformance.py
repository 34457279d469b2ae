"""The checks of a method that runs models itself, on a task and on text."""

import pytest
import torch

from harness import General, Method, Needs, Stage
from harness.api.losses import masked_lm_loss, task_loss
from harness.testing import check_method


class Saliency(Method):
    """Compares gradients of the embeddings, computed by both models themselves."""

    name = "saliency"

    def general(self):
        return General(Stage("text", Needs(student=["logits", "embeddings"]), live=True), masking=0.15)

    def stages(self):
        return [Stage("distill", Needs(student=["logits", "embeddings"]), live=True, average=0.9)]

    def losses(self, step, batch, student, teachers):
        (teacher,) = step.teachers
        theirs = teacher.run(["logits", "embeddings"], patches={"embeddings": lambda e: e.detach().requires_grad_()})
        target, own = (self.size(outputs, batch) for outputs in (theirs, student))
        loss = masked_lm_loss if batch.kind == "text" else task_loss
        terms = {"task": loss(student.logits, batch), "saliency": (own - target.detach()).square().mean()}
        if batch.kind != "text":
            steady = step.average.run(["logits"]).logits
            terms["steady"] = (step.student.run(["logits"]).logits - steady).square().mean() + 0 * terms["task"]
        return terms

    def size(self, outputs, batch):
        """The mean norm of the gradient of a logit at the tokens of each example."""
        first = outputs.logits.flatten(1)[:, 1].sum()  # token 0 is padding, whose embedding is zero
        (gradient,) = torch.autograd.grad(first, outputs.embeddings, create_graph=True)
        return gradient.norm(dim=-1).masked_fill(~batch.mask, 0).sum(-1) / batch.lengths


@pytest.mark.parametrize("kind", ["classification", "text"])
def test_a_live_method_passes_every_check(kind):
    conformance = check_method(Saliency, kinds=[kind])
    assert conformance.ok, str(conformance)


def test_a_gradient_to_a_teacher_is_no_fault_of_a_live_method():
    """The teacher's parameters are frozen, so a method can forget to detach."""

    class Forgets(Saliency):
        def size(self, outputs, batch):
            return outputs.logits.mean(-1) + outputs.embeddings[:, 0].mean(-1)

    conformance = check_method(Forgets, kinds=["classification"])
    assert conformance.ok, str(conformance)
