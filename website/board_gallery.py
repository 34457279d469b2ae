"""The gallery: every board in results/, with its picture."""

from __future__ import annotations

import re
from pathlib import Path

from website.repository_files import ROOT, site_path

RESULTS = ROOT / "results"
PICTURES = ("tasks.png", "pareto.png", "learning.png")

INTRODUCTION = """# Boards

The boards that are committed with kd-harness. [Results](../results.md) explains how to read one. A board is the output
of one command, which it names under *Where it comes from*, with the machine, the versions and the settings.
"""


def boards() -> list[Path]:
    """The folders of the committed boards, sorted by name."""
    return sorted(file.parent for file in RESULTS.glob("*/leaderboard.md"))


def board_files() -> list[str]:
    """Every file of the committed boards, relative to the repository. Runs, teachers and caches are left out."""
    published = [f for board in boards() for name in ("plots", "sections", "details") for f in (board / name).glob("*")]
    published += [
        f for board in boards() for f in board.glob("*.*") if f.name not in ("plan.json", "report-files.json")
    ]
    return sorted(file.relative_to(ROOT).as_posix() for file in published)


def gallery() -> str:
    """The page of the gallery."""
    return "\n".join([INTRODUCTION, *map(_entry, boards())])


def _entry(board: Path) -> str:
    heading = (board / "leaderboard.md").read_text(encoding="utf-8").partition("\n")[0]
    marks = re.search(r"\((.*)\)", heading)
    page = "index.html" if (board / "index.html").exists() else "leaderboard.md"
    lines = [f"## {board.name}", "", *([f"**{marks[1]}**", ""] if marks else [])]
    lines += [f"{_about(board.name)}", ""]
    if (board / "README.md").exists():
        lines += [f"**[What to know about this board]({board.name}/README.md)**", ""]
    if picture := next((board / "plots" / name for name in PICTURES if (board / "plots" / name).exists()), None):
        lines += [f"[![Scores of {board.name} by task]({board.name}/plots/{picture.name})]({board.name}/{page})", ""]
    links = [f"[board]({board.name}/leaderboard.md)"]
    if page == "index.html":
        links.insert(0, f"[interactive page]({board.name}/index.html)")
    if (board / "latency.md").exists():
        links.append(f"[latency]({board.name}/latency.md)")
    links += [f"[{file.suffix[1:].upper()}]({board.name}/{file.name})" for file in _tables(board)]
    suite = f"suites/{board.name}.yaml"
    if (ROOT / suite).exists():
        links.append(f"[suite](../{site_path(suite)})")
    return "\n".join([*lines, " · ".join(links), ""])


def _tables(board: Path) -> list[Path]:
    return [file for name in ("csv", "json", "tex") if (file := board / f"leaderboard.{name}").exists()]


def _about(name: str) -> str:
    """What a shipped suite says about itself: the first paragraph of the comment at its beginning."""
    suite = ROOT / "suites" / f"{name}.yaml"
    if not suite.exists():
        return ""
    lines = []
    for line in suite.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") or line == "#":
            break
        lines.append(line.removeprefix("# "))
    return " ".join(lines)
