"""``python -m sklflat claims``: files, resumption, and unstable verdicts."""

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from sklflat.__main__ import main
from sklflat.claims import Comparison, find, registry
from sklflat.claims.cells import Cell, measure_cell, rooms_below, source_hash
from sklflat.claims.registry import CLAIMS, Claim
from sklflat.claims.results import read_results
from sklflat.claims.tables import changed_verdicts, range_of, row
from tests.claims._drawn import claims, drawn


def test_three_files_and_a_table(fast, tmp_path, capsys):
    status, path = claims(tmp_path, "--quick")
    said = capsys.readouterr()
    assert status == 0
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".md", ".html"}
    assert "| 4 Flat directions |" in said.out
    assert "63/63" in said.err  # seven claims, nine seeds, on planted data alone
    whole = json.loads(path.read_text())
    assert whole["configuration"]["seeds"] == 9
    assert whole["configuration"]["data"] == ["planted"]
    assert {"numpy", "torch", "sklflat"} <= set(whole["versions"])
    assert len(whole["claims"]) == 7
    first = whole["claims"][0]
    assert len(first["seeds"]["planted"]["arms"]["SAM"]["recovery"]) == 9
    assert path.with_suffix(".md").read_text().startswith("# Verdicts on the seven claims")


def test_a_claim_is_not_applicable_where_it_cannot_be_measured(fast, tmp_path, capsys):
    assert claims(tmp_path, "--seeds", 2, "--only", 6)[0] == 0
    assert "breast cancer" not in capsys.readouterr().out
    claims(tmp_path, "--seeds", 2)
    lines = capsys.readouterr().out.splitlines()
    assert "not applicable" in next(line for line in lines if line.startswith("| 6 "))


