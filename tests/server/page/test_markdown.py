"""The page's Markdown in a browser: what it becomes, piece by piece as at once, and that no text does any harm."""

from __future__ import annotations

import random

import pytest

from tests.server.page.running import Running
from tests.server.page.visitor import Visitor

pytestmark = pytest.mark.slow

# A text's elements as HTML of their own form: without the attributes and texts that are the page's.
SHOWN = """
async (pieces) => {
  const { Markdown } = await import('/page/js/markdown/render.js');
  const element = document.createElement('div');
  const markdown = new Markdown(element, () => {});
  let text = '';
  for (const piece of pieces) markdown.update(text += piece);
  for (const each of element.querySelectorAll('figcaption')) each.replaceWith(each.firstChild.textContent + ':');
  for (const each of element.querySelectorAll('*')) {
    for (const { name } of [...each.attributes]) {
      const ours = name !== 'class' || !/^(code|table|h[1-6])$/.test(each.className);
      const kept = ['href', 'start', 'class'].includes(name) && ours;
      if (!kept) each.removeAttribute(name);
    }
  }
  return element.innerHTML;
}
"""
# How long the page works on it, and how deep its elements stand.
WORK = """
async (text) => {
  const { Markdown } = await import('/page/js/markdown/render.js');
  const element = document.createElement('div');
  const began = performance.now();
  new Markdown(element, () => {}).update(text);
  const seconds = (performance.now() - began) / 1000;
  const depth = (node) => 1 + Math.max(0, ...[...node.children].map(depth));
  return { seconds, depth: depth(element), letters: element.textContent.length };
}
"""
DEPTH = 100
HANGS = 20  # seconds, on the slowest machine


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """The page, which its policy holds."""
    server = Running(tmp_path_factory.mktemp("markdown"))
    visitor = Visitor(browser, server.url)
    yield visitor.page
    assert visitor.complaints == []
    visitor.close()
    server.close()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\n\nc", "<p>a<br>b</p><p>c</p>"),
        ("# A #\n### B", "<h3>A</h3><h5>B</h5>"),
        ("A\n===\nB\n---", "<h3>A</h3><h4>B</h4>"),
        (
            "**a** *b* ***c*** ~~d~~ __e__ _f_",
            "<p><strong>a</strong> <em>b</em> <em><strong>c</strong></em> <del>d</del> "
            "<strong>e</strong> <em>f</em></p>",
        ),
        ("snake_case_name 2*3*4 * x", "<p>snake_case_name 2<em>3</em>4 * x</p>"),
        ("**注意：**之后，*这*里", "<p><strong>注意：</strong>之后，<em>这</em>里</p>"),
        ("`a` ``b`c`` `d", "<p><code>a</code> <code>b`c</code> `d</p>"),
        (r"\*a\* \# &lt;b&gt; &copy;", "<p>*a* # &lt;b&gt; &amp;copy;</p>"),
        (
            "```pseudo\nif a < b:\n    *c*\n```\nd",
            "<figure>pseudo:<pre><code>if a &lt; b:\n    *c*</code></pre></figure><p>d</p>",
        ),
        ("````\n```\na\n```\n````", "<figure>code:<pre><code>```\na\n```</code></pre></figure>"),
        ("~~~\n```\n~~~", "<figure>code:<pre><code>```</code></pre></figure>"),
        ("```\nnot closed", "<figure>code:<pre><code>not closed</code></pre></figure>"),
        ("a\n\n    b\n     c", "<p>a</p><figure>code:<pre><code>b\n c</code></pre></figure>"),
        (
            "- a\n- b\n  - c\n\n1. d\n2. e",
            "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul><ol><li>d</li><li>e</li></ol>",
        ),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("1. a\n  - b\n2. c", "<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>"),
        ("- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
        (
            "- a\n  ```\n  - b\n  ```\n- c",
            "<ul><li>a<figure>code:<pre><code>- b</code></pre></figure></li><li>c</li></ul>",
        ),
        (
            "- [x] a\n- [ ] b",
            '<ul><li class="task"><span class="unseen">done: </span><i class="box done">'
            '</i>a</li><li class="task"><span class="unseen">to do: </span>'
            '<i class="box"></i>b</li></ul>',
        ),
        ("> a\n> > b\nc", "<blockquote><p>a</p><blockquote><p>b<br>c</p></blockquote></blockquote>"),
        ("a\n\n***\n- - -", "<p>a</p><hr><hr>"),
        (
            "Here:\n| a | b |\n|:-:|--:|\n| 1 | `x|y` |\n| 2 |",
            '<p>Here:</p><div><table><thead><tr><th class="center">a</th>'
            '<th class="right">b</th></tr></thead><tbody><tr><td class="center">1</td>'
            '<td class="right"><code>x|y</code></td></tr><tr><td class="center">2</td>'
            '<td class="right"></td></tr></tbody></table></div>',
        ),
        ("a | b\nno table", "<p>a | b<br>no table</p>"),
        (
            '[a **b**](https://x.org/(c)) [d](mailto:e@f.org "t")',
            '<p><a href="https://x.org/(c)">a <strong>b</strong></a> <a href="mailto:e@f.org">d</a></p>',
        ),
        (
            "See https://x.org/a_b_(c)?d=1. Or（https://y.org）。",
            '<p>See <a href="https://x.org/a_b_(c)?d=1">https://x.org/a_b_(c)?d=1'
            '</a>. Or（<a href="https://y.org/">https://y.org</a>）。</p>',
        ),
        ("<https://x.org> a<br>b", '<p><a href="https://x.org/">https://x.org</a> a<br>b</p>'),
        ("![a picture](https://x.org/a.png)", '<p><a href="https://x.org/a.png" class="image">a picture</a></p>'),
        (
            r"\(a_1 * b_2 * c\) and $$x_1$$",
            '<p><code class="math">\\(a_1 * b_2 * c\\)</code> and <code class="math">$$x_1$$</code></p>',
        ),
        ("\\[\na_1\n\\]\n$5 and $6", '<pre class="math">\\[\na_1\n\\]</pre><p>$5 and $6</p>'),
        ("[a] [b][c] [d]( x", "<p>[a] [b][c] [d]( x</p>"),
        ("a\r\nb\r\n\r\n- c\r\n", "<p>a<br>b</p><ul><li>c</li></ul>"),
    ],
)
def test_what_a_text_becomes(page, text, shown):
    assert page.evaluate(SHOWN, [text]) == shown


