"""One vocabulary, the field's: names and phrases that were given up do not come back.

docs/glossary.md has the words that took their place. A rule is a function from a tree of files to
a list of violations, so that it can be run on a tree that breaks it.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: file names that say nothing of what is inside
RETIRED_FILES = {
    *("running", "showing", "many", "find", "tally", "taps", "placing", "slots", "walk"),
    *("surroundings", "moved", "looks", "joining", "ties", "atoms"),
}

#: identifiers, and what is said instead
RETIRED_NAMES = {
    "Atoms": "AxisIndexClasses",
    "_hold": "pin_if_distinguishable",
    "telling": "input_dependent",
    "silent": "constant",
    "side_by_side": "a concatenation",
    "Joined": "Concatenations",
    "ActivationTaps": "ActivationRecorder",
    "Tap": "RecordingPoint",
    "Slot": "TensorSlice",
    "Tally": "MeanLosses",
    "Walk": "what it does with paths",
    "Look": "SubspaceCheck",
    "served": "steps since refresh",
    "_StandIn": "_DeferredEstimator",
    "desk": "executor",
    "_Orders": "_RecordFits",
    "way_in": "preprocessing",
    "_Together": "what it does with stacks",
    "StackedRows": "ReplicaStep",
    "EachFromItsOwn": "ReplicaGenerators",
    "StoppedByCallback": "Record.ended",
    "Agreement": "LeastCorrelation",
    "Silence": "Ablation",
    "agree": "same_outputs",
    "is_optimal": "nothing: it was never read",
    "random_directions": "random_rotations",
    "permuted_label_twins": "networks trained on shuffled labels",
}

#: phrases of prose, as regular expressions
RETIRED_PHRASES = {
    r"put beside each other": "concatenated or stacked",
    r"units speak": "units not selected are mean-ablated",
    r"the way that it (would )?go(es)? alone": "numerically identical to training alone",
    r"settles? the precision": "falls back to the module's own precision",
    r"not as it was asked for": "a warning about the noise achieved",
    r"frozen (axis|axes|parameter)": "pinned axis, non-trainable parameter",
    r"held at (its|their) means?": "mean-ablated",
}

CODE = ["sklflat", "benchmarks", "examples"]
PROSE = ["sklflat", "docs", "examples", "README.md", "CONTRIBUTING.md"]


def files_below(root: Path, tops: list[str], ends: tuple[str, ...]) -> list[Path]:
    """List the files of some folders, or these files themselves, without what is generated."""
    built = {"_build", "auto_examples", "api"}
    found = []
    for top in map(root.joinpath, tops):
        paths = [top] if top.is_file() else sorted(top.rglob("*"))
        found += [p for p in paths if p.suffix in ends and not built & set(p.parts)]
    return found


def retired_files(root: Path) -> list[str]:
    """Find modules whose names say nothing."""
    paths = files_below(root, CODE, (".py",))
    return [str(p.relative_to(root)) for p in paths if p.stem in RETIRED_FILES]


def identifiers(source: str) -> list[tuple[str, int]]:
    """List the names that a source defines, reads or takes, with their lines."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for field in ("id", "attr", "name", "arg"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                found.append((name, getattr(node, "lineno", 0)))
    return found


def retired_names(root: Path) -> list[str]:
    """Find retired identifiers in code."""
    return [
        f"{path.relative_to(root)}:{line} {name}: say {RETIRED_NAMES[name]}"
        for path in files_below(root, CODE, (".py",))
        for name, line in identifiers(path.read_text())
        if name in RETIRED_NAMES
    ]


def retired_phrases(root: Path) -> list[str]:
    """Find retired phrases in docstrings, comments and pages, also across line ends."""
    found = []
    for path in files_below(root, PROSE, (".py", ".md", ".rst")):
        text = re.sub(r"\n[ #:]*", " ", path.read_text())
        for phrase, better in RETIRED_PHRASES.items():
            found += [
                f"{path.relative_to(root)}: {match[0]!r}: say {better!r}"
                for match in re.finditer(phrase, text, flags=re.IGNORECASE)
            ]
    return found


RULES = [retired_files, retired_names, retired_phrases]


@pytest.mark.parametrize("rule", RULES)
def test_the_vocabulary_is_kept(rule):
    assert files_below(ROOT, CODE, (".py",)), "the rule must have something to look at"
    assert rule(ROOT) == []


VIOLATIONS = {
    "file": (retired_files, "sklflat/paths/walk.py", ""),
    "class": (retired_names, "sklflat/a.py", "class Walk: ..."),
    "attribute": (retired_names, "sklflat/a.py", "x.served = 1"),
    "argument": (retired_names, "benchmarks/a.py", "def f(way_in): ..."),
    "docstring": (retired_phrases, "sklflat/a.py", '"""Things put\n    beside each other."""'),
    "comment": (retired_phrases, "sklflat/a.py", "x = 1  # only some units\n# speak"),
    "page": (retired_phrases, "docs/guide/a.md", "A stack goes the way that it goes alone."),
}


@pytest.mark.parametrize(("rule", "name", "text"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_the_rule_can_fail(rule, name, text, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert len(rule(tmp_path)) == 1
