"""One tree of parts in four formats: equal numbers, sound HTML, and text that stays text."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from sklflat import MinimaReport
from sklflat.report.formats import to_frame, to_json, to_markdown
from sklflat.report.html import MAX_BYTES, fragment, to_html
from sklflat.report.parts import Picture
from sklflat.report.pictures import png_of
from sklflat.report.wording import with_interval
from tests.report._reports import fitted, network

VOID = {"meta", "img", "br", "input"}


class Tree(HTMLParser):
    """Collects elements with their attributes and text, and asserts that they are nested."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", "in": [e["tag"] for e in self.open], **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def of(self, tag):
        return [e for e in self.elements if e["tag"] == tag]


@pytest.fixture(scope="module")
def tree():
    return Tree(to_html(fitted().page_))


def test_all_formats_have_the_same_numbers(tree):
    page = fitted().page_
    quantities = [q for _, _, q in page.quantities()]
    frame, plain = to_frame(page), json.loads(to_json(page))
    assert frame["value"].tolist() == [q.value for q in quantities]
    kept = [plain["data"], *(section["quantities"] for section in plain["sections"])]
    assert [q["value"] for own in kept for q in own] == [q.value for q in quantities]
    shown = [(e["value"], e["text"]) for e in tree.of("data")]
    text = to_markdown(page)
    for q in quantities:
        assert (str(q.value), with_interval(q)) in shown
        assert f"| {with_interval(q)} |" in text.replace("\\", "")


def test_statements_are_in_all_formats(tree):
    page = fitted().page_
    text = to_markdown(page).replace("\\", "")
    words = tree.of("body")[0]["text"]
    for finding in page.findings:
        assert finding.statement in words
        assert finding.statement in text
        assert finding.statement in to_json(page)
    for sentence in page.verdict:
        assert sentence in words


def test_no_network_and_no_script_is_needed(tree):
    text = to_html(fitted().page_)
    for element in tree.elements:
        for attribute in ("src", "srcset", "action", "data", "background", "poster"):
            assert element.get(attribute, "data:").startswith("data:")
        assert not [a for a in element if a.startswith("on")]
    assert not tree.of("link")
    assert "@import" not in text
    assert "url(" not in text
    without = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    hidden = [e for e in Tree(without).elements if "hidden" in e]
    assert {e["class"] for e in hidden} == {"filter"}  # controls that only scripts can serve


def test_it_can_be_read_aloud_and_by_keyboard(tree):
    assert tree.of("html")[0]["lang"] == "en"
    assert all(tree.of(landmark) for landmark in ("header", "nav", "main"))
    levels = [int(e["tag"][1]) for e in tree.elements if re.fullmatch("h[1-6]", e["tag"])]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert all(e["alt"].strip() for e in tree.of("img"))
    assert len(tree.of("img")) == 10
    assert all(e["scope"] in ("col", "row") for e in tree.of("th"))
    assert len(tree.of("caption")) == len(tree.of("table"))
    ids = [e["id"] for e in tree.elements if "id" in e]
    assert len(ids) == len(set(ids))
    for element in tree.of("a"):
        target = element["href"]
        assert target.startswith("https://") or target.removeprefix("#") in ids
    for element in tree.of("section"):
        assert element["aria-labelledby"] in ids
    assert all("label" in e["in"] for e in tree.of("input"))


def test_every_unit_has_a_row_and_a_card(tree):
    page = fitted().page_
    cards = [e["text"] for e in tree.of("pre")]
    for table in page.units:
        assert len(table.rows) == 8
        for row in table.rows:
            assert table.cards[row[0]] in cards


ATTACKS = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><b>", "a & b"]


@pytest.fixture(scope="module")
def attacked():
    rng = np.random.RandomState(0)
    X = pd.DataFrame(rng.normal(size=(120, 4)), columns=ATTACKS)
    y = np.array(ATTACKS, dtype=object)[(X.to_numpy()[:, 0] > 0).astype(int)]
    return MinimaReport(
        {ATTACKS[0]: network()},
        effort="quick",
        techniques=("prediction", "ablation"),
        n_models=0,
        random_state=0,
    ).fit(X, y)


def test_names_and_labels_stay_text(attacked):
    tree = Tree(attacked.to_html())
    assert len(tree.of("script")) == 1
    assert all(e["src"].startswith("data:") for e in tree.of("img"))
    assert not tree.of("b")
    words = tree.of("body")[0]["text"]
    assert all(attack in words for attack in ATTACKS[:2])  # as labels on the cards
    markdown = attacked.to_markdown()
    assert "<script>" not in markdown
    frame = Tree(attacked._repr_html_())
    assert [e["tag"] for e in frame.elements] == ["iframe"]
    assert Tree(frame.elements[0]["srcdoc"]).of("h1")


def large(page, n_pictures):
    """The page with pictures that cannot be compressed, and a thousand units."""
    noise = np.random.RandomState(0)

    def draw(_):
        import matplotlib.pyplot as plt

        figure, ax = plt.subplots(figsize=(12, 4))
        ax.imshow(noise.uniform(size=(200, 600)))
        return figure

    picture = Picture(png_of(draw, None), "noise", "noise")
    section = replace(page.sections[-1], picture=picture)
    table = page.units[0]
    rows = tuple((f"unit {i}", *table.rows[0][1:]) for i in range(1000))
    cards = {row[0]: "card " * 100 for row in rows}
    return replace(
        page, sections=(section,) * n_pictures, units=(replace(table, rows=rows, cards=cards),) * 2
    )


@pytest.mark.parametrize("n_pictures", [1, pytest.param(40, marks=pytest.mark.slow)])
def test_a_page_is_never_large_and_says_what_is_cut(n_pictures):
    page = large(fitted().page_, n_pictures)
    text = to_html(page)
    assert len(text.encode()) <= MAX_BYTES
    assert "of 1,000 are shown" in text
    assert "Picture left out" in text or n_pictures == 1
    assert len(fitted().to_html().encode()) <= MAX_BYTES


def test_files_are_written(tmp_path):
    found = fitted()
    for write in (found.to_html, found.to_json, found.to_markdown):
        text = write(tmp_path / "page")
        assert (tmp_path / "page").read_text(encoding="utf-8") == text
    assert fragment(found.page_) == found._repr_html_()
    assert "MinimaReport" in MinimaReport()._repr_html_()
