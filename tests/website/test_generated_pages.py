"""The generated pages of the site have every key, option, command, name and board."""

import re

import typer.main
import yaml

import harness
from harness.cli.app import app
from harness.config.schema import SuiteSpec
from harness.plugin_host.host import Host
from website.api_reference import PROGRAM_NAMES, plugin_pages, python_page
from website.board_gallery import board_files, boards, gallery
from website.command_reference import commands_page
from website.notebook_page import notebook_page
from website.repository_files import ROOT
from website.suite_reference import options_page, suite_page


def table(page: str, section: str) -> dict[str, list[str]]:
    """key -> the other cells of its row, of the table below a heading."""
    body = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in body.splitlines() if line.startswith("| `")]
    return {key.strip(" `"): [cell.strip() for cell in cells] for key, *cells in rows}


def test_the_suite_page_has_every_key_with_type_default_and_meaning():
    page = suite_page()
    top = table(page, "Top level")
    assert set(top) == {*SuiteSpec.model_fields, "include"}
    assert top["name"] == ["text", "required", "name of the suite: results go to `results/<name>/`"]
    assert top["seeds"][:2] == ["list of integer ≥ 0", "`[1, 2, 3]`"]
    assert top["training"][:2] == ["[training](#training)", "its defaults"]
    assert top["teachers"][0] == "mapping: name -> [teacher](#teacher)"
    assert table(page, "Training")["schedule"][:2] == ["`linear`, `constant`, `cosine`", "`linear`"]
    assert set(table(page, "Method")) == {"label", "grid", "stages", "per_task", "students", "teachers", "general"}
    definitions = SuiteSpec.model_json_schema()["$defs"]
    assert page.count("\n## ") == 1 + len(definitions)


def test_every_key_of_a_suite_has_a_meaning():
    rows = re.findall(r"^\| `\w+` \|.*\| (.*) \|$", suite_page(), flags=re.M)
    assert len(rows) > 80
    assert all(rows)


def test_links_of_the_reference_lead_to_its_headings():
    for page in (suite_page(), options_page()):
        headings = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.*)$", page, flags=re.M)}
        assert set(re.findall(r"\]\(#([\w-]+)\)", page)) <= headings


def test_the_options_page_has_every_option_of_every_method():
    page = options_page()
    for name, method in Host.create().methods.items():
        assert set(table(page, name)) == set(method.Config.model_fields)


def test_the_command_page_has_every_command_and_option():
    page = commands_page()
    for name, command in typer.main.get_command(app).commands.items():
        section = page.split(f"\n## `harness {name}`\n")[1].split("\n## ")[0]
        assert [
            option for p in command.params for option in p.opts if option.startswith("-") and option not in section
        ] == []
    assert "[bold]" not in page
    assert "..." not in page.split("**Commands**")[1].split("\n## ")[0]


def test_the_api_pages_name_what_programs_and_plugins_import():
    programs = [name for name, module in harness._MODULES.items() if not module.startswith("api.")]
    assert set(PROGRAM_NAMES) == set(programs)
    assert python_page().count("::: harness.") == len(PROGRAM_NAMES)
    modules = {f"harness.api.{file.stem}" for file in (ROOT / "harness" / "api").glob("*.py")} - {
        "harness.api.__init__"
    }
    assert modules <= {re.search(r"::: (\S+)", page)[1] for page in plugin_pages().values()}


def test_the_gallery_shows_every_committed_board_and_publishes_its_page():
    page, files = gallery(), board_files()
    assert {board.name for board in boards()} >= {"laptop", "all-methods"}
    for board in boards():
        assert f"\n## {board.name}\n" in page
        assert f"results/{board.name}/leaderboard.md" in files
    assert "[interactive page](all-methods/index.html)" in page
    assert {"results/all-methods/index.html", "results/laptop/plots/tasks.png"} <= {*files}
    assert [link for link in re.findall(r"\]\(((?!\.\.)[^)]+)\)", page) if f"results/{link}" not in files] == []


def test_the_notebook_page_has_its_cells():
    page = notebook_page(ROOT / "docs" / "csv-to-onnx.ipynb")
    assert page.startswith("# ")
    assert "(csv-to-onnx.ipynb)" in page
    assert page.count("```python\n") > 3


def test_the_navigation_has_what_a_visitor_looks_for():
    class Loader(yaml.SafeLoader):
        """Skips the Python name of the slug function."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    shown = str(config["nav"])
    pages = ("index", "quickstart", "your-data", "methods", "new-method", "reference/suite", "reference/commands")
    pages += (
        "reference/python",
        "results",
        "statistics",
        "latency",
        "scaling",
        "encoders",
        "troubleshooting",
        "comparison",
    )
    assert [page for page in pages if f"'{page}.md'" not in shown] == []
    assert config["strict"]
    assert config["theme"]["font"] is False
