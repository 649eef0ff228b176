"""``python -m sklflat claims`` on input that nobody meant: refused by name, and nothing is lost."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from sklflat.__main__ import main
from sklflat.claims.registry import CLAIMS, Claim
from sklflat.claims.results import digest, read_results
from sklflat.exceptions import DamagedFileWarning
from tests.claims._drawn import claims, drawn


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "9"], "--only 9: claims are numbered 1 to 7"),
        (["--only", "rewound"], "3 Rewinding, 4 Flat directions"),
        (["--only", "flat"], "--only flat: this is in the titles of claims 4 and 5"),
        (["--seeds", "1"], "--seeds 1 are too few"),
        (["--seeds", "-3"], "--seeds -3 are too few"),
        (["--first-seed", "-1"], "--first-seed -1"),
        (["--first-seed", str(2**32)], "--first-seed 4294967296"),
        (["--jobs", "0"], "--jobs 0"),
        (["-o", "no/such/place.json"], "There is no directory 'no/such'"),
        (["-o", "."], "is a directory"),
        (["--show", "no.json"], "no.json cannot be read"),
        (["--cache-dir", ""], "cache_dir"),
    ],
)
def test_refused_before_the_work(options, message, fast, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fast(diverges=lambda seed: pytest.fail("work was done"))
    assert main(["claims", *options]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_fewer_than_nine_seeds_are_run_but_said_to_decide_nothing(fast, tmp_path, capsys):
    _, path = claims(tmp_path, "--seeds", 8, "--only", 1)
    assert "all verdicts will be inconclusive" in capsys.readouterr().err
    assert read_results(path).verdicts("planted")[1].outcome == "inconclusive"


def test_results_of_another_protocol_are_not_shown_and_not_overwritten(fast, tmp_path, capsys):
    _, path = claims(tmp_path, "--seeds", 2, "--only", 3)
    text = path.read_text().replace(
        json.loads(path.read_text())["claims"][0]["protocol_hash"], "0" * 16
    )
    path.write_text(text)
    for options in (["--show", str(path)], ["--repeated", str(path)], ["-o", str(path)]):
        assert main(["claims", *options]) == 1
        said = capsys.readouterr().err
        assert "is of another protocol version: that of claim 3 has changed" in said
        assert "sklflat 0" in said
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no file of results"),
        ("[]", "is no file of results"),
        ('{"format": "other"}', "is no file of results"),
        ('{"format": "sklflat claims"}', "by another rule"),
        ("", "is no file of results"),
    ],
)
def test_other_files_are_not_results(text, message, tmp_path, capsys):
    path = tmp_path / "x.json"
    path.write_text(text)
    assert main(["claims", "--show", str(path)]) == 1
    assert message in capsys.readouterr().err


def broken_files(text):
    """A file of results with one part of it another, a line each."""

    def changed(*path, to):
        whole = json.loads(text)
        part = whole
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = to
        return whole

    yield from (changed(name, to=None) for name in json.loads(text))
    yield changed("configuration", "seeds", to=4)
    yield changed("configuration", "seeds", to=True)
    yield changed("configuration", "first_seed", to="0")
    yield changed("versions", to=[])
    yield changed("claims", 0, "number", to=9)
    yield changed("claims", 0, "number", to=[2])
    yield changed("claims", 0, "seeds", to={"iris": {}})
    yield changed("claims", to=2 * json.loads(text)["claims"])
    seeds = ("claims", 0, "seeds", "planted")
    yield changed(*seeds, "seed", to=[0, 1])
    yield changed(*seeds, "seed", to=[0, 1, 1])
    yield changed(*seeds, "arms", to={})
    yield changed(*seeds, "arms", "core", "recovery", to=["1", "2", "3"])
    yield changed(*seeds, "arms", "core", "recovery", to=[1.0, 2.0])
    yield changed(*seeds, "diverged", to=3)


def resigned(whole):
    """What somebody writes who knows of the digest, so that parts are looked at for themselves."""
    return whole | {"digest": digest(whole)} if whole["digest"] is not None else whole


@pytest.mark.parametrize("sign", [dict, resigned])
def test_a_file_of_which_any_part_is_another_is_refused(sign, fast, tmp_path, capsys):
    _, path = claims(tmp_path, "--seeds", 3, "--quick", "--only", 2)
    text = path.read_text()
    broken = list(broken_files(text))
    for whole in broken:
        path.write_text(json.dumps(sign(whole)))
        capsys.readouterr()
        assert main(["claims", "--show", str(path)]) == 1
        assert "found.json" in capsys.readouterr().err
    path.write_text("[" * 100_000)
    assert main(["claims", "--show", str(path)]) == 1
    path.write_text(text)
    assert main(["claims", "--show", str(path)]) == 0


def edited_files(text):
    """A file of results that can be read, and says other than what was measured."""

    def changed(edit):
        whole = json.loads(text)
        edit(whole, whole["claims"][0], whole["claims"][0]["seeds"]["planted"])
        return whole

    core = ("arms", "core", "recovery")
    for value in (0.5, -5, True, None):
        yield changed(lambda w, c, s, v=value: s[core[0]][core[1]][core[2]].__setitem__(0, v))
    yield changed(lambda w, c, s: s["arms"]["core"]["recovery"].append(0.5))
    yield changed(lambda w, c, s: s["arms"].update(another=s["arms"]["core"]))
    yield changed(lambda w, c, s: s.update(warnings=[{}, {}, {"ConvergenceWarning": 1}]))
    yield changed(lambda w, c, s: c.update(hypothesis="Everything holds."))
    yield changed(lambda w, c, s: c["verdicts"]["planted"].update(outcome="refuted"))
    yield changed(lambda w, c, s: w["configuration"].update(claims=[1, 2]))
    yield changed(lambda w, c, s: w["versions"].update(numpy="1.0"))
    yield changed(lambda w, c, s: w.update(begun="2020-01-01"))
    yield changed(lambda w, c, s: w.update(schema=True))
    yield changed(lambda w, c, s: w.pop("digest"))


def test_an_edited_file_is_refused_also_where_it_can_be_read(fast, tmp_path, capsys):
    _, path = claims(tmp_path, "--seeds", 3, "--quick", "--only", 2)
    text = path.read_text()
    for whole in edited_files(text):
        path.write_text(json.dumps(whole))
        capsys.readouterr()
        assert main(["claims", "--show", str(path)]) == 1
        assert "found.json was changed after it was written" in capsys.readouterr().err
    path.write_text(json.dumps(json.loads(text), indent=2))  # in other words the same
    assert main(["claims", "--show", str(path)]) == 0


def test_the_committed_results_are_as_they_were_written():
    folder = Path(__file__).parents[2] / "benchmarks" / "results"
    for name in ("claims.json", "claims_repeated.json"):
        assert read_results(folder / name).to_json() == (folder / name).read_text()


def test_options_of_a_measurement_are_refused_where_none_is_made(fast, tmp_path, capsys):
    _, path = claims(tmp_path, "--seeds", 2, "--only", 2)
    capsys.readouterr()
    assert main(["claims", "--show", str(path), "--only", "3", "--seeds", "9"]) == 1
    assert "--show measures nothing, so --seeds, --only" in capsys.readouterr().err


@pytest.mark.parametrize("first_seed", [0, 1, -1])
def test_seeds_that_were_measured_already_are_no_repetition(first_seed, fast, tmp_path, capsys):
    _, path = claims(tmp_path, "--seeds", 2, "--first-seed", 1, "--only", 2)
    shown = ["claims", "--show", str(path), "--repeated", str(path)]
    measured = ["claims", "--seeds", "2", "--first-seed", str(first_seed + 1)]
    measured += ["--repeated", str(path), "-o", str(tmp_path / "new.json")]
    for options in (shown, measured):
        capsys.readouterr()
        fast(diverges=lambda seed: pytest.fail("work was done"))
        assert main(options) == 1
        assert "--repeated has the seeds 1 to 2, some of which" in capsys.readouterr().err
        fast()


def test_cut_off_at_any_place_it_is_no_file_of_results(fast, tmp_path, capsys):
    _, path = claims(tmp_path, "--seeds", 2, "--quick", "--only", 2)
    whole = path.read_bytes()
    for n in np.linspace(1, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:n])
        assert main(["claims", "--show", str(path)]) == 1
        assert "is no file of results" in capsys.readouterr().err


@pytest.mark.parametrize("end", [".md", ".html"])
def test_files_of_others_are_not_overwritten(end, fast, tmp_path, capsys):
    (tmp_path / f"README{end}").write_text("ours")
    assert claims(tmp_path, "--quick", name=f"README{end}")[0] == 1
    assert f"README{end} would be overwritten" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [f"README{end}"]


def test_a_name_with_a_dot_keeps_it(fast, tmp_path):
    claims(tmp_path, "--seeds", 2, "--only", 2, name="of.2026")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"of.2026.json", "of.2026.md", "of.2026.html"}


def test_where_the_disk_is_full_at_the_end_the_verdicts_are_printed_and_old_results_stay(
    fast, tmp_path, capsys, monkeypatch
):
    _, path = claims(tmp_path, "--quick", "--only", 2)
    old = path.read_bytes()
    fast(effect=-1.0)
    capsys.readouterr()
    written = []

    def write(handle, content):
        written.append(len(content))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)
    status, _ = claims(tmp_path, "--quick", "--only", 2)
    monkeypatch.undo()
    said = capsys.readouterr()
    assert status == 1
    assert written
    assert "found.json cannot be written: No space left" in said.err
    assert "| 2 Invariant core | refuted |" in said.out
    assert path.read_bytes() == old
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("keeps", [False, True])
def test_interrupted_it_says_what_is_kept(keeps, fast, tmp_path, capsys, monkeypatch):
    def interrupted(data, seed):
        if seed == 1:
            raise KeyboardInterrupt
        return drawn(CLAIMS[2].protocol)(data, seed)

    monkeypatch.setitem(CLAIMS, 2, Claim(CLAIMS[2].protocol, interrupted, CLAIMS[2].module))
    options = ["--cache-dir", tmp_path / "kept"] if keeps else []
    status, path = claims(tmp_path, "--quick", "--only", 2, *options)
    assert status == 130
    assert not path.exists()
    said = capsys.readouterr().err
    assert ("is kept in" in said, "Nothing is kept" in said) == (keeps, not keeps)


def test_a_damaged_cell_is_measured_anew(fast, tmp_path):
    kept = tmp_path / "kept"
    options = ("--seeds", 3, "--quick", "--only", 2, "--cache-dir", kept)
    _, path = claims(tmp_path, *options)
    files = sorted(kept.glob("*.safetensors"))
    before = path.read_bytes()
    for k, file in enumerate(files):
        content = file.read_bytes()
        file.write_bytes((content[:50], b"", content[:-1] + b"?", content[:-1])[k % 4])
    with pytest.warns(DamagedFileWarning):
        claims(tmp_path, *options)
    assert path.read_bytes() == before
