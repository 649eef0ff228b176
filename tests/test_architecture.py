"""The house of docs/architecture.md, asserted from the source: who imports whom, what is how long.

Each rule is a function from a tree of source files to a list of violations, so that it can be run
on the package, where the list must be empty, and on a fabricated house that breaks it.
"""

import ast
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Storeys that hold several rooms are fine as long as those rooms do not know each other.
FLOORS = {
    "_aliases": -2,
    "_version": -2,
    "_workers": -2,
    "exceptions": -2,
    "_compat": -1,
    "metrics": 0,
    "datasets": 0,
    "storage": 0,
    "networks": 1,
    "curvature": 2,
    "symmetry": 2,
    "paths": 2,
    "matching": 3,
    "training": 3,
    "probing": 4,
    "eigenspace": 5,
    "connectivity": 5,
    "temperature": 5,
    "pruning": 5,
    "rewinding": 6,
    "surrogate": 6,
    "universality": 6,
    "consensus": 7,
    "claims": 8,
    "report": 8,
    "__main__": 9,
    "testing": 10,
}

# Numerics on a network know neither scikit-learn nor skorch.
STRANGERS = {room: {"sklearn", "skorch"} for room in ("networks", "curvature", "symmetry")}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse a file, once for all rules; no test writes a file twice."""
    return ast.parse(path.read_text())


def room_of(path: Path, package: Path) -> str:
    """Name the room a file is in: its folder or, for a page of the ground floor, its own name."""
    return path.relative_to(package).with_suffix("").parts[0]


def imported_names(path: Path, package: Path) -> Iterator[tuple[str, int]]:
    """Yield every imported module or name as an absolute dotted path, wherever it is imported."""
    parents = (package.name, *path.relative_to(package).parent.parts)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else ()
            stem = [*base, *([node.module] if node.module else [])]
            yield from ((".".join([*stem, alias.name]), node.lineno) for alias in node.names)


def rooms(package: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of the package with their rooms; the front door has none and may see all."""
    for path in sorted(package.rglob("*.py")):
        if path != package / "__init__.py":
            yield path, room_of(path, package)


def unknown_rooms(package: Path) -> list[str]:
    """Find rooms that have no floor."""
    return sorted({room for _, room in rooms(package)} - set(FLOORS))


def upward_imports(package: Path) -> list[str]:
    """Find imports that do not go down: to a higher floor, along a floor, or to the front door."""
    found = []
    for path, room in rooms(package):
        for name, line in imported_names(path, package):
            top, *rest = name.split(".")
            target = rest[0] if rest else "__init__"
            if top != package.name or target == room:
                continue
            if target not in FLOORS or FLOORS[target] >= FLOORS.get(room, -3):
                found.append(f"{path.relative_to(package)}:{line} {room} imports {target}")
    return found