class Page(HTMLParser):
    """Anchors, links and whatever a page would load from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded, self.open = set(), set(), [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {given["id"]} if "id" in given else set()
        self.links |= {given["href"]} if tag == "a" else set()
        self.loaded += [given[k] for k in ("src", "data") if k in given]
        self.loaded += [given["href"]] if tag == "link" else []
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass


def test_the_page_is_whole_and_leads_from_a_verdict_to_every_seed(fast, tmp_path):
    _, path = claims(tmp_path, "--seeds", 3)
    text = path.with_suffix(".html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.loaded == []
    assert "http" not in text
    assert {f"#{name}" for name in page.ids} == page.links
    assert text.count("<summary>every seed</summary>") == len(page.ids) == 25
    rows = re.findall(r"<tr><td>(\d+)</td><td class='number'>", text)
    assert rows.count("0") == rows.count("2") == 25


def test_claims_go_by_words_too_and_help_lists_them(fast, tmp_path, capsys):
    _, path = claims(tmp_path, "--seeds", 2, "--only", "rewinding", "--only", "Flat directions")
    assert sorted(read_results(path).records) == [3, 4]
    _, path = claims(tmp_path, "--seeds", 2, "--only", 5, 5, "temperature", name="several.json")
    assert sorted(read_results(path).records) == [5, 6]
    with pytest.raises(SystemExit):
        main(["claims", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for number, claim in CLAIMS.items():
        assert f"{number} {claim.protocol.title}" in said


def test_a_legend_is_under_the_tables(fast, tmp_path):
    _, path = claims(tmp_path, "--seeds", 2, "--only", 3)
    for text in (path.with_suffix(".md").read_text(), path.with_suffix(".html").read_text()):
        for word in ("d_z", "P(better)", "of interest", "Ease", "80 % power at"):
            assert word in text[text.index("Columns") :]


def test_what_a_rank_correlation_cannot_be_is_a_dash():
    """Two seeds that differ by .6: the interval would reach from -3.5 to 4.1."""
    names = {"name": "a", "arm": "one", "against": "two", "matched_in": "accuracy"}
    far = Comparison(**names, metric="rank correlation", smallest_effect=0.1)
    both = ("rank correlation", "area of all")
    readings = [{"one": dict.fromkeys(both, value)} for value in (0.0, 0.6)]
    for reading in readings:
        reading["two"] = dict.fromkeys(reading["one"], 0.0)
    cells = row(find(far, readings))
    assert (cells[3], cells[8]) == ("–", "–")
    free = row(find(replace(far, metric="area of all"), readings))
    assert "–" not in (free[3], free[8])
    near = [
        {"one": {"rank correlation": 0.5 + k / 100}, "two": {"rank correlation": 0.0}}
        for k in range(9)
    ]
    assert "–" not in row(find(far, near))
    assert range_of(find(far, readings)) == (-2, 2)
    assert range_of(find(replace(far, against=None), readings)) == (-1, 1)


def test_what_is_read_again_is_what_was_written(fast, tmp_path, capsys, monkeypatch):
    fast(diverges=lambda seed: seed == 1)
    _, path = claims(tmp_path, "--seeds", 3)
    capsys.readouterr()
    found = read_results(path)
    assert found.to_json() == path.read_text()
    assert found.records[1]["planted"][1]["diverged"] == "seed 1"
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir("/proc")  # where nothing can be written, and nothing is
        assert main(["claims", "--show", str(path)]) == 0
    assert "| 1 Sharpness-aware training |" in capsys.readouterr().out
    again = tmp_path / "again.json"
    assert main(["claims", "--show", str(path), "-o", str(again)]) == 0
    for end in (".json", ".md", ".html"):
        assert again.with_suffix(end).read_text() == path.with_suffix(end).read_text()


def test_more_than_a_quarter_diverged_is_no_verdict(fast, tmp_path):
    fast(diverges=lambda seed: seed % 3 == 0)
    _, path = claims(tmp_path, "--quick")
    verdicts = read_results(path).verdicts("planted")
    assert {v.outcome for v in verdicts.values()} == {"no verdict"}
    assert "3 of 9 seeds diverged" in verdicts[1].sentence


def test_divergence_is_a_record_and_another_error_is_an_error(monkeypatch):
    protocol = CLAIMS[1].protocol
    broken = Claim(protocol, drawn(protocol, diverges=lambda seed: True), registry)
    monkeypatch.setitem(CLAIMS, 1, broken)
    record = measure_cell(Cell(1, "planted", 5))
    assert (record["arms"], record["diverged"]) == (None, "seed 5")

    def fails(data, seed):
        raise ZeroDivisionError

    monkeypatch.setitem(CLAIMS, 1, Claim(protocol, fails, registry))
    with pytest.raises(ZeroDivisionError):
        measure_cell(Cell(1, "planted", 5))


def test_numbers_that_are_not_finite_are_null(monkeypatch):
    protocol = CLAIMS[1].protocol
    odd = Claim(protocol, lambda data, seed: {"a": {"m": np.nan, "n": 1 / 3}}, registry)
    monkeypatch.setitem(CLAIMS, 1, odd)
    assert measure_cell(Cell(1, "planted", 0))["arms"] == {"a": {"m": None, "n": 0.333333}}


def test_verdicts_that_other_seeds_change_are_marked(fast, tmp_path, capsys):
    _, one = claims(tmp_path, "--quick", "--only", 2, name="one.json")
    fast(effect=-1.0)
    _, other = claims(tmp_path, "--quick", "--only", 2, "--first-seed", 50, name="other.json")
    assert changed_verdicts(read_results(one), read_results(other)) == {
        (2, "planted"): ("supported", "refuted")
    }
    capsys.readouterr()
    assert main(["claims", "--show", str(one), "--repeated", str(other)]) == 0
    said = capsys.readouterr().out
    assert "supported (unstable)" in said
    assert "Unstable: claim 2, planted: supported, with other seeds refuted." in said


def test_kept_cells_are_not_measured_again(fast, tmp_path, capsys):
    options = ("--quick", "--cache-dir", tmp_path / "kept")
    _, path = claims(tmp_path, *options)
    text = path.read_text()

    def never(data, seed):
        raise AssertionError

    for number, claim in list(CLAIMS.items()):
        CLAIMS[number] = Claim(claim.protocol, never, claim.module)
    try:
        _, again = claims(tmp_path, *options, name="again.json")
    finally:
        fast()
    assert again.read_text() == text


def test_another_protocol_is_another_key(fast):
    cell = Cell(1, "planted", 0)
    before = cell.key
    claim = CLAIMS[1]
    CLAIMS[1] = Claim(replace(claim.protocol, null="another"), claim.measure, claim.module)
    try:
        assert cell.key != before
    finally:
        CLAIMS[1] = claim
    assert cell.key == before
    assert len({before, Cell(1, "wine", 0).key, Cell(1, "planted", 1).key}) == 3


def test_other_code_is_another_key(tmp_path):
    room = tmp_path / "room"
    room.mkdir()
    (room / "a.py").write_text("x = 1")
    before = source_hash(room)
    source_hash.cache_clear()
    assert source_hash(room) == before
    for change in (lambda: (room / "a.py").write_text("x = 2"), (room / "b.py").touch):
        change()
        source_hash.cache_clear()
        assert source_hash(room) != before
    names = {path.name for path in rooms_below()}
    assert {"networks", "training", "probing", "_version.py"} <= names
    assert "claims" not in names


# --- killed ---------------------------------------------------------------------------------------


def command(folder, *options):
    """The command on a small part of the work, in a process of its own."""
    small = ["--only", "2", "--seeds", "3", "--quick"]
    return [
        sys.executable,
        "-m",
        "sklflat",
        "claims",
        *small,
        "-o",
        str(folder / "c.json"),
        *options,
    ]


@pytest.mark.slow
def test_killed_at_any_instant_it_goes_on_to_the_same_file(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    subprocess.run(command(whole), check=True, capture_output=True)
    options, after = ("--cache-dir", str(killed / "kept")), 0.5
    for _ in range(20):
        started = subprocess.Popen(
            command(killed, *options), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        try:
            # so long after the bar has shown that imports are done
            while started.stderr.read(1) not in ("c", ""):
                pass
            status = started.wait(after)
        except subprocess.TimeoutExpired:
            started.send_signal(signal.SIGKILL)
            started.wait()
            started.stderr.close()
            after *= 3
            continue
        started.stderr.close()
        assert status == 0
        break
    assert (killed / "c.json").read_bytes() == (whole / "c.json").read_bytes()
