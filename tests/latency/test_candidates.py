"""The models that are measured: the A/A control, and checkpoints with damaged weights."""

import pytest

from harness.api.errors import UserError
from harness.latency.candidates import Candidate, Candidates, of_checkpoints
from tests.support.damaged_weights import configure, remove, truncate
from tests.support.tiny_checkpoints import save_checkpoint


def model(name, role):
    return Candidate(name, role, "made for the test", {"name": name}, lambda: None)


@pytest.mark.parametrize(
    ("models", "copied"),
    [
        ([("base", "teacher"), ("second", "teacher"), ("4x312", "student"), ("6x768", "student")], "4x312"),
        ([("a", "model"), ("b", "model"), ("c", "model")], "b"),
        ([("a", "model")], "a"),
    ],
)
def test_the_control_is_a_second_copy_of_the_first_student(models, copied):
    compared = Candidates([model(*row) for row in models]).with_control()
    assert [candidate.name for candidate in compared] == [*(name for name, _ in models), f"{copied} (second copy)"]
    assert (compared[-1].role, compared[-1].of) == ("control", copied)


def load(folder):
    return of_checkpoints([str(folder)], trust_remote_code=False).models[0].load()


def test_a_checkpoint_without_a_head_can_be_measured(tmp_path):
    folder = save_checkpoint(tmp_path / "model", "two")
    remove(folder, "classifier")
    assert type(load(folder)).__name__ == "BertForSequenceClassification"


def test_a_head_that_fails_on_random_tokens_is_refused(tmp_path):
    folder = save_checkpoint(tmp_path / "model", "qa")
    configure(folder, model_type="longformer", architectures=["LongformerForQuestionAnswering"])
    with pytest.raises(UserError, match="its head fails on rows without three separator tokens"):
        of_checkpoints([str(folder)], trust_remote_code=False)


def test_damaged_weights_are_an_error(tmp_path):
    folder = save_checkpoint(tmp_path / "model", "two")
    configure(folder, intermediate_size=48)
    with pytest.raises(UserError, match=r"intermediate\.dense\.\w+ is \[32.*\] in the file and \[48.*\] by config"):
        load(folder)
    truncate(folder)
    with pytest.raises(UserError, match="cannot load a model from this folder"):
        load(folder)