def files_imported(path: Path, package: Path) -> set[Path]:
    """Find the files of the package that a file imports, other than itself."""
    found = set()
    for name, _ in imported_names(path, package):
        top, *rest = name.split(".")
        if top != package.name:
            continue
        stem = package.joinpath(*rest)
        places = [stem.with_suffix(".py"), stem / "__init__.py"]
        places += [stem.parent.with_suffix(".py"), stem.parent / "__init__.py"]
        found.update([place for place in places if place.exists()][:1])
    return found - {path}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Find what is in a circle of a graph: all that is left when ends are taken off."""
    left = {node: set(targets) & set(graph) for node, targets in graph.items()}
    while ends := [node for node, targets in left.items() if not targets]:
        left = {n: t - set(ends) for n, t in left.items() if n not in ends}
    starts = True
    while starts:  # what leads into a circle is not in it
        reached = set().union(*left.values())
        starts = set(left) - reached
        left = {n: t for n, t in left.items() if n not in starts}
    return sorted(left)


def file_circles(package: Path) -> list[str]:
    """Find files that import each other, directly or by way of others."""
    files = sorted(package.rglob("*.py"))
    graph = {
        str(path.relative_to(package)): {
            str(other.relative_to(package)) for other in files_imported(path, package)
        }
        for path in files
    }
    return circles(graph)


def folder_circles(package: Path) -> list[str]:
    """Find folders of a room that import each other, so that a room has one reading order.

    A folder's ``__init__`` only hands names out. A room's own pages may stand above some of its
    folders and below others: :func:`file_circles` sees to these.
    """
    graph: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        if path.name != "__init__.py" and path.parent.parent != package != path.parent:
            own = str(path.parent.relative_to(package))
            others = {p.parent for p in files_imported(path, package)} - {path.parent}
            graph.setdefault(own, set()).update(str(o.relative_to(package)) for o in others)
    return circles(graph)


def met_strangers(package: Path) -> list[str]:
    """Find imports of libraries that a room is not to know."""
    return [
        f"{path.relative_to(package)}:{line} imports {name}"
        for path, room in rooms(package)
        for name, line in imported_names(path, package)
        if name.split(".")[0] in STRANGERS.get(room, ())
    ]


def is_private(name: str) -> bool:
    """Tell whether a dotted path leads through a private name of scikit-learn or skorch."""
    top, *rest = name.split(".")
    dunder = re.compile(r"__\w+__$")
    private = any(part.startswith("_") and not dunder.match(part) for part in rest)
    return top in ("sklearn", "skorch") and private


def dotted(node: ast.expr) -> str:
    """Write an attribute chain as the dotted path it spells, empty if it is something else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and dotted(node.value):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def private_names(package: Path) -> list[str]:
    """Find private names of scikit-learn and skorch outside ``_compat.py``."""
    found = []
    for path in sorted(package.rglob("*.py")):
        used = list(imported_names(path, package))
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                used.append((dotted(node), node.lineno))
        if path != package / "_compat.py":
            where = path.relative_to(package)
            found += [f"{where}:{line} uses {name}" for name, line in used if is_private(name)]
    return found


@cache
def code_lines(source: str) -> set[int]:
    """Number the lines that hold code: no blanks, no comments, no docstrings."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                lines -= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def long_files(folder: Path) -> list[str]:
    """Find files over the limit, all lines counted."""
    lengths = {path: len(path.read_text().splitlines()) for path in sorted(folder.rglob("*.py"))}
    return [f"{path.relative_to(folder)}: {n}" for path, n in lengths.items() if n > MAX_FILE_LINES]


def only_stores(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a constructor does nothing but keep its arguments, as scikit-learn demands.

    Such a constructor is as long as the estimator has parameters, and has nothing to read.
    """
    return node.name == "__init__" and all(
        isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Name)
        and ast.unparse(line.targets[0]) == f"self.{line.value.id}"
        for line in node.body
    )


