"""A suite whose rows, students and teachers were renamed after its runs: keys do not contain names."""

import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.best_students import Limits, candidates
from harness.analysis.task_predictions import shown_teacher
from harness.export import explanation, model_card
from harness.export.exporting import facts_of
from harness.export.model_folder import ModelFiles
from harness.prediction import loaded_model
from harness.reporting import report
from harness.storage.plan_file import PlannedAssistant, PlannedStudy, PlannedTuning
from harness.storage.records import TuningSummary
from harness.workflow.results_reading import load_results
from tests.support.latency_factory import SETTINGS, latency_record
from tests.support.results_factory import SST2, answers, fill, plan, run_key, run_record, teacher_record
from tests.support.tiny_checkpoints import save_checkpoint

NEW = {"finetune": "alone", "kd": "distilled", "big": "large", "small": "tiny", "base": "best", "weak": "poor",
       "helper": "aide"}  # fmt: skip
KEY = run_key("sst2", "kd", "small", 1)


def helpers(seed):
    """The kd runs of the student small learn from base and from the student big without a teacher."""
    return {"teachers": ["base", "helper"], "assistants": {"helper": run_key("sst2", "finetune", "big", seed)}}


def planned():
    """The plan before the renaming. Of the two teachers only the second one teaches; finetune has nothing to tune."""
    given = plan(
        [SST2],
        seeds=2,
        latency=SETTINGS,
        teachers={name: {"sst2": [f"{name}-sst2"]} for name in ("weak", "base")},
        assistants={"helper": PlannedAssistant(label="finetune", student="big")},
        tuning=PlannedTuning(
            trials=2,
            seed=1,
            on="train",
            studies=[
                PlannedStudy(
                    key=f"study-{student}" if label == "kd" else None, task="sst2", label=label, student=student
                )
                for label in ("finetune", "kd")
                for student in ("big", "small")
            ],
        ),
    )
    taught = [
        run.model_copy(update=helpers(run.seed) if (run.label, run.student) == ("kd", "small") else {})
        for run in given.runs
    ]
    return given.model_copy(update={"runs": taught})


def renamed(given):
    """The plan with `NEW` for every name."""

    def other(part):
        names = {name: NEW[value] for name in ("label", "student") if (value := getattr(part, name))}
        return part.model_copy(update=names)

    def run_of(run):
        teachers = [NEW[name] for name in run.teachers]
        return other(run).model_copy(
            update={"teachers": teachers, "assistants": {NEW[name]: key for name, key in run.assistants.items()}}
        )

    changes = {
        "labels": [NEW[label] for label in given.labels],
        "students": [NEW[student] for student in given.students],
        "teachers": {NEW[name]: keys for name, keys in given.teachers.items()},
        "assistants": {NEW[name]: other(row) for name, row in given.assistants.items()},
        "runs": [run_of(run) for run in given.runs],
        "tuning": given.tuning.model_copy(update={"studies": [other(study) for study in given.tuning.studies]}),
    }
    return given.model_copy(update=changes)


@pytest.fixture
def store(tmp_path):
    """Results of `planned` below the plan `renamed`."""
    given = planned()
    records = {}
    for run in given.runs:
        tuning = TuningSummary(study=f"study-{run.student}", trials=2, values={}, score=0.8, seconds=90)
        names = run.model_dump(include={"teachers", "assistants"})
        records[run.key] = run_record(
            "sst2", run.label, run.student, run.seed, 0.8, tuning=tuning if run.label == "kd" else None, **names
        )
    found = fill(tmp_path / "demo", given, instead=records, answered=True)
    weak = teacher_record("sst2", 0.6, key="weak-sst2", name="weak")
    found.save_teacher(weak, answers("sst2", weak.key, 0.6))
    found.save_latency(latency_record())
    found.save_plan(renamed(given))
    return found


def test_tables_page_and_data_frames_have_the_names_of_the_plan(store):
    """A row with nothing to tune is still one of the plan's; the latency of every model is that of the new name."""
    written = report(store.folder)
    assert "4.0×" in next(line for line in written.markdown.splitlines() if "distilled" in line and "tiny" in line)
    latency = (store.folder / "latency.md").read_text()
    assert "| *tiny (second copy)* |" in latency
    assert "- best (teacher): " in latency
    details = "".join(path.read_text() for path in store.folder.glob("details/*.js"))
    assert '"label":"distilled","student":"tiny","teachers":["best","aide"]' in details.replace(" ", "")
    assert '"teacher":"best","own":true' in details.replace(" ", "")
    results = load_results(store.folder)
    assert {*zip(results.runs["label"], results.runs["student"], results.runs["teachers"], strict=True)} == {
        ("alone", "large", ""),
        ("alone", "tiny", ""),
        ("distilled", "large", "best"),
        ("distilled", "tiny", "best,aide"),
    }
    assert {*results.teachers["teacher"]} == {"best", "poor"}
    assert {*results.latency["model"]} == {"best", "tiny", "tiny (second copy)"}
    assert len(results.predictions(label="alone", student="tiny", seed=1)) == 100


def test_a_run_is_compared_with_the_teacher_that_taught_it(store):
    """Not with the first one of the suite."""
    summary = summarize(store)
    results = {result.key: result for result in summary.results}
    assert shown_teacher(summary.plan, results[KEY], results).key == "base-sst2"
    row = next(row for row in candidates(summary, SST2) if row.name == "distilled on tiny")
    assert "Against the teacher best (92.0" in next(explanation.against_teacher(summary, row, SST2))


@pytest.mark.parametrize("named", ["row", "run"])
def test_the_card_of_an_exported_student_has_the_names_of_the_plan(store, tmp_path, named):
    name, limits = (store.folder, Limits("distilled", "tiny")) if named == "row" else (store.run_folder(KEY), Limits())
    facts = facts_of(str(name), tmp_path, None, limits)
    model = loaded_model.load(save_checkpoint(tmp_path / "model", "classification"), max_length=24)
    card = model_card.text(facts, ModelFiles(model, ()))
    assert "# distilled student for sst2" in card
    assert "from `best` (some/model) and `aide` (the student large of the row alone of this suite)." in card
    assert "Teacher `best`: some/model, key `base-sst2`." in card
    assert "10.0 M parameters, 10.0 times fewer than the teacher's 100.0 M." in card
    assert "4.0 times [4.0, 4.0] as fast as best" in card


def test_a_measurement_with_a_name_that_the_plan_has_again_is_not_renamed(store):
    """It may be of the model that has the name now: another student has been given that of a removed one."""
    both = latency_record("both", times={"base": 8, "big": 4, "small": 2, "small (second copy)": 2})
    store.save_latency(both)
    given = store.plan()
    runs = [run.model_copy(update={"student": "big"}) for run in given.runs if run.student == "tiny"]
    studies = [one.model_copy(update={"student": "big"}) for one in given.tuning.studies if one.student == "tiny"]
    tuning = given.tuning.model_copy(update={"studies": studies})
    assistants = {"aide": given.assistants["aide"].model_copy(update={"student": "big"})}
    changes = {"students": ["big"], "runs": runs, "tuning": tuning, "assistants": assistants}
    store.save_plan(given.model_copy(update=changes))
    found = {record.key: record for record in summarize(store).measurements}
    assert [model.name for model in found["both"].models] == [model.name for model in both.models]
    assert [model.name for model in found["k1"].models] == ["best", "big", "big (second copy)"]
