"""What the documentation's extensions of Sphinx do: run blocks, write formulas and Markdown."""

import base64
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("sphinx")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "extensions"))

import executed_blocks  # noqa: E402
import markdown_pages  # noqa: E402
import mathml  # noqa: E402
import run_page  # noqa: E402
from docutils.core import publish_doctree  # noqa: E402
from docutils.utils.math.latex2mathml import tex2mathml  # noqa: E402

PAGE = """# A page

```python
x = 1
print("one", x)
```

Between.

```python
>>> x
1
```

```python
assert x == 1
```
"""


def test_what_blocks_print_warn_of_and_draw_is_kept():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.figure()  # of somebody else
    warn = "import warnings\nfor _ in range(3):\n    warnings.warn('mind')\nprint(x)"
    draw = (
        "import matplotlib.pyplot as plt\n_, ax = plt.subplots()\nax.set(xlabel='rho', title='A')"
    )
    said, shown = run_page.run(["x = 2", warn, draw], "page")[1:]
    assert said == {"text": "UserWarning: mind\n2\n", "figures": []}
    (figure,) = shown["figures"]
    assert figure["alt"] == "A: rho"
    assert base64.b64decode(figure["png"]).startswith(b"\x89PNG")
    assert pyplot.get_fignums() == []


def test_outputs_stand_below_their_blocks(tmp_path):
    picture = {"png": base64.b64encode(b"bytes").decode(), "alt": "A curve"}
    shown = [{"text": "one 1\n", "figures": [picture]}, {"text": "", "figures": []}]
    text = executed_blocks.with_outputs(PAGE, shown, "guide/page", tmp_path, "/images")
    lines = text.splitlines()
    printed, image = lines.index("one 1"), lines.index("````{image} /images/guide-page-0.png")
    assert lines.index('print("one", x)') < printed < image < lines.index("Between.")
    assert lines[image + 1] == ":alt: A curve"
    assert (tmp_path / "guide-page-0.png").read_bytes() == b"bytes"
    assert text.count("code-block") == 1
    assert executed_blocks.sources(PAGE) == ['x = 1\nprint("one", x)\n', "assert x == 1\n"]


