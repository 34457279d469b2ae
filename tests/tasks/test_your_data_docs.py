"""docs/your-data.md: its tables list the keys and metrics, and all of its examples load."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from harness.config.task_schema import TaskSpec
from harness.metrics.task_metrics import VALUES
from harness.plugin_host.host import Host
from harness.resolution import load
from harness.tasks.tabular.table_files import FORMATS
from tests.support.review_texts import FILE, content

PAGE = (Path(__file__).parents[2] / "docs" / "your-data.md").read_text(encoding="utf-8")
NAMED = dict(re.findall(r"^\*\*`([^`]+)`\*\*\n\n```\w+\n(.*?)^```", PAGE, re.M | re.S))
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
ENTRIES = [entry for block in BLOCKS if block.startswith("- ") for entry in yaml.safe_load(block)]


def test_the_suffix_of_every_format_is_listed():
    assert [suffix for suffix in FORMATS if f"`{suffix}`" not in PAGE] == []


@pytest.fixture
def folder(tmp_path):
    """A folder with all files that the page names; files for validation are like those for training."""
    for name, printed in NAMED.items():
        path = tmp_path / name
        path.write_text(content() if name == FILE.name else printed, encoding="utf-8")
        shutil.copy(path, path.with_stem(f"{path.stem}-dev"))
    return tmp_path


def test_the_printed_reviews_are_the_first_of_the_shipped_file():
    assert content().startswith(NAMED[FILE.name])
    assert FILE.read_text(encoding="utf-8") == content()


def test_the_table_lists_the_keys_with_their_defaults():
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|", PAGE.split("## Keys")[1].split("\n## ")[0], re.M))
    assert set(rows) == set(TaskSpec.model_fields)
    for key, written in rows.items():
        if written.startswith("`"):
            assert yaml.safe_load(written.strip("`")) == TaskSpec.model_fields[key].default, key


def test_the_table_lists_the_metrics():
    rows = re.findall(r"^\| `(\w+)` \| (`.*) \|$", PAGE.split("## Metrics")[1].split("\n## ")[0], re.M)
    assert {kind: set(re.findall(r"`(\w+)`", metrics)) for kind, metrics in rows} == {
        kind: set(values) for kind, values in VALUES.items()
    }


def test_the_printed_suite_loads(folder):
    (folder / "suite.yaml").write_text(BLOCKS[0])
    (task,) = load(folder / "suite.yaml").suite.tasks
    assert task.load(None).train.num_rows == 432


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: "-".join(entry))
def test_printed_tasks_load(folder, entry):
    suite = yaml.safe_load(BLOCKS[0]) | {"tasks": [entry]}
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    (task,) = load(folder / "suite.yaml").suite.tasks
    if task.source is None:
        splits = task.load(None)
        assert len(splits.train)
        assert len(splits.validation["validation"])


def test_the_printed_plugin_registers_its_task(folder):
    task = Host.create([folder / "my_tasks.py"]).tasks["reviews"]
    assert task.labels == ("negative", "positive")
    assert task.load(None).train.num_rows == 432
