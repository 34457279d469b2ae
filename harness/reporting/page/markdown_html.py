"""The Markdown of a board's sections as HTML. What is HTML in it stays text, and nothing is fetched: no images."""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt

from harness.reporting.page.markup import Safe


def prose(text: str) -> Safe:
    """Markdown as HTML; tables can be scrolled by themselves."""
    parser = _parser()
    tokens = parser.parse(text)
    for token in tokens:
        if style := token.attrGet("style"):  # which the page's policy forbids
            token.attrs = {"class": "num"} if "right" in str(style) else {}
    found = parser.renderer.render(tokens, parser.options, {})
    found = found.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace("</table>", "</table></div>")
    return Safe(found)


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
