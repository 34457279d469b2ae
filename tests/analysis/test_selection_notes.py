"""Notes of a board on selection."""

from harness.reporting import report
from harness.storage.records import EpochScore, SelectionRecord, TuningSummary
from tests.support.results_factory import fill, plan, run_record, teacher_record

EPOCHS = [EpochScore(step=step, epoch=step / 10, score=score) for step, score in ((10, 0.5), (20, 0.7), (30, 0.6))]
HELD = SelectionRecord(on="train", share=0.1, seed=1, examples=367, fingerprint="held", epochs=EPOCHS, step=20)
REPORTED = SelectionRecord(on="validation", examples=872, fingerprint="fingerprint-of-sst2", epochs=EPOCHS, step=20)
TUNED = TuningSummary(study="s", trials=4, values={"training.lr": 1e-4}, score=0.7, seconds=60)


def board(folder, on, *, teacher=None, **changes):
    planned = plan(tasks=plan().tasks[:1])
    records = {
        run.key: run_record(run.task, run.label, run.student, run.seed, selection=on, **changes) for run in planned.runs
    }
    store = fill(folder, planned, instead=records)
    if teacher:
        store.save_teacher(teacher)
    return report(folder)


def test_a_board_without_selection_has_no_notes(tmp_path):
    fill(tmp_path)
    text = report(tmp_path).markdown
    assert "epoch" not in text
    assert "Selected on" not in text


def test_notes_on_the_best_epoch_on_held_out_examples(tmp_path):
    written = board(tmp_path, HELD)
    assert "SELECTED" not in written.board.title
    assert dict(written.board.provenance)["Selected on, sst2"] == (
        "367 examples held out of the training split (share 0.1, seed 1), `held`: each run's best of 3 epochs"
    )
    assert any(
        "held out of the training split, on which neither students nor teachers" in text
        for text in written.board.reading
    )


def test_a_teacher_that_was_fine_tuned_before_may_have_seen_the_held_out_examples(tmp_path):
    text = " ".join(board(tmp_path, HELD, teacher=teacher_record("sst2", finetune=False)).board.reading)
    assert "this suite trained no student and no teacher (fine-tuned elsewhere, perhaps on them: base)" in text
    assert "neither students nor teachers" not in text


def test_selection_by_reported_scores_marks_the_board(tmp_path):
    written = board(tmp_path, REPORTED)
    assert written.markdown.startswith("# demo: leaderboard (SELECTED ON VALIDATION)\n")
    assert "the reported scores (sst2) were also used to select each run's best of 3 epochs" in written.markdown
    assert any("the validation examples themselves" in text for text in written.board.reading)
    assert "the 872 validation examples" in dict(written.board.provenance)["Selected on, sst2"]


def test_tuning_on_the_validation_split_marks_the_board(tmp_path):
    last = REPORTED.model_copy(update={"epochs": [], "step": None})
    marks = dict(board(tmp_path / "tuned", last, tuning=TUNED).board.marks)
    assert "used to select the options of methods, so" in marks["SELECTED ON VALIDATION"]
    assert "SELECTED ON VALIDATION" not in dict(board(tmp_path / "idle", last).board.marks)
    both = board(tmp_path / "both", REPORTED, tuning=TUNED)
    assert "the options of methods and each run's best of 3 epochs" in dict(both.board.marks)["SELECTED ON VALIDATION"]
    aside = board(tmp_path / "aside", HELD, tuning=TUNED).board
    assert "SELECTED ON VALIDATION" not in dict(aside.marks)


def test_different_numbers_of_epochs_are_reported(tmp_path):
    planned = plan(tasks=plan().tasks[:1])
    few = HELD.model_copy(update={"epochs": EPOCHS[:1], "step": 10})
    records = {
        run.key: run_record(run.task, run.label, run.student, run.seed, selection=few if run.label == "kd" else HELD)
        for run in planned.runs
    }
    fill(tmp_path, planned, instead=records)
    assert dict(report(tmp_path).board.provenance)["Selected on, sst2"].endswith("each run's best of 1 to 3 epochs")
