"""Tests of leaderboard.tex: content, selected columns, hostile text, and that LaTeX compiles it within the page."""

import shutil
import subprocess
from inspect import cleandoc

import pytest

from harness.analysis.aggregate import summarize
from harness.api.errors import UserError
from harness.cli import app
from harness.reporting import paper_table, report
from harness.reporting.board import build
from harness.reporting.latex.tex_cells import number_cell
from harness.reporting.latex.tex_columns import COLUMNS
from harness.reporting.latex.tex_table import document
from harness.reporting.latex.tex_text import escape, words
from harness.storage.plan_file import NotApplicable, PlannedRow
from harness.storage.store import Store
from tests.support.latency_factory import SETTINGS, latency_record
from tests.support.patience import PATIENCE
from tests.support.results_factory import SST2, fill, plan, run_key, run_record, teacher_record

PDFLATEX = shutil.which("pdflatex")

HOSTILE = 'a\nb\r\n\x0b\\end{document} \u2028\\input{/etc/passwd} %$#_&{}~^<|> ^^M `c\nd` "é ş 中 🙂'

GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")


@pytest.fixture
def folder(tmp_path):
    fill(tmp_path / "r", leave_out=[run_key("sst2", "finetune", "big", 1)], answered=True)
    return tmp_path / "r"


def hostile(folder):
    """A store whose command, labels, reasons and errors try to leave their places."""
    label = f"kd {HOSTILE}"
    runs = [
        run.model_copy(update={"label": label, "key": f"kd-{run.task}-{run.student}-{run.seed}"})
        if run.label == "kd"
        else run
        for run in plan().runs
    ]
    planned = plan(
        suite="demo % $",
        command=f"harness run {HOSTILE}",
        runs=[run for run in runs if (run.label, run.student, run.task) != (label, "big", "sst2")],
        labels=["finetune", label],
        not_applicable=[NotApplicable(task="sst2", label=label, student="big", reason=HOSTILE)],
        rows={label: PlannedRow(method="kd", entry=1, plain=True, options={}, teachers=["base"], protocol=HOSTILE)},
        latency=SETTINGS,
    )
    store = Store(folder)
    store.save_plan(planned)
    store.save_latency(latency_record())
    for task in planned.tasks:
        store.save_teacher(teacher_record(task.name))
    for run in planned.runs:
        record = run_record(run.task, run.label, run.student, run.seed, 0.5 + run.seed / 10, key=run.key, method="kd")
        failed = run.label == label and run.student == "small"
        changes = {"status": "failed", "score": None, "error": HOSTILE} if failed else {}
        store.save(record.model_copy(update=changes))
    return summarize(store)


def compiled(table, folder):
    """Compile the table in a paper of two columns; return the log."""
    if PDFLATEX is None:
        pytest.skip("no `pdflatex` on the path: `apt-get install texlive-latex-recommended texlive-science`")
    (folder / "table.tex").write_text(table)
    paper = r"""
        \documentclass[10pt,twocolumn]{article}
        \usepackage{booktabs, siunitx}
        \begin{document}
        See Table~\ref{tab:demo}.
        \input{table}
        \end{document}
    """
    (folder / "paper.tex").write_text(cleandoc(paper))
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "-draftmode", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    assert done.returncode == 0, done.stdout[-3000:]
    return (folder / "paper.log").read_text(errors="replace")


def test_table_has_the_scores_intervals_and_marks_of_the_board(folder):
    report(folder)
    text = (folder / "leaderboard.tex").read_text()
    assert text.count(r"\begin{table*}") == text.count(r"\end{tabular}") == text.count(r"\caption{") == 1
    assert r"\label{tab:demo}" in text
    assert r"{\emph{base} (teacher)} & {--} & 92.0 {$_{\pm 8.3}$} &" in text
    assert r"{kd$^{\bullet}$} & {small} & \bfseries 75.0 {$_{\pm 5.4}$} & \bfseries 74.0" in text
    assert r"{finetune} & {big} & {missing$^{a}$} & 71.0" in text
    assert "$^{a}$ Seed 1 not run yet; " in text
    assert "accuracy on sst2; F1 on squad. Mean over 3 seeds" in text
    assert "% Command: `harness run demo.yaml`\n" in text
    assert "resizebox" not in text


def test_the_table_names_intervals_that_cover_less(tmp_path):
    """Its caption says "over seeds and examples" for all rows."""
    store = fill(tmp_path, plan((SST2,)), answered=True)
    assert "cover seeds only" not in paper_table(tmp_path, [])
    (store.run_folder(run_key("sst2", "kd", "big", 2)) / "predictions.parquet").unlink()
    below = paper_table(tmp_path, []).partition(r"\end{tabular}")[2]
    assert (
        "Intervals of the row kd on big on sst2 cover seeds only, not examples: predictions.parquet does not" in below
    )
    assert "A teacher with one seed: examples only." in below


