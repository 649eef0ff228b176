"""A report in a real browser: nothing is cut, nothing is fetched, all of it works by keyboard."""

import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from tests._browser import AXE, CHROMIUM, Browser
from tests.report._reports import data, network, report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `make browser` installs it"),
]
needs_axe = pytest.mark.skipif(not AXE.exists(), reason="no axe-core: `make browser` installs it")
WINDOWS = [(width, dark) for width in (400, 1400) for dark in (False, True)]
LONG = "a_column_with_a_name_of_a_hundred_letters_" + "x" * 58
CLASSES = np.array(["<b>first</b>", "second & last", "a third class, whose name is rather long"])


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """All techniques on two networks, and a table whose names nobody would choose."""
    folder = tmp_path_factory.mktemp("pages")
    X, y = data()
    both = {"plain": network(), "sharpness-aware with a radius of 0.1": network(0.1)}
    all_of_it = report(both, techniques=None).fit(X, y)
    named = pd.DataFrame(X, columns=[f"{LONG}_{i}" for i in range(6)])
    odd = report({LONG: network()}, techniques=("prediction", "ablation", "surrogate"), n_models=0)
    found = {"all": all_of_it, "odd": odd.fit(named, CLASSES[y])}
    for name, fitted in found.items():
        fitted.to_html(folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in found}


@pytest.fixture(scope="module")
def browser():
    with Browser() as found:
        yield found


@pytest.mark.parametrize("page", ["all", "odd"])
@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_cut_or_fetched_and_the_console_is_silent(browser, pages, page, width):
    browser.open(pages[page], width)
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth") == width
    sizes = browser.run(
        "[...document.images].map(i => [i.naturalWidth, i.width, i.height,"
        " i.getBoundingClientRect().right])"
    )
    assert len(sizes) == {"all": 18, "odd": 3}[page]
    assert all(natural > 200 and w > 200 and h > 90 for natural, w, h, _ in sizes)
    assert max(right for *_, right in sizes) <= width
    if page == "odd":
        return
    # what is wider than its frame, beside tables of units, which scroll in theirs
    wide = "e => e.scrollWidth > e.clientWidth + 1 && !e.querySelector('.units')"
    label = "e => e.getAttribute('aria-label')"
    assert browser.run(f"[...document.querySelectorAll('.wide')].filter({wide}).map({label})") == []


def test_a_browser_that_is_offered_a_fault_reports_it(browser, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text('<img src="http://127.0.0.1:9/x.png"><script>nowhere()</script>')
    browser.open(broken)
    said = " ".join(browser.complaints())
    assert "Uncaught" in said
    assert "127.0.0.1:9" in said


#: text whose contrast with what is behind it is below 4.5
FAINT = """
(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = parts(colour).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if ((parts(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walk.nextNode();) {
    const e = node.parentElement;
    if (!node.data.trim() || ["SCRIPT", "STYLE"].includes(e.tagName)) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((p, q) => q - p);
    found.push([(a + 0.05) / (b + 0.05), node.data.trim().slice(0, 60)]);
  }
  return found;
})()
"""


@pytest.mark.parametrize(("width", "dark"), WINDOWS)
def test_text_stands_out_from_what_is_behind_it(browser, pages, width, dark):
    browser.open(pages["all"], width, dark)
    found = browser.run(FAINT)
    assert len(found) > 1000
    assert [text for contrast, text in found if contrast < 4.5] == []
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 22, 22)" if dark else "rgb(255, 255, 255)")


def test_faint_text_is_found(browser, tmp_path):
    faint = tmp_path / "faint.html"
    faint.write_text('<body style="background:#fff"><p style="color:#999">faint</p><p>clear')
    browser.open(faint)
    assert [(round(c, 2), text) for c, text in browser.run(FAINT)] == [
        (2.85, "faint"),  # as published for #999 on white
        (21, "clear"),
    ]


@needs_axe
@pytest.mark.parametrize(("width", "dark"), WINDOWS)
def test_axe_finds_no_fault(browser, pages, width, dark):
    for page in pages.values():
        browser.open(page, width, dark)
        browser.run(AXE.read_text() + "; 0")
        found = browser.run(
            "axe.run().then(r => [r.violations.map(v => [v.id, v.nodes.map(n => n.html)]),"
            " r.passes.map(p => p.id)])"
        )
        assert found[0] == []
        assert {"button-name", "label", "image-alt", "summary-name", "link-name"} <= set(found[1])


