"""A notebook as a page."""

from __future__ import annotations

import json
from pathlib import Path


def notebook_page(notebook: Path) -> str:
    """The cells of a notebook as Markdown, with a link to the notebook in the same folder. Outputs are left out."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = [_cell(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    texts.insert(1, f"[Download this notebook]({notebook.name})")
    return "\n\n".join(texts) + "\n"


def _cell(kind: str, source: str) -> str:
    return source if kind == "markdown" else f"```python\n{source}\n```"