def test_bold_is_the_best_method_of_one_student(tmp_path):
    planned = plan((SST2,))
    runs = [run for run in planned.runs if run.student == "big"]
    fill(tmp_path, planned.model_copy(update={"students": ["big"], "runs": runs}))
    assert "Bold: the best method." in paper_table(tmp_path, [])


def test_columns_are_selected_by_name(folder):
    text = paper_table(folder, ["rank", "method", "squad", "gap", "behind", "p"])
    assert r"{Rank} & {Method} & {squad} & {Gap closed (\%)} & {Difference} & {p} \\" in text
    assert r"2 {$^{\bullet}$} & {kd} & \bfseries 74.0 {$_{\pm 5.6}$} & 34 {$_{[13,\,54]}$} & {--} & {--} \\" in text
    assert "$^{a}$" not in text, "no cell of these columns has this note"
    assert "Gap closed: share of the difference" in text


def test_every_column_has_a_cell_for_each_line(folder, tmp_path):
    text = paper_table(folder, COLUMNS)
    assert not (folder / "leaderboard.tex").exists()
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert {row.replace(r"\&", "").count("&") for row in rows} == {len(COLUMNS) - 1}, "two tasks, no speed-up"
    compiled(text, tmp_path)


@pytest.mark.parametrize(
    ("names", "words"),
    [(["method", "averag"], "unknown column 'averag'; did you mean 'average'? Allowed: rank, "), (["x"], "sst2")],
)
def test_unknown_columns_are_refused(folder, names, words):
    with pytest.raises(UserError, match="--columns: unknown column") as caught:
        paper_table(folder, names)
    assert words in str(caught.value).replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "code", "printed"),
    [
        (["--format", "tex", "--columns", "method, average"], 0, r"{Method} & {Average} \\"),
        (["--columns", "method"], 2, "add `--format tex`"),
    ],
)
def test_columns_on_the_command_line(folder, monkeypatch, capsys, arguments, code, printed):
    monkeypatch.setattr("sys.argv", ["harness", "report", str(folder), *arguments])
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert (caught.value.code or 0) == code
    assert printed in "".join(capsys.readouterr())


def test_help_lists_all_columns(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["harness", "report", "--help"])
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit):
        app.main()
    shown = capsys.readouterr().out.replace(" (or the names of tasks)", "")
    assert ", ".join(COLUMNS) in shown


def test_glue_fits_on_a_page_by_default(tmp_path):
    tasks = [SST2.model_copy(update={"name": name}) for name in GLUE]
    store = Store(tmp_path / "r")
    store.save_plan(plan(tasks))
    for run in plan(tasks).runs:
        score = 0.7 + run.seed / 300 + len(run.student) / 100 + len(run.label) / 100
        store.save(run_record(run.task, run.label, run.student, run.seed, score))
    for task in tasks:
        store.save_teacher(teacher_record(task.name, 0.9))
    summary = summarize(store)
    text = document(summary, build(summary))
    assert r"{Method} & {Student} & {cola} &" in text
    assert r"{wnli} & {Average} \\" in text, "no parameters: they would not fit"
    assert "Overfull" not in compiled(text, tmp_path)


def test_no_value_leaves_its_comment_or_its_cell(tmp_path):
    summary = hostile(tmp_path / "r")
    text = document(summary, build(summary))
    head, _, body = text.partition(r"\begin{table*}")
    assert all(line.startswith("% ") for line in head.splitlines())
    assert r"\input" not in body
    assert body.count(r"\end{document}") == 0
    assert body.count(r"\textbackslash{}input\{/etc/passwd\}") >= 4, "label, reason and error"
    assert r"\label{tab:demo}" in body
    compiled(document(summary, build(summary), ("rank", "method", "tasks", "protocol", "speed-up")), tmp_path)


def test_text_is_escaped():
    assert escape(r"a_b & 5% #1 $x {y} ~ ^ \z") == (
        r"a\_b \& 5\% \#1 \$x \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z"
    )
    assert escape("< 3 ± 4 × 5 | –") == r"$<$ 3 $\pm$ 4 $\times$ 5 $|$ --"
    assert escape("café Škoda\n中") == r"caf\'{e} \v{S}koda U+4E2D"
    assert words("see `a_b` now") == r"see \texttt{a\_b} now"


@pytest.mark.parametrize(
    ("text", "number", "after"),
    [
        ("85.3 ± 0.4 † ‡ (a, b)", "85.3", r"$^{\dagger,\ddagger,a,b}_{\pm 0.4}$"),
        ("-3.2", "-3.2", ""),
        ("1.9× [1.8, 2.0]", "1.9", r"$\times$$_{[1.8,\,2.0]}$"),
        ("n/a (a)", "", "n/a$^{a}$"),
        ("< 0.001", "", "$<$ 0.001"),
        ("0.21–0.22", "", "0.21--0.22"),
        ("84.6/83.2 m/mm", "", "84.6/83.2 m/mm"),
    ],
)
def test_cells(text, number, after):
    cell = number_cell(text)
    assert (cell.number, cell.after) == (number, after)