ORDER = """
const able = "a[href], button, input, summary, [tabindex='0']";
window.order = [...document.querySelectorAll(able)];
window.now = () => order.indexOf(document.activeElement);
order.length
"""


def test_tab_goes_through_the_page_in_its_order_and_shows_where_it_is(browser, pages):
    browser.open(pages["all"])
    n = browser.run(ORDER)
    reached, outlines = [], set()
    for _ in range(n):
        browser.press("Tab")
        reached.append(browser.run("now()"))
        outlines.add(browser.run("getComputedStyle(document.activeElement).outlineStyle"))
    assert reached == list(range(n))
    assert outlines == {"solid"}
    assert browser.run("order[0].textContent") == "Skip to the findings"
    assert browser.run("order[0].getBoundingClientRect().left < 0")  # seen only when it is reached
    named = browser.run(
        "order.map(e => (e.ariaLabel || e.labels?.[0]?.textContent || e.innerText))"
    )
    assert all(name.strip() for name in named)


def test_the_skip_link_is_seen_and_goes_to_the_findings(browser, pages):
    browser.open(pages["all"], 400)
    browser.press("Tab")
    assert browser.run("document.activeElement.getBoundingClientRect().left") >= 0
    browser.press("Enter")
    assert browser.run("location.hash") == "#main"


ROWS = "[...document.querySelector('table.units').tBodies[0].rows]"
SHOWN = f"{ROWS}.filter(r => r.offsetHeight > 0).map(r => r.cells[0].dataset.value)"


def column(browser, k):
    return [float(v) for v in browser.run(f"{ROWS}.map(r => r.cells[{k}].textContent)")]


def test_units_are_sorted_and_filtered_by_keyboard(browser, pages):
    browser.open(pages["all"])
    heads = browser.run(
        "[...document.querySelector('table.units').tHead.rows[0].cells].map(c => c.textContent)"
    )
    k = heads.index("rise of loss")
    head = f"document.querySelector('table.units').tHead.rows[0].cells[{k}]"
    for key, order, sign in (("Enter", "ascending", 1), (" ", "descending", -1)):
        browser.run(f"{head}.firstElementChild.focus()")
        browser.press(key)
        assert browser.run(f"{head}.ariaSort") == order
        assert all(sign * a <= sign * b for a, b in pairwise(column(browser, k)))
    names = browser.run(SHOWN)
    assert len(names) == 8
    browser.run("document.querySelector('input').focus()")
    for letter in names[3][-3:]:  # such as [7]
        browser.press(letter)
    assert browser.run(SHOWN) == [names[3]]
    assert browser.run("document.querySelector('output').textContent") == "1 of 8 shown"
    card = "document.querySelector('table.units tr:not([hidden]) details')"
    browser.run(f"{card}.firstElementChild.focus()")
    browser.press("Enter")
    assert browser.run(f"{card}.open")
    assert names[3] in browser.run(f"{card}.querySelector('pre').innerText")


def test_without_scripts_all_of_it_is_there(browser, pages):
    browser.open(pages["all"], scripts=True)
    with_scripts = browser.run("document.querySelector('main').innerText")
    browser.open(pages["all"], scripts=False)
    assert browser.complaints() == []
    without = browser.run("document.querySelector('main').innerText")
    controls = r"Filter the units of .*? or verdict|\s+"
    assert re.sub(controls, " ", without).split() == re.sub(controls, " ", with_scripts).split()
    assert len(browser.run(SHOWN)) == 8


def test_on_paper_nothing_is_wider_than_the_page(browser, pages):
    """A4 with margins of a centimetre: 718 points of CSS upright, 1,046 on its side."""
    others = "[...document.querySelectorAll('table:not(.units), img')]"
    right = f"Math.max(...{others}.map(e => e.getBoundingClientRect().right))"
    for page in pages.values():
        browser.open(page, 718)
        browser.call("Emulation.setEmulatedMedia", media="print")
        assert browser.run("document.documentElement.scrollWidth") <= 1046
        assert browser.run(right) <= 718
        assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
