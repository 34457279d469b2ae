"""Which files of the repository are on the site, under which path, and how pages link to them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_CODE = re.compile(r"(^ *```.*?^ *```|`[^`\n]*`)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)#\s]+)(?=[)#\s])")
_METHOD = re.compile(r"(?:plugins|baselines)/(?!published/)(\w+)/README\.md")


def site_path(file: str) -> str:
    """The path on the site of a file of the repository: both relative to their roots, with ``/``.

    docs/ is the root of the site, README.md its home. The README of a method is a page in methods/, results/ are
    boards/. Any other file is in source/: a Markdown file as a page, a text file as a page that shows it.
    """
    if file == "README.md":
        return "index.md"
    if file.startswith("docs/"):
        return file.removeprefix("docs/")
    if method := _METHOD.fullmatch(file):
        return f"methods/{method[1]}.md"
    if file.startswith("results/"):
        return f"boards/{file.removeprefix('results/')}"
    if "/" not in file and file.endswith(".md"):
        return file.lower()
    path = re.sub(r"(^|/)\.", r"\1", file)  # MkDocs leaves out names that begin with a dot
    return f"source/{path}" if Path(path).suffix in (".md", ".png", ".svg") else f"source/{path}.md"


def linked_files(start: Iterable[str]) -> list[str]:
    """The files in `start`, and all that can be reached from them through relative links, sorted."""
    found, queue = set(start), list(start)
    while queue:
        file = queue.pop()
        if file.endswith(".md"):
            new = {_target(link, file) for link in _links((ROOT / file).read_text(encoding="utf-8"))} - found
            new = {target for target in new if (ROOT / target).is_file()}
            found |= new
            queue += new
    return sorted(found)


def with_site_links(markdown: str, file: str) -> str:
    """`markdown`, a text of the repository's file `file`, with relative links as they are on the site."""
    folder = posixpath.dirname(site_path(file))

    def on_site(link: re.Match[str]) -> str:
        if _is_external(link["path"]):
            return link["path"]
        return posixpath.relpath(site_path(_target(link["path"], file)), folder or ".")

    return _outside_code(markdown, lambda text: _LINK.sub(on_site, text))


def source_page(file: str) -> str:
    """A page that shows a text file of the repository. The search does not find it."""
    language = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}.get(Path(file).suffix, "text")
    text = (ROOT / file).read_text(encoding="utf-8")
    return f"---\nsearch:\n  exclude: true\n---\n# {file}\n\n`````{language}\n{text.rstrip()}\n`````\n"


def _links(markdown: str) -> list[str]:
    prose = _CODE.sub("", markdown)
    return [link["path"] for link in _LINK.finditer(prose) if not _is_external(link["path"])]


def _is_external(link: str) -> bool:
    return "://" in link or link.startswith("mailto:")


def _target(link: str, file: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(file), link))


def _outside_code(markdown: str, change: Callable[[str], str]) -> str:
    parts = _CODE.split(markdown)
    return "".join(part if index % 2 else change(part) for index, part in enumerate(parts))
