"""What a suite says before training about encoders of other families than BERT."""

import pytest

from harness.api.errors import UserError
from harness.resolution import load, resolve
from tests.support.checkpoint_folders import save_without_values
from tests.support.encoder_families import tiny_encoder

SUITE = """\
name: encoders
tasks: [TASKS]
teachers: {big: {model: ./big}}
students: {small: STUDENT}
methods: [finetune, logit_kd, pkd, tinybert, minilm, mlkd_bert, mt_bert]
"""


@pytest.fixture
def cells(write, tmp_path):
    """Method -> reason why it cannot run, or None, for a teacher of a family on some tasks."""

    def resolved(family, *, tasks="sst2", student="{layers: 2, init: uniform}"):
        config = tiny_encoder(family, layers=4).config
        config.architectures = ["FunnelModel"] if family == "Funnel" else None
        config.vocab_size, config.max_position_embeddings = 128, 600
        save_without_values(config, tmp_path / "big")
        suite = load(write(SUITE.replace("TASKS", tasks).replace("STUDENT", student)))
        return {(cell.task.name, cell.variant.label): cell.reason for cell in resolve(suite, online=False).cells}

    return resolved


@pytest.mark.parametrize("family", ["ModernBERT", "DeBERTa-v3", "MPNet", "Longformer"])
def test_every_method_runs_on_students_with_copied_layers(cells, family):
    assert set(cells(family).values()) == {None}


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("EuroBERT", "transformers has no question answering head for eurobert encoders"),
        ("Longformer", "the question answering head of longformer encoders fails on rows without three separator"),
    ],
)
def test_a_task_without_a_head_of_the_family_is_not_run(cells, family, expected):
    reasons = cells(family, tasks="sst2, squad")
    assert {reason for (task, _), reason in reasons.items() if task == "sst2"} == {None}
    for (task, _), reason in reasons.items():
        if task == "squad":
            assert expected in reason


def test_a_student_whose_architecture_fails_is_a_problem_of_the_suite(cells):
    with pytest.raises(UserError) as caught:
        cells("ModernBERT", student="{layers: 2, hidden: 36}")
    (problem,) = caught.value.problems
    assert "students.small" in str(problem)
    assert "small: an encoder of type 'modernbert' with 4 heads, hidden 36 and FFN 64 fails" in problem.message


def test_layers_of_funnel_cannot_be_copied(cells):
    with pytest.raises(UserError, match="layers of big cannot be copied: in a funnel encoder"):
        cells("Funnel")