def long_functions(folder: Path) -> list[str]:
    """Find functions over the limit, lines of code counted."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                span = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                if len(span) <= MAX_FUNCTION_LINES or only_stores(node):
                    continue
                n = len(code_lines(path.read_text()) & set(span))
                if n > MAX_FUNCTION_LINES:
                    found.append(f"{path.relative_to(folder)}:{node.lineno} {node.name}: {n}")
    return found


PACKAGE_RULES = [
    unknown_rooms,
    upward_imports,
    met_strangers,
    private_names,
    file_circles,
    folder_circles,
]
LENGTH_RULES = [long_files, long_functions]


@pytest.mark.parametrize("rule", PACKAGE_RULES)
def test_the_package_keeps_the_rule(rule):
    assert list(rooms(ROOT / "sklflat")), "the rule must have something to look at"
    assert rule(ROOT / "sklflat") == []


@pytest.mark.parametrize("folder", ["sklflat", "tests", "examples", "benchmarks"])
@pytest.mark.parametrize("rule", LENGTH_RULES)
def test_nothing_is_long(rule, folder):
    assert rule(ROOT / folder) == []


def test_the_documented_floors_are_the_asserted_ones():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+?)(?:\.py|/)` \| (-?\d+) \|", page, flags=re.MULTILINE)
    documented = {room: int(floor) for room, floor in rows}
    built = {room for _, room in rooms(ROOT / "sklflat")}
    assert built <= set(documented)
    assert documented.items() <= FLOORS.items()


# --- each rule, on a house that breaks it ---


def build(tmp_path: Path, files: dict[str, str]) -> Path:
    """Write a house of the given files and return its package folder."""
    package = tmp_path / "house"
    for name, source in {"__init__.py": "", **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
    return package


LONG_FUNCTION = "def f():\n" + '    """Say.\n\n    More.\n    """\n' + "    x = 1\n    # why\n" * 60

VIOLATIONS = {
    "unknown room": (unknown_rooms, {"attic/a.py": ""}),
    "up": (upward_imports, {"networks/a.py": "from house.training import step"}),
    "up, relative": (upward_imports, {"networks/a.py": "from ..training.step import go"}),
    "up, room named last": (upward_imports, {"networks/a.py": "from .. import training"}),
    "up, plain import": (upward_imports, {"networks/a.py": "import house.training.step"}),
    "up, inside a function": (
        upward_imports,
        {"networks/a.py": "def f():\n    from house.training import step"},
    ),
    "up, from a nested folder": (
        upward_imports,
        {"training/perturbations/a.py": "from ...probing import nulls"},
    ),
    "same floor": (upward_imports, {"eigenspace/a.py": "from house.temperature import probe"}),
    "front door": (upward_imports, {"training/a.py": "from house import SAMClassifier"}),
    "ground floor looks up": (upward_imports, {"exceptions.py": "from house import _compat"}),
    "stranger": (met_strangers, {"curvature/a.py": "from sklearn.base import clone"}),
    "private module": (
        private_names,
        {"training/a.py": "from sklearn.utils._param_validation import Interval"},
    ),
    "private name": (private_names, {"training/a.py": "from sklearn.base import _fit_context"}),
    "private attribute": (private_names, {"training/a.py": "import sklearn\nsklearn.utils._x.f()"}),
    "private skorch": (private_names, {"training/a.py": "import skorch._version"}),
    "file circle": (
        lambda package: file_circles(package)[:1],
        {
            "training/a.py": "from house.training import b",
            "training/b.py": "def f():\n    from house.training.c import g",
            "training/c.py": "from .a import h",
            "training/d.py": "from house.training.a import h",
        },
    ),
    "folder circle": (
        lambda package: folder_circles(package)[:1],
        {
            "training/one/a.py": "from house.training.two import b",
            "training/two/b.py": "",
            "training/two/c.py": "from ..one.a import h",
        },
    ),
    "long file": (long_files, {"training/a.py": "\n" * 401}),
    "long function": (long_functions, {"training/a.py": LONG_FUNCTION}),
}


@pytest.mark.parametrize(("rule", "files"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_the_rule_can_fail(rule, files, tmp_path):
    assert len(rule(build(tmp_path, files))) == 1


def test_a_sound_house_breaks_no_rule(tmp_path):
    files = {
        "__init__.py": "from house.training import SAMClassifier",
        "exceptions.py": "class FlatError(Exception): ...",
        "_compat.py": "from sklearn.base import _fit_context\nfrom . import exceptions",
        "networks/a.py": "import torch\nfrom .b import c\nfrom house.metrics import d",
        "training/deep/a.py": "from house.networks import a\nfrom ..b import c",
        "training/a.py": "import sklearn\nsklearn.__version__\nsklearn.base.clone(x)._own",
        "training/b.py": LONG_FUNCTION.replace("x = 1", "pass", 1).rsplit("    x = 1", 1)[0],
        "training/c.py": "\n" * 400,
        "training/d.py": "from .. import _compat",
    }
    package = build(tmp_path, files)
    assert [found for rule in PACKAGE_RULES + LENGTH_RULES for found in rule(package)] == []
