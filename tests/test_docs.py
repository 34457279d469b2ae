"""The documentation is correct: links, file names, commands, the example suite, the example plugin."""

import ast
import importlib
import math
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from harness import RunOptions
from harness import run as run_suite
from harness.api.method import Method
from harness.api.model_outputs import LAYERED
from harness.cli.app import app
from harness.config.yaml_tree import Mark, parse
from harness.models.output_names import WHOLE
from harness.plugin_host.host import Host
from harness.prediction.glue_submission import TEST_SETS
from harness.reporting import report
from harness.resolution import load
from harness.testing import check_method, loss_terms, tiny_batch, tiny_model
from harness.testing.conformance import checks
from tests.support.forked_commands import ForkedCommand, run_pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PLUGINS = ROOT / "docs" / "plugins.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md")), ROOT / "changelog.d" / "README.md"]
CHECK = "harness check cosine_kd.py"
READMES = [*ROOT.glob("plugins/*/README.md"), *ROOT.glob("baselines/*/README.md"), ROOT / "benchmarks" / "README.md"]
OFFLINE = re.compile(r"harness (--help|list|validate|check)\b")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def shell_lines(*pages: Path) -> list[str]:
    """The commands of the shell blocks of pages, without prompts and comments."""
    languages = "(?:sh|console)"
    lines = (line for page in pages for block in blocks(page, languages) for line in block.split("\n"))
    return [line.partition("  #")[0].removeprefix("$ ").strip() for line in lines]


def commands() -> list[str]:
    lines = (line for page in PAGES for block in blocks(page, "sh") for line in block.split("\n"))
    return sorted({line for line in (line.partition("  #")[0].strip() for line in lines) if OFFLINE.match(line)})


@pytest.fixture
def folder(tmp_path):
    """A folder with the printed suite, plugins and tests, under the file names in their first lines."""
    for suite in blocks(README, "yaml"):
        name = re.match(r"name: (\S+)", suite)[1]
        (tmp_path / f"{name}.yaml").write_text(suite)
    (tmp_path / "reviews.csv").write_bytes((ROOT / "suites" / "reviews.csv").read_bytes())
    for module in blocks(PLUGINS, "python"):
        name = re.match(r'"""(\w+\.py)"""', module)[1]
        (tmp_path / name).write_text(module)
    return tmp_path


def harness(command: str, folder: Path) -> str:
    _, *arguments = shlex.split(command)
    output = folder / "stdout.txt"
    process = ForkedCommand(arguments, folder, stdout=output)
    assert process.wait() == 0, f"{command}\n{output.read_text()}{process.errors}"
    return output.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_exist(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose)
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_python_files_exist(page):
    """Names in backticks such as `training/run.py`, relative to the repository or to `harness/`."""
    names = re.findall(r"`([\w.]+/[\w./]+\.py)`", page.read_text(encoding="utf-8"))
    placeholders = {name for name in names if "NAME" in name}
    missing = [
        name for name in {*names} - placeholders if not any((ROOT / top / name).exists() for top in ("", "harness"))
    ]
    assert not missing


