import json

import pytest

from harness.reporting.page.markdown_html import prose
from harness.reporting.page.markup import Safe, code, el, embedded


def test_what_is_no_markup_is_escaped():
    made = el("p", "<b> & ", el("i", "x > y"), [None, "'"], title='"<', data_row="1", hidden=True, open=False)
    assert made == '<p title="&quot;&lt;" data-row="1" hidden>&lt;b&gt; &amp; <i>x &gt; y</i>\'</p>'
    assert isinstance(made, Safe)


def test_numbers_are_short_and_empty_elements_end_themselves():
    assert el("line", x1=1.23456, x2=10.0, class_="grid") == '<line x1="1.23" x2="10" class="grid" />'


def test_code_stands_in_backticks():
    assert code("run `a < b` & see") == "run <code>a &lt; b</code> &amp; see"


@pytest.mark.parametrize("text", ["</script>", "<!--", "]]>", "&lt;", "\u2028", "é"])
def test_embedded_data_ends_no_script_and_is_what_it_was(text):
    made = embedded({text: [text]})
    assert "<" not in made
    assert ">" not in made
    assert json.loads(made) == {text: [text]}


def test_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded(float("nan"))


def test_sections_are_tables_and_text_and_never_html():
    made = prose("**bold**\n\n| a | b |\n|:--|--:|\n| <b>x</b> | 1 |\n\n![i](http://x/y.png) <script>1</script>")
    assert "<strong>bold</strong>" in made
    assert '<td class="num">1</td>' in made
    assert "&lt;b&gt;x&lt;/b&gt;" in made
    assert not any(part in made for part in ("<script", "<img", "style="))
