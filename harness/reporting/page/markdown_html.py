"""Renders the Markdown of sections as HTML. HTML in it is escaped, and images are disabled because they are fetched."""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt

from harness.reporting.page.markup import Safe


def prose(text: str) -> Safe:
    """Render Markdown as HTML, with tables that scroll."""
    parser = _parser()
    tokens = parser.parse(text)
    for token in tokens:
        if style := token.attrGet("style"):  # the page's Content-Security-Policy forbids inline styles
            token.attrs = {"class": "num"} if "right" in str(style) else {}
    markup = parser.renderer.render(tokens, parser.options, {})
    markup = markup.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace("</table>", "</table></div>")
    return Safe(markup)


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
