"""Tuning from the suite to the record: reproducible trials, chosen on the held-out split only."""

import json

import pandas as pd
import pytest
import torch

from harness import hookimpl
from harness.reporting import report
from harness.storage import atomic_writes
from harness.storage.store import Store
from tests.support.forked_commands import ForkedCommand, set_options
from tests.support.held_commands import Hold
from tests.support.student_weights import student_weights

pytestmark = pytest.mark.xdist_group("tuning")  # tests that share a finished suite

LEANS = '''
"""Learns to say one class, as its option says: so the option decides the score."""

from typing import Annotated
from pydantic import Field
from harness import Method, MethodConfig, Needs, Search, Stage, hookimpl

class Config(MethodConfig):
    side: Annotated[float, Search(-1, 1)] = Field(0.0, description="which class")
    fails_above: float = Field(2.0, description="a side beyond which it fails")

class Leans(Method):
    name = "leans"
    Config = Config
    min_teachers = max_teachers = 0
    def stages(self):
        return [Stage("only", Needs(student=["logits"]))]
    def losses(self, step, batch, student, teachers):
        if self.config.side > self.config.fails_above:
            raise ValueError("on purpose")
        target = -3 if self.config.side > 0 else 3
        return {"side": (student.logits[:, 1] - student.logits[:, 0] - target).square().mean()}

@hookimpl
def harness_register_methods(register):
    register(Leans)
'''

SUITE = (
    "tuning={trials: 4}",
    "methods=[finetune, leans, logit_kd]",
    "seeds=[1]",
    "training.lr=1e-2",
    "training.epochs=2",
)


@pytest.fixture
def suite(small):
    (small.folder / "leans.py").write_text(LEANS)
    plugins = (str(small.folder / "leans.py"),)

    def run(*overrides, observers=()):
        outcome = small.run(*SUITE, *overrides, plugins=plugins, observers=observers)
        assert not outcome.failed
        return small.store()

    def finished():
        small.finished(*SUITE, plugins=plugins)
        return small.store()

    run.small, run.finished = small, finished
    return run


class Trials:
    """Records which trials and runs start."""

    def __init__(self):
        self.started = []

    @hookimpl
    def harness_run_started(self, event):
        self.started.append((event.run.role, event.run.label, event.run.trial))

    def of(self, role):
        return [(label, number) for kind, label, number in self.started if kind == role]


def tunings(store):
    """Label -> tuning record."""
    studies = {record.label: record.tuning.study for record in store.records() if record.tuning}
    return {label: store.tuning(study) for label, study in studies.items()}


def trials(store, *, without=()):
    """Label -> values and scores of the trials, without times, which always differ."""
    dropped = {"seconds", *without}
    return {
        label: [trial.model_dump(exclude=dropped) for trial in record.trials]
        for label, record in tunings(store).items()
    }


def weights(store, label):
    (record,) = [record for record in store.records() if record.label == label]
    return student_weights(store, record.key)


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], tensor) for name, tensor in right.items())


def test_every_row_has_its_trials_and_runs_with_the_best(suite):
    watcher = Trials()
    store = suite(observers=(watcher,))
    records = {record.label: record for record in store.records()}
    records_by_label = tunings(store)
    assert {label: len(record.trials) for label, record in records_by_label.items()} == dict.fromkeys(records, 4)
    assert watcher.of("trial") == [(label, n) for n in range(4) for label in ("finetune", "leans", "logit_kd")]
    assert records_by_label["leans"].default.values == {"training.lr": 1e-2, "side": 0.0}
    assert records_by_label["logit_kd"].default.values == {"training.lr": 1e-2, "temperature": 4.0, "alpha": 0.5}
    leans = records_by_label["leans"]
    assert leans.chosen.number != 0, "the default says the class that is rarer"
    assert leans.chosen.score == max(trial.score for trial in leans.trials) > leans.default.score
    tuned = records["leans"].tuning
    assert (tuned.values, tuned.score, tuned.trials) == (leans.chosen.values, leans.chosen.score, 4)
    assert tuned.seconds == pytest.approx(sum(trial.seconds for trial in leans.trials))
    assert all(trial.steps == records["leans"].cost.steps and trial.seconds > 0 for trial in leans.trials)
    assert {record.data_fingerprint for record in records_by_label.values()} == {records["leans"].selection.fingerprint}
    assert leans.data_fingerprint != records["leans"].data_fingerprint
    assert not list((store.folder / "checkpoints").glob("*"))
    assert len(list((store.folder / "runs").iterdir())) == 3, "trials export nothing"