def test_piece_by_piece_is_as_at_once(page, seed):
    """Wherever the pieces end. Blocks that are done are not made again."""
    rng = random.Random(seed)
    parts = [
        '# A\n', 'text **bold** and `code`\n', '\n', '- a\n', '  - b\n', '1. c\n', '```py\n', 'x = 1\n', '```\n',
        '> q\n', '| a | b |\n',
        '|---|---|\n', '| 1 | 2 |\n', '\\[\n', 'a\n', '\\]\n', '---\n', '    indented\n', '[l](https://x.org)\n',
        '$$\n', '===\n', "*", "**",
    ]  # fmt: skip
    for _ in range(300):
        text = "".join(rng.choices(parts, k=rng.randrange(1, 25)))
        cuts = sorted(rng.sample(range(len(text) + 1), min(len(text), 12)))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert page.evaluate(SHOWN, pieces) == page.evaluate(SHOWN, [text]), repr(text)


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", 'java\tscript:alert(1)',
        '\x01javascript:alert(1)',
        "data:text/html,<script>alert(1)</script>", "vbscript:x", "file:///etc/passwd", "blob:https://x.org/1",
        "ftp://x.org",
        "//x.org", "/page/js/page.js", "a.html", "#x", "javascript&colon;alert(1)", "jav&#x61;script:alert(1)",
        "http:", "about:blank",
        "javascript://x.org/%0aalert(1)", "view-source:https://x.org", "filesystem:https://x.org/a", r"\x.org",
        "https://",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["[a]({})", "![a]({})", "[a](<{}>)", "<{}>", "{}", '[a]({} "t")', "- [**a**]({})"])
def test_only_web_and_mail_become_links(page, address, form):
    found = page.evaluate(SHOWN, [form.format(address)])
    assert 'href="' not in found or 'href="https://x.org/' in found, found
    if form.startswith(("[", "!", "-")):
        assert "<a" not in found


def test_links_open_elsewhere_and_tell_nothing(page):
    links = page.evaluate("""async () => {
        const { Markdown } = await import('/page/js/markdown/render.js');
        const element = document.createElement('div');
        new Markdown(element, () => {}).update('[a](https://x.org) ![b](https://y.org/b.png) https://z.org');
        return [...element.querySelectorAll('a')].map((a) => [a.target, a.rel, a.title]);
    }""")
    assert [link[:2] for link in links] == [["_blank", "noopener noreferrer"]] * 3
    assert [link[2] for link in links] == ["https://x.org/", "https://y.org/b.png", "https://z.org/"]