def test_a_page_is_run_again_only_if_it_or_the_package_has_changed(tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr(executed_blocks, "run_page", lambda *given: runs.append(given) or [])
    package = tmp_path / "sklflat"
    package.mkdir()
    (package / "a.py").write_text("a = 1")
    for code, blocks, expected in [
        ("a = 1", ["x"], 1),
        ("a = 1", ["x"], 1),
        ("a = 1", ["y"], 2),
        ("a = 2", ["y"], 3),
        ("a = 2", ["y"], 3),
    ]:
        (package / "a.py").write_text(code)
        key = executed_blocks.package_key(package)
        executed_blocks.kept_or_run("guide/page", blocks, tmp_path, tmp_path / "kept", key)
        assert len(runs) == expected
    assert len(list((tmp_path / "kept").iterdir())) == 1  # results of before are gone


def test_a_block_that_fails_is_named_with_its_page():
    with pytest.raises(executed_blocks.ExtensionError, match=r"(?s)guide/page.*NameError.*missing"):
        executed_blocks.run_page("guide/page", ["missing"], ROOT)


def test_a_part_of_another_page_is_put_in_its_place(tmp_path):
    (tmp_path / "other.md").write_text("before <!-- a -->\npart\n<!-- b --> after")
    directive = "```{include} other.md\n:start-after: <!-- a -->\n:end-before: <!-- b -->\n```\n"
    assert executed_blocks.expand(f"x\n{directive}y", tmp_path) == "x\npart\ny"


def formulas():
    """Every formula of the pages and of the docstrings, with whether it stands on its own line."""
    for path in ROOT.glob("docs/**/*.md"):
        if "_build" in path.parts:
            continue
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
        for found in re.finditer(r"\$\$(.+?)\$\$|\$([^$]+)\$", prose, re.DOTALL):
            yield found[1] or found[2], bool(found[1])
    for path in ROOT.glob("sklflat/**/*.py"):
        source = path.read_text()
        yield from ((f, False) for f in re.findall(r":math:`(.+?)`", source, re.DOTALL))
        block = r"^( *)\.\. math::(.*\n(?:\1 +.*\n|\s*\n)*)"
        yield from ((f.strip(), True) for _, f in re.findall(block, source, re.MULTILINE))


def test_every_formula_is_drawn_without_a_script():
    found = list(formulas())
    assert len(found) > 300
    for formula, as_block in found:
        assert "<math" in tex2mathml(mathml.understood(formula), as_block=as_block)
    with pytest.raises(Exception, match="nonsense"):
        tex2mathml(mathml.understood(r"\nonsense"))
    assert mathml.understood("a &= b\n\nc &= d").startswith(r"\begin{aligned}")


def test_markdown_of_a_page():
    document = publish_doctree(
        "Title\n=====\n\nOne *two* **three** ``four``.\n\n- a\n- b\n\n  c\n\n1. x\n\n"
        "=====  =====\nname   value\n=====  =====\na      1\n=====  =====\n\n"
        "Below\n-----\n\nx : int\n    A number.\n\n.. math:: a^2\n\n>>> 1 + 1\n2\n",
        settings_overrides={"doctitle_xform": False},
    )
    assert markdown_pages.translate(document) == (
        "# Title\n\nOne *two* **three** `four`.\n\n- a\n- b\n\n  c\n\n1. x\n\n"
        "| name | value |\n| --- | --- |\n| a | 1 |\n\n"
        "## Below\n\n**x** : int\n\n  A number.\n\n$$\na^2\n$$\n\n```\n>>> 1 + 1\n2\n```\n"
    )
    assert markdown_pages.first_sentence(document) == ""  # none is long enough to say something


@pytest.mark.slow
def test_a_site_has_markdown_beside_every_page_and_needs_no_network(tmp_path):
    from sphinx.application import Sphinx

    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text(
        'project = "Small"\nextensions = ["myst_parser", "executed_blocks", "markdown_pages", '
        '"mathml"]\nmyst_enable_extensions = ["dollarmath"]\nhtml_math_renderer = "mathml"\n'
        f'executed_root = {str(ROOT)!r}\nllms_summary = "A site."\nexclude_patterns = ["_build"]\n'
    )
    formula = "\nThis page has a formula, $x^2$.\n"
    (source / "index.md").write_text(PAGE + formula + "\n```{toctree}\nguide/more\n```\n")
    (source / "guide").mkdir()
    (source / "guide" / "more.md").write_text(
        "# More\n\nThis is a longer sentence. [Up](../index)\n"
    )
    out = tmp_path / "html"
    app = Sphinx(source, source, out, tmp_path / "trees", "html", status=None, warningiserror=True)
    app.build()
    pages = sorted(path.relative_to(out).with_suffix("") for path in out.rglob("*.md"))
    assert [str(page) for page in pages] == ["guide/more", "index"]
    assert "```text\none 1\n```" in (out / "index.md").read_text()
    assert "[Up](../index.md)" in (out / "guide" / "more.md").read_text()
    listed = (out / "llms.txt").read_text()
    assert "- [More](guide/more.md): This is a longer sentence." in listed
    html = (out / "index.html").read_text()
    assert "<math" in html
    assert not re.search(r'<(script|link)[^>]+(src|href)="(https?:)?//', html)
    assert json.loads(next((source / "_build" / "executed").iterdir()).read_text())[0]["text"]


def test_pages_are_listed_below_the_page_that_has_them():
    tree = {"index": ["a", "b"], "a": ["a/x"], "b": ["a/x", "b/y"]}
    env = SimpleNamespace(toctree_includes=tree, found_docs={"index", "a", "b", "a/x", "b/y", "z"})
    app = SimpleNamespace(env=env, config=SimpleNamespace(root_doc="index"))
    assert markdown_pages.outline(app) == {"a": ["a", "a/x"], "b": ["b", "b/y"], "": ["z"]}
