"""What the documentation prints works as printed: links, commands, the suite, the plugin."""

import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.api.method import Method
from harness.api.model_outputs import LAYERED
from harness.models.output_names import WHOLE
from harness.plugin_host.host import Host
from harness.reporting import report
from harness.testing import check_method, loss_terms, tiny_batch, tiny_model
from harness.testing.conformance import checks

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PLUGINS = ROOT / "docs" / "plugins.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md")), ROOT / "changelog.d" / "README.md"]
OFFLINE = re.compile(r"harness (--help|list|validate|check)\b")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def commands() -> list[str]:
    lines = (
        line.partition("  #")[0].strip() for page in PAGES for block in blocks(page, "sh") for line in block.split("\n")
    )
    return sorted({line for line in lines if OFFLINE.match(line)})


@pytest.fixture
def folder(tmp_path):
    """A folder with the printed suite, plugin and test, under the names that they give themselves."""
    (suite,) = blocks(README, "yaml")
    (tmp_path / "glue-small.yaml").write_text(suite)
    for module in blocks(PLUGINS, "python"):
        name = re.match(r'"""(\w+\.py)"""', module)[1]
        (tmp_path / name).write_text(module)
    return tmp_path


def harness(command: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose)
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not dead


def test_commands_that_need_no_network_are_printed():
    assert len(commands()) >= 4


@pytest.mark.parametrize("command", commands())
def test_printed_command_works(command, folder):
    assert harness(command, folder).strip()


def test_printed_suite_is_valid(folder):
    shown = harness("harness validate glue-small.yaml", folder)
    assert "glue-small.yaml: valid" in shown
    assert "finetune, logit_kd, " in shown


def test_printed_run_with_the_plugin_is_valid(folder):
    shown = harness(
        "harness validate glue-small.yaml --plugin cosine_kd.py --set 'methods=[finetune, cosine_kd]'", folder
    )
    assert "2: finetune, cosine_kd" in shown


def test_every_command_is_told():
    text = README.read_text(encoding="utf-8")
    for name in ("run", "plan", "validate", "report", "list", "check", "doctor"):
        assert f"`harness {name}" in text


def test_printed_plugin_computes_what_it_says(folder):
    method = Host.create([folder / "cosine_kd.py"]).methods["cosine_kd"]
    student, teacher = tiny_model(seed=1).double(), tiny_model(layers=3, seed=2).double()
    batch = tiny_batch("classification")
    terms = loss_terms(method, student=student, teachers=[teacher.train()], batch=batch)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    own, theirs = (m.eval().bert(**inputs).last_hidden_state.tolist() for m in (student, teacher))
    by_example = []
    for x, y, length in zip(own, theirs, batch["attention_mask"].sum(-1).tolist(), strict=True):
        cosines = [
            sum(a * b for a, b in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)
            for u, v in zip(x[:length], y[:length], strict=True)
        ]
        by_example.append(1 - sum(cosines) / length)
    assert terms["cosine"].item() == pytest.approx(sum(by_example) / len(by_example), rel=1e-5)
    assert set(terms) == {"cosine", "task"}


def test_printed_plugin_trains_in_a_suite(folder, small):
    outcome = small.run("methods=[{cosine_kd: {alpha: 2}}]", "seeds=[1]", plugins=[str(folder / "cosine_kd.py")])
    assert not outcome.failed
    (record,) = small.store().records()
    assert (record.label, record.status) == ("cosine_kd", "completed")
    last = record.losses[-1].terms
    assert set(last) == {"loss", "cosine", "task"}
    assert last["loss"] == pytest.approx(2 * last["cosine"] + last["task"], rel=1e-4)


def test_printed_section_is_on_the_board(folder, small):
    assert not small.run("seeds=[1]").failed
    written = report(small.store().folder, Host.reporting([folder / "cost_section.py"]))
    rows = {row["label"]: row["points_per_hour"] for section in written.sections for row in section.rows}
    best = max(rows, key=rows.get)
    assert set(rows) == {"finetune", "logit_kd", "tinybert"}
    assert f"## Points for time\n\nMost points for its training time: {best} on 1x32." in written.markdown
    assert "points_per_hour" in (small.store().folder / "sections" / "points.csv").read_text()


def test_printed_tests_of_the_plugin_pass(folder):
    files = ["test_cosine_kd.py", "test_conformance.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_printed_output_of_the_checks_is_what_comes_out(folder):
    printed, failure = blocks(PLUGINS, "text")
    lines = [line.rstrip() for line in harness("harness check cosine_kd.py", folder).splitlines()]
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
    told, shown = ([float(found) for found in number.findall(text)] for text in (failed.detail, failure))
    assert told == pytest.approx(shown, rel=1e-3)


def test_every_check_is_told():
    page = PLUGINS.read_text(encoding="utf-8")
    assert [check.name for check in checks() if f"| `{check.name}` |" not in page] == []


def test_every_tensor_and_member_of_a_method_is_told():
    page = PLUGINS.read_text(encoding="utf-8")
    assert [need for need in WHOLE if f"| `{need}` |" not in page] == []
    assert [need for need in LAYERED if f"`{need}[i]`" not in page] == []
    members = [name for name in vars(Method) if not name.startswith("_") and name != "losses"]
    assert len(members) > 8
    assert [name for name in members if f"`{name}`" not in page] == []