def test_equal_values_are_trained_once(suite):
    watcher = Trials()
    choice = ("tuning={trials: 4, lr: null, batch_size: [16, 8]}", "methods=[finetune]")
    store = suite(*choice, observers=(watcher,))
    (record,) = tunings(store).values()
    sizes = [trial.values["training.batch_size"] for trial in record.trials]
    first = {size: sizes.index(size) for size in sizes}
    assert watcher.of("trial") == [("finetune", number) for number in sorted(first.values())]
    assert [trial.number for trial in record.trials] == [0, 1, 2, 3]
    for number, size in enumerate(sizes):
        trial = record.trials[number]
        assert trial.score == record.trials[first[size]].score
        assert (trial.steps > 0) is (trial.seconds > 0) is (number == first[size])


def test_a_tuned_run_equals_a_run_with_the_values_in_the_suite(suite):
    store = suite("methods=[leans]")
    (record,) = store.records()
    chosen, expected = record.tuning.values, weights(store, "leans")
    (store.folder).rename(store.folder.with_name("tuned"))
    chosen_settings = ("tuning=null", "selection={epoch: last}", f"training.lr={chosen['training.lr']!r}")
    again = suite(f"methods=[{{leans: {{side: {chosen['side']!r}}}}}]", *chosen_settings)
    (plain,) = again.records()
    assert plain.tuning is None
    assert plain.score == record.score
    assert same(weights(again, "leans"), expected)


def test_trials_do_not_depend_on_the_cohort(suite):
    together = trials(suite.finished())
    for label in ("leans", "logit_kd"):
        suite.small.store().folder.rename(suite.small.store().folder.with_name(f"before {label}"))
        assert trials(suite(f"methods=[{label}]")) == {label: together[label]}


def test_validation_labels_do_not_influence_the_choice(suite):
    before = trials(suite.finished())
    scores = {record.label: record.score for record in suite.small.store().records()}
    suite.small.store().folder.rename(suite.small.store().folder.with_name("honest"))
    plugin = suite.small.folder / "order.py"
    poisoned = (
        plugin.read_text()
        .replace("def load(source):", FLIPPED)
        .replace("examples(60, 2)}", "flipped(examples(60, 2))}")
    )
    plugin.write_text(poisoned)
    assert trials(suite()) == before
    flipped = {record.label: record.score for record in suite.small.store().records()}
    assert flipped == pytest.approx({label: 1 - score for label, score in scores.items()})


FLIPPED = """def flipped(rows):
    return rows.map(lambda row: {"label": 1 - row["label"]})


def load(source):"""


def test_more_seeds_use_the_same_chosen_values(suite):
    store = suite.finished()
    before = trials(store)
    watcher = Trials()
    suite("seeds=[1, 2]", observers=(watcher,))
    assert watcher.of("trial") == []
    assert len(watcher.of("student")) == 3
    assert trials(store) == before
    values = {(record.label, json.dumps(record.tuning.values)) for record in store.records()}
    assert len(values) == 3, "one choice for all seeds of a row"


def test_a_failed_trial_counts_as_a_trial(suite):
    store = suite("methods=[{leans: {fails_above: 0.0}}]")
    (record,) = tunings(store).values()
    failed = [trial for trial in record.trials if trial.values["side"] > 0]
    assert failed, "some of the trials fail"
    assert all(trial.score is None and "ValueError: on purpose" in trial.error for trial in failed)
    assert len(record.trials) == 4
    assert record.chosen.score is not None
    text = report(store.folder).markdown
    assert f"{len(failed)} of 4" in text.partition("## Tuning")[2]


