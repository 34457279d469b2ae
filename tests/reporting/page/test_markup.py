import json

import pytest

from harness.reporting.page.markdown_html import prose
from harness.reporting.page.markup import Safe, code, el, embedded


def test_text_is_escaped():
    markup = el("p", "<b> & ", el("i", "x > y"), [None, "'"], title='"<', data_row="1", hidden=True, open=False)
    assert markup == '<p title="&quot;&lt;" data-row="1" hidden>&lt;b&gt; &amp; <i>x &gt; y</i>\'</p>'
    assert isinstance(markup, Safe)


def test_numbers_are_rounded_and_void_elements_self_close():
    assert el("line", x1=1.23456, x2=10.0, class_="grid") == '<line x1="1.23" x2="10" class="grid" />'


def test_backticks_become_code():
    assert code("run `a < b` & see") == "run <code>a &lt; b</code> &amp; see"


@pytest.mark.parametrize("text", ["</script>", "<!--", "]]>", "&lt;", "\u2028", "é"])
def test_embedded_data_cannot_close_the_script_and_round_trips(text):
    markup = embedded({text: [text]})
    assert "<" not in markup
    assert ">" not in markup
    assert json.loads(markup) == {text: [text]}


def test_embedded_refuses_non_finite_numbers():
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded(float("nan"))


def test_prose_renders_tables_and_escapes_html():
    markup = prose("**bold**\n\n| a | b |\n|:--|--:|\n| <b>x</b> | 1 |\n\n![i](http://x/y.png) <script>1</script>")
    assert "<strong>bold</strong>" in markup
    assert '<td class="num">1</td>' in markup
    assert "&lt;b&gt;x&lt;/b&gt;" in markup
    assert not any(part in markup for part in ("<script", "<img", "style="))
