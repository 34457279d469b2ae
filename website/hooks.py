"""The events of `mkdocs build`: adds pages from the repository and generated pages, and adapts links between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from website.api_reference import plugin_pages, python_page
from website.board_gallery import board_files, gallery
from website.command_reference import commands_page
from website.notebook_page import notebook_page
from website.repository_files import ROOT, linked_files, site_path, source_page, with_site_links
from website.suite_reference import options_page, suite_page


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what docs/ does not have: files of the repository that are linked, boards, generated pages."""
    in_docs = {file.src_uri for file in files}
    for file in _repository_files():
        path = site_path(file)
        if path in in_docs:
            continue
        if path.endswith(".md") and not file.endswith(".md"):
            files.append(File.generated(config, path, content=source_page(file)))
        else:
            files.append(File.generated(config, path, abs_src_path=str(ROOT / file)))
    for path, content in _generated_pages().items():
        files.append(File.generated(config, path, content=content))
    files.append(File.generated(config, "site.css", abs_src_path=str(ROOT / "website" / "site.css")))
    config.nav = _expanded(config.nav, files)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Adapt the links of a page that is a Markdown file of the repository."""
    source = page.file.abs_src_path
    if source is None or not Path(source).is_relative_to(ROOT):
        return markdown
    # Markdown in HTML elements, such as <details>, is rendered on GitHub without a mark.
    markdown = markdown.replace("<details>", "<details markdown>")
    if "\n## " not in markdown:  # one wide table
        page.meta.setdefault("hide", ["toc"])
    return with_site_links(markdown, Path(source).relative_to(ROOT).as_posix())


def _repository_files() -> list[str]:
    pages = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md"), *ROOT.glob("baselines/*/README.md")]
    start = [page.relative_to(ROOT).as_posix() for page in pages]
    suites = [suite.relative_to(ROOT).as_posix() for suite in ROOT.glob("suites/*.yaml")]
    return linked_files([*start, *suites, *board_files(), "README.md", "CONTRIBUTING.md", "CHANGELOG.md"])


def _generated_pages() -> dict[str, str]:
    return {
        "boards/index.md": gallery(),
        "csv-to-onnx.md": notebook_page(ROOT / "docs" / "csv-to-onnx.ipynb"),
        "reference/commands.md": commands_page(),
        "reference/method-options.md": options_page(),
        "reference/python.md": python_page(),
        "reference/suite.md": suite_page(),
        **plugin_pages(),
    }


def _expanded(nav: Any, files: Files) -> Any:
    """The navigation, in which a path that ends in ``/`` is replaced by the pages in this folder."""
    if isinstance(nav, list):
        return [_expanded(item, files) for item in nav]
    if isinstance(nav, dict):
        return {title: _expanded(item, files) for title, item in nav.items()}
    return sorted(_pages_in(nav, files)) if isinstance(nav, str) and nav.endswith("/") else nav


def _pages_in(folder: str, files: Files) -> Iterator[str]:
    for file in files.documentation_pages():
        if file.src_uri.startswith(folder) and "/" not in file.src_uri.removeprefix(folder):
            yield file.src_uri