def test_a_row_without_tunable_options_is_reported(suite):
    store = suite("tuning={trials: 2, lr: null}")
    records = {record.label: record for record in store.records()}
    assert records["finetune"].tuning is None
    assert records["leans"].tuning.trials == 2
    written = report(store.folder)
    assert "Nothing to tune: `finetune` on 1x32, order." in written.markdown
    assert "nothing to tune on at least one task: finetune" in written.markdown


def test_the_board_has_the_choices_and_their_cost(suite):
    store = suite.finished()
    folder, text = store.folder, report(store.folder).markdown
    records_by_label = tunings(store)
    (line,) = [line for line in text.partition("## Tuning")[2].splitlines() if line.startswith("| leans ")]
    assert f"side: {records_by_label['leans'].chosen.values['side']:.3g}" in line
    assert f"{100 * records_by_label['leans'].chosen.score:.1f}" in line
    assert "tuning cost" in text
    frame = pd.read_csv(folder / "sections" / "tuning.csv")
    assert frame.groupby("label").size().to_dict() == dict.fromkeys(records_by_label, 4)
    chosen = frame[frame["chosen"]].set_index("label")
    assert {label: json.loads(values) for label, values in chosen["values"].items()} == {
        label: record.chosen.values for label, record in records_by_label.items()
    }
    board = pd.read_csv(folder / "leaderboard.csv").set_index("label")
    assert board.loc["leans", "tuning_seconds"] == pytest.approx(records_by_label["leans"].seconds)
    tuning = {row["label"]: row for row in json.loads((folder / "leaderboard.json").read_text())["tuning"]}
    assert {label: len(row["trials"]) for label, row in tuning.items()} == dict.fromkeys(records_by_label, 4)
    assert tuning["leans"]["chosen"] == records_by_label["leans"].chosen.number


def test_a_killed_tuning_resumes_with_the_same_trials(suite):
    small = suite.small
    longer = ("training.epochs=5", "training.checkpoint_every=5")
    hold = Hold(small.folder, "run.trial == 1 and event.step == 15")
    plugins = [argument for name in ("leans.py", hold.plugin.name) for argument in ("--plugin", name)]
    arguments = ["run", "small.yaml", "--quiet", *plugins, *set_options((*SUITE, *longer))]
    process = ForkedCommand(arguments, small.folder)
    hold.wait(process)
    process.kill()
    store, watcher = small.store(), Trials()
    assert len(list((store.folder / "checkpoints").glob("*/*.pt"))) == 3
    suite(*longer, observers=(watcher,))
    assert len(watcher.of("trial")) == 9, "the first trial of each row was done before"
    resumed, tensors = trials(store), weights(store, "leans")
    store.folder.rename(store.folder.with_name("killed"))
    suite(*longer)
    assert trials(store) == resumed
    assert same(weights(store, "leans"), tensors)


def test_a_kill_after_the_last_trial_leaves_no_checkpoint(suite, monkeypatch):
    """The first kill comes before the checkpoint of the last trial is removed, the second after all have been."""

    def killed(*arguments):
        raise KeyboardInterrupt

    remove = atomic_writes.remove
    with monkeypatch.context() as patch:
        store = suite.small.store()
        patch.setattr(atomic_writes, "remove", lambda path: killed() if ended(store) == 4 else remove(path))
        with pytest.raises(KeyboardInterrupt):
            suite(*WITH_CHECKPOINTS)
    (left,) = store.folder.glob("checkpoints/*/*.pt")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "save_tuning", killed)
        with pytest.raises(KeyboardInterrupt):
            suite(*WITH_CHECKPOINTS)
    assert not left.parent.exists()
    suite(*WITH_CHECKPOINTS)
    assert not list(store.folder.glob("checkpoints/*"))


WITH_CHECKPOINTS = ("methods=[leans]", "training.checkpoint_every=5")


def ended(store):
    """Number of trials in the journals."""
    return sum(path.read_text().count('"state"') for path in (store.folder / "tuning").glob("*.log"))