@pytest.mark.parametrize("page", [*PAGES, *READMES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_printed_snippets_are_accepted(page):
    """Commands have known options, YAML is valid, Python compiles and imports what exists.

    The tests of single pages run their snippets.
    """
    command = typer.main.get_command(app)
    for line in shell_lines(page):
        _, *arguments = shlex.split(re.split(r"[>|&]", line)[0]) or [""]
        if line.startswith("harness ") and arguments and not arguments[0].startswith("-") and "--help" not in arguments:
            subcommand = command.commands[arguments[0]]
            subcommand.make_context(arguments[0], arguments[1:])
    for block in blocks(page, "yaml"):
        parse(block, Mark(page.name, 1, page.parent))
    for block in blocks(page, "python"):
        tree = compile(block, page.name, "exec", flags=ast.PyCF_ONLY_AST)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "harness":
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_messages_of_the_troubleshooting_page_exist():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?`) \|", page.split("## By message")[1].split("\n## ")[0], flags=re.M)
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "harness").glob("**/*.py")]
    messages = [message for row in rows for message in re.findall(r"`(.*?)`", row)]
    assert len(messages) >= 20
    for message in messages:
        fragments = [fragment.strip() for fragment in message.split("…") if fragment.strip()]
        assert any(all(fragment in source for fragment in fragments) for source in sources), message


def test_the_troubleshooting_page_names_every_folder_of_the_cache():
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "harness").rglob("*.py"))
    made = set(re.findall(r'cache_dir\.root\(\) / "(\w+)"', code))
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \|", page.partition("## The cache\n")[2].partition("\n## ")[0], flags=re.M)
    assert "derived" in made
    assert made <= set(re.findall(r"`([\w-]+)`", "".join(rows)))


def test_the_docs_print_commands_that_need_no_network():
    assert len(commands()) >= 4


@pytest.mark.parametrize("command", [command for command in commands() if command != CHECK])
def test_printed_command_works(command, folder):
    assert harness(command, folder).strip()


def test_printed_suite_is_valid(folder):
    output = harness("harness validate glue-small.yaml", folder)
    assert "glue-small.yaml: valid" in output
    assert "finetune, logit_kd, " in output


def test_printed_suite_on_own_data_is_valid_and_short(folder):
    (suite,) = (block for block in blocks(README, "yaml") if "my-reviews" in block)
    assert len(suite.splitlines()) == 12
    assert "reviews: classification, 2 classes: negative, positive" in harness(
        "harness validate my-reviews.yaml", folder
    )


def test_printed_run_with_the_plugin_is_valid(folder):
    output = harness(
        "harness validate glue-small.yaml --plugin cosine_kd.py --set 'methods=[finetune, cosine_kd]'", folder
    )
    assert "2: finetune, cosine_kd" in output


def test_printed_submissions_name_a_student_and_all_tasks():
    """The command refuses a suite with several students without `--student`, and one that lacks a task of GLUE."""
    lines = shell_lines(ROOT / "docs" / "export.md")
    suite = load("glue", overrides=[line.split("'")[1] for line in lines if line.startswith("harness run glue")]).suite
    assert {test.task for test in TEST_SETS} <= {task.name for task in suite.tasks}
    help_text = typer.main.get_command(app).commands["submit"].help
    submissions = [line.strip() for line in [*lines, *help_text.splitlines()] if "harness submit glue" in line]
    assert len(submissions) == 3
    students = [re.search(r"--student (\S+)", line) for line in submissions]
    assert all(student and student[1] in suite.spec.students for student in students)


def test_the_docs_name_the_commands_that_load_a_plugin():
    (entry,) = re.findall(r"^- `--plugin PATH`,(.*?);$", PLUGINS.read_text(encoding="utf-8"), flags=re.M | re.S)
    commands = typer.main.get_command(app).commands
    taking = [name for name, command in commands.items() if any("--plugin" in p.opts for p in command.params)]
    assert sorted(re.findall(r"`(\w+)`", entry)) == sorted(taking)


def test_the_readme_names_every_command():
    text = README.read_text(encoding="utf-8")
    names = "run plan validate report compare merge latency export predict submit list check doctor"
    for name in names.split():
        assert f"`harness {name}" in text


def test_printed_plugin_computes_the_documented_loss(folder):
    method = Host.create([folder / "cosine_kd.py"]).methods["cosine_kd"]
    student, teacher = tiny_model(seed=1).double(), tiny_model(layers=3, seed=2).double()
    batch = tiny_batch("classification")
    terms = loss_terms(method, student=student, teachers=[teacher.train()], batch=batch)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    student_states, teacher_states = (
        model.eval().bert(**inputs).last_hidden_state.tolist() for model in (student, teacher)
    )
    distances = []
    for x, y, length in zip(student_states, teacher_states, batch["attention_mask"].sum(-1).tolist(), strict=True):
        cosines = [
            sum(a * b for a, b in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)
            for u, v in zip(x[:length], y[:length], strict=True)
        ]
        distances.append(1 - sum(cosines) / length)
    assert terms["cosine"].item() == pytest.approx(sum(distances) / len(distances), rel=1e-5)
    assert set(terms) == {"cosine", "task"}


def test_printed_live_method_passes_its_checks(folder):
    conformance = check_method(folder / "mean_teacher.py", kinds=["classification"])
    assert conformance.ok, str(conformance)


def test_printed_plugin_trains_in_a_suite(folder, small):
    outcome = small.run("methods=[{cosine_kd: {alpha: 2}}]", "seeds=[1]", plugins=[str(folder / "cosine_kd.py")])
    assert not outcome.failed
    (record,) = small.store().records()
    assert (record.label, record.status) == ("cosine_kd", "completed")
    terms = record.losses[-1].terms
    assert set(terms) == {"loss", "cosine", "task"}
    assert terms["loss"] == pytest.approx(2 * terms["cosine"] + terms["task"], rel=1e-4)


def test_printed_plugin_with_state_trains_in_a_suite(folder, small):
    outcome = small.run("methods=[own_past]", "seeds=[1]", plugins=[str(folder / "own_past.py")])
    assert not outcome.failed
    (record,) = small.store().records()
    assert record.losses[-1].terms["past"] > 0


def test_printed_section_is_on_the_board(folder, small):
    assert not small.run("seeds=[1]").failed
    written = report(small.store().folder, Host.reporting([folder / "cost_section.py"]))
    rows = {row["label"]: row["points_per_hour"] for section in written.sections for row in section.rows}
    best = max(rows, key=rows.get)
    assert set(rows) == {"finetune", "logit_kd", "tinybert"}
    assert f"## Points for time\n\nMost points for its training time: {best} on 1x32." in written.markdown
    assert "points_per_hour" in (small.store().folder / "sections" / "points.csv").read_text()


def test_printed_metric_is_the_mean_recall(folder):
    metric = Host.create([folder / "balanced_metric.py"]).metrics["balanced"]()
    values = metric.compute(predictions=[0, 0, 0, 1, 0], references=[0, 0, 0, 1, 1])
    assert values == {"balanced": 0.75}


def test_printed_engine_is_that_whose_types_are_checked(folder):
    source = (ROOT / "tests" / "support" / "typed_plugin.py").read_text(encoding="utf-8")
    assert (folder / "deadline_engine.py").read_text().partition("Interrupted\n\n\n")[2] in source


def test_printed_engine_stops_before_the_deadline_and_continues(folder, small, monkeypatch):
    def run(end):
        monkeypatch.setenv("SLURM_JOB_END_TIME", end)
        options, plugins = RunOptions(engine="until-deadline"), [folder / "deadline_engine.py"]
        overrides, results = {"methods": ["finetune", "logit_kd"], "seeds": [1]}, small.folder / "results"
        return run_suite(small.path, overrides=overrides, plugins=plugins, results=results, options=options)

    assert run("0").interrupted
    assert not small.store().records()
    assert run("inf").successful
    assert {record.label: record.status for record in small.store().records()} == {
        "finetune": "completed",
        "logit_kd": "completed",
    }


def test_printed_tests_of_the_plugin_pass(folder):
    code, output = run_pytest(folder, "test_cosine_kd.py", "test_conformance.py")
    assert code == 0, output
    assert "7 passed" in output


def test_printed_output_of_the_checks_is_the_real_one(folder):
    printed, failure = blocks(PLUGINS, "text")
    assert CHECK in commands()
    lines = [line.rstrip() for line in harness(CHECK, folder).splitlines()]
    assert [line for line in printed.splitlines() if line != "..." and line not in lines] == []
    plugin = folder / "cosine_kd.py"
    per_example = "of_example = distance.masked_fill(~batch.mask, 0).sum(-1) / batch.lengths"
    text = plugin.read_text()
    assert per_example in text
    plugin.write_text(text.replace(per_example, "of_example = distance.mean(-1)"))
    (failed,) = check_method(plugin, kinds=["classification"]).failed
    assert failed.check == "padding"
    number = re.compile(r"\d\.\d+")
    assert number.sub("#", failed.detail) == number.sub("#", failure.rstrip())
    actual, documented = ([float(value) for value in number.findall(text)] for text in (failed.detail, failure))
    assert actual == pytest.approx(documented, rel=1e-3)


def test_the_docs_describe_every_conformance_check():
    page = PLUGINS.read_text(encoding="utf-8")
    assert [check.name for check in checks() if f"| `{check.name}` |" not in page] == []


def test_the_docs_describe_every_output_and_every_member_of_a_method():
    page = PLUGINS.read_text(encoding="utf-8")
    assert [output for output in WHOLE if f"| `{output}` |" not in page] == []
    assert [output for output in LAYERED if f"`{output}[i]`" not in page] == []
    members = [name for name in vars(Method) if not name.startswith("_") and name != "losses"]
    assert len(members) > 8
    assert [name for name in members if f"`{name}`" not in page] == []
