"""Where files of the repository are on the site, and how links between them change."""

import pytest

from website.repository_files import ROOT, linked_files, site_path, source_page, with_site_links


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("README.md", "index.md"),
        ("docs/decisions/README.md", "decisions/README.md"),
        ("plugins/tinybert/README.md", "methods/tinybert.md"),
        ("baselines/pkd/README.md", "methods/pkd.md"),
        ("baselines/published/README.md", "source/baselines/published/README.md"),
        ("results/laptop/plots/tasks.png", "boards/laptop/plots/tasks.png"),
        ("CONTRIBUTING.md", "contributing.md"),
        ("harness/api/method.py", "source/harness/api/method.py.md"),
        (".github/workflows/ci.yml", "source/github/workflows/ci.yml.md"),
    ],
)
def test_site_path(file, path):
    assert site_path(file) == path


@pytest.mark.parametrize(
    ("file", "link", "on_site"),
    [
        ("docs/methods.md", "[pkd](../baselines/pkd/README.md#losses)", "[pkd](methods/pkd.md#losses)"),
        ("docs/decisions/0005-batch-order.md", "[b](../batching.md)", "[b](../batching.md)"),
        ("README.md", "![board](results/laptop/plots/tasks.png)", "![board](boards/laptop/plots/tasks.png)"),
        ("plugins/ckd/README.md", "[`kd`](../../baselines/logit_kd/README.md)", "[`kd`](logit_kd.md)"),
        ("plugins/ckd/README.md", "[g](../../docs/suites.md#general)", "[g](../suites.md#general)"),
        ("docs/plugins.md", "[m](../harness/api/method.py)", "[m](source/harness/api/method.py.md)"),
        (
            "docs/suites.md",
            "[s](#students), [a](https://arxiv.org/abs/1)",
            "[s](#students), [a](https://arxiv.org/abs/1)",
        ),
        ("README.md", "`[code](docs/suites.md)`", "`[code](docs/suites.md)`"),
        ("README.md", "```md\n[code](docs/suites.md)\n```", "```md\n[code](docs/suites.md)\n```"),
    ],
)
def test_links_are_those_of_the_site(file, link, on_site):
    assert with_site_links(link, file) == on_site


def test_linked_files_follow_links_of_pages_only():
    found = linked_files(["docs/methods.md"])
    assert {"docs/methods.md", "baselines/pkd/README.md", "docs/suites.md", "CONTRIBUTING.md"} <= {*found}
    assert found == sorted(found)
    assert all((ROOT / file).is_file() for file in found)
    assert linked_files(["harness/api/method.py"]) == ["harness/api/method.py"]


def test_a_source_page_shows_the_file_and_is_not_searched():
    page = source_page("suites/quick.yaml")
    assert (ROOT / "suites" / "quick.yaml").read_text() in page
    assert "exclude: true" in page