HOSTILE = [
    "<script>document.title = 'x'</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>",
    "<iframe src=https://x.org>",
    "<style>*{display:none}</style>", "<a href='javascript:alert(1)'>a</a>", "<!-- a -->", "<![CDATA[a]]>",
    "</div></body>",
    "`<b>`", '```html\n<b>x</b>\n```', '```<script>\nx\n```', "[<b>x</b>](https://x.org)",
    '[a](https://x.org/"onclick="alert(1))',
    '| <b>a</b> |\n|---|\n| <i>b</i> |', "# <b>a</b>", "- <b>a</b>", "> <b>a</b>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<base href=https://x.org>", "<form action=https://x.org><input></form>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_is_text(page, text):
    found = page.evaluate(
        """async (text) => {
            const { Markdown } = await import('/page/js/markdown/render.js');
            const element = document.createElement('div');
            new Markdown(element, () => {}).update(text);
            const all = [...element.querySelectorAll('*')];
            const attributes = all.flatMap((each) => each.getAttributeNames());
            return {
                names: [...new Set(all.map((each) => each.localName))],
                handlers: attributes.filter((name) => /^on|^src|^style/.test(name)),
            };
        }""",
        text,
    )
    allowed = {
        *(
            "p",
            "br",
            "h3",
            "ul",
            "li",
            "blockquote",
            "figure",
            "figcaption",
            "pre",
            "code",
            "span",
            "button",
            "svg",
            "path",
        ),
        *("div", "table", "thead", "tbody", "tr", "th", "td", "a"),
    }
    assert set(found["names"]) <= allowed and found["handlers"] == []


@pytest.mark.parametrize(
    "piece",
    [
        "a", "*", "**a", "_a_", "*_", "~~a", "[", "![", "](", "[a](", "[a](http://a)", "[a](<", '[a](b "', "`",
        "`a``b```c", "<", "<http://a",
        r"\(", '\\[\n', '\\[\n# \n', '$$\n', '$$ a\n', "&", "- ", "> ", "> - 1. ", '1. a\n', '- a\n - b\n', "# ",
        " ", '\t', "|", '|-|\n',
        'a|b\n', '|a\n|-\n', "|`", '```\n', '- ```\n', 'a\n=', "*a **b ", "https://a.b/)", "(((", "-", '\x00',
        '\u202e', "🦙", '\ud800',
    ],
    ids=ascii,
)  # fmt: skip
def test_a_long_text_does_not_hold_up_the_page(page, piece):
    """100 kB, nested as deep as they say."""
    found = page.evaluate(WORK, piece * (100_000 // len(piece)))
    assert found["seconds"] < HANGS and found["depth"] < DEPTH, found


@pytest.mark.parametrize("language", ["python", "js", "sql", "bash", "json", "c++", "none"])
def test_coloured_code_is_the_same_code(page, language, seed):
    """Whatever it is, and however long."""
    rng = random.Random(seed)
    script = """async ([code, language]) => {
        const { highlighted } = await import('/page/js/markdown/highlight.js');
        const began = performance.now();
        const pieces = highlighted(code, language);
        return { text: pieces.map((each) => each[1]).join(''), seconds: (performance.now() - began) / 1000 };
    }"""
    parts = [
        "if",
        " ",
        "\n",
        '"',
        "'",
        "`",
        '"""',
        "\\",
        "#",
        "//",
        "/*",
        "*/",
        "--",
        "1.5",
        "é",
        "中",
        "🦙",
        "_x",
        "\t",
        "$",
    ]
    for _ in range(40):
        code = "".join(rng.choices(parts, k=rng.randrange(60)))
        assert page.evaluate(script, [code, language])["text"] == code
    for piece in [*parts, "a ", '"\\', "/**", "''' '", "/* *"]:
        code = piece * (100_000 // len(piece))
        found = page.evaluate(script, [code, language])
        assert found["text"] == code and found["seconds"] < HANGS, piece


def test_kinds_of_code(page):
    found = page.evaluate(
        """async (code) => {
            const { highlighted } = await import('/page/js/markdown/highlight.js');
            return highlighted(code, 'python').filter((each) => each[0]);
        }""",
        'def f(x1):  # if\n    return "a\\"b" + 1.5e3',
    )
    assert found == [["word", "def"], ["comment", "# if"], ["word", "return"], ["text", '"a\\"b"'], ["number", "1.5e3"]]


def test_colours_leave_the_lines_as_they_are(page):
    """No rule of another part of the page reaches into a text."""
    displays = page.evaluate("""async () => {
        const { Markdown } = await import('/page/js/markdown/render.js');
        const element = document.createElement('div');
        element.className = 'markdown';
        document.body.append(element);
        const code = '```python\\ndef f(x): return "a" + 1  # b\\n```';
        new Markdown(element, () => {}).update(code + '\\n\\n*a* **b** ~~c~~ `d` [e](https://x.org)');
        const found = [...element.querySelectorAll('code *, p *')].map((each) => getComputedStyle(each).display);
        element.remove();
        return found;
    }""")
    assert len(displays) >= 9 and set(displays) == {"inline"}


def test_one_long_address(page):
    found = page.evaluate(WORK, "https://a.b/" + ")" * 100_000)
    assert found["seconds"] < HANGS and found["letters"] == 100_012


def test_any_text_is_shown_whole(page, seed):
    """What stands in code loses nothing, whatever it is."""
    rng = random.Random(seed)
    letters = "ab`*_~[]()<>!#-|\\\n \t&$.:/1é中🦙"
    for _ in range(200):
        text = "".join(rng.choices(letters, k=rng.randrange(1, 80)))
        fence = "`" * 81
        shown = page.evaluate(
            """async (text) => {
                const { Markdown } = await import('/page/js/markdown/render.js');
                const element = document.createElement('div');
                new Markdown(element, () => {}).update(text);
                return [...element.querySelectorAll('pre')].map((each) => each.textContent);
            }""",
            f"{fence}\n{text}\n{fence}",
        )
        assert shown == [text.replace("\t", "    ")], repr(text)
        page.evaluate(SHOWN, [text])  # which raises nothing
