"""What a user gets before the first line of their own: a light import, types, and true metadata."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import sklflat

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PROSE = [ROOT / "README.md", ROOT / "docs" / "install.md"]


def run_python(code: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def pins(path: str) -> dict[str, str]:
    """Read a constraints file."""
    lines = (ROOT / path).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def lower_bounds() -> dict[str, str]:
    """Read the lowest accepted version of each required package."""
    return dict(requirement.split(">=") for requirement in PROJECT["dependencies"])


@pytest.mark.parametrize(
    "code", ["import sklflat", "import sklflat; dir(sklflat); sklflat.__all__"]
)
def test_import_pulls_neither_torch_nor_skorch(code):
    heavy = "{'torch', 'skorch', 'sklearn', 'pandas', 'matplotlib'} & set(sys.modules)"
    assert run_python(f"import sys; {code}; print(sorted({heavy}))") == "[]"


def test_the_check_of_light_imports_can_fail():
    code = "import sys, sklflat.metrics; print('sklearn' in sys.modules)"
    assert run_python(code) == "True"


@pytest.mark.parametrize("name", sklflat.__all__)
def test_public_names_resolve_and_are_listed(name):
    assert getattr(sklflat, name) is getattr(sklflat, name)
    assert name in dir(sklflat)


def test_unknown_names_raise_attribute_error():
    with pytest.raises(AttributeError, match="module 'sklflat' has no attribute 'SAMClasifier'"):
        sklflat.SAMClasifier  # noqa: B018


def test_the_package_is_marked_as_typed():
    assert (Path(sklflat.__file__).parent / "py.typed").is_file()


def test_setup_cfg_is_short_and_holds_no_metadata():
    path = ROOT / "setup.cfg"
    config = configparser.ConfigParser()
    config.read(path)
    assert len(path.read_text().splitlines()) <= 15
    assert not {"metadata", "options"} & {section.split(".")[0] for section in config.sections()}


def test_constraints_pin_every_dependency_within_its_range():
    pinned, bounds = pins("constraints.txt"), lower_bounds()
    assert bounds.keys() <= pinned.keys()
    for name, lowest in bounds.items():
        assert version(pinned[name]) >= version(lowest), name
    assert pinned["torch"] == "2.13.0"


def test_the_oldest_constraints_differ_in_scikit_learn_and_skorch_alone():
    """The oldest torch, whose wheel brings gigabytes, is installed by a target of its own."""
    newest, oldest = pins("constraints.txt"), pins("constraints-oldest.txt")
    old = {"scikit-learn", "skorch"}
    assert {name for name in newest if newest[name] != oldest.get(name)} == old
    for name in old:
        assert f"{oldest[name]}.".startswith(f"{lower_bounds()[name]}.")
    lowest = lower_bounds()["torch"]
    assert f"\nOLDEST_TORCH := {lowest}." in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("page", PROSE, ids=lambda path: path.name)
def test_prose_names_the_versions_of_pyproject(page):
    text = page.read_text()
    bounds = {"Python": PROJECT["requires-python"].removeprefix(">="), **lower_bounds()}
    stated = {
        name: lowest
        for name in bounds
        for lowest in re.findall(rf"\b{name} *(?:>=|≥) *([\d.]*\d)", text, flags=re.IGNORECASE)
    }
    assert {"Python", "scikit-learn", "torch"} <= stated.keys()
    assert stated.items() <= bounds.items()


@pytest.mark.parametrize("page", PROSE, ids=lambda path: path.name)
def test_prose_names_only_extras_that_exist(page):
    named = re.findall(r"(?:sklflat|\.)\[([\w,]+)\]", page.read_text())
    assert {extra for names in named for extra in names.split(",")} <= PROJECT[
        "optional-dependencies"
    ].keys()


def test_the_citation_and_the_package_agree_on_the_version():
    stated = re.findall(r"^ *version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert stated == [sklflat.__version__]


def version(text: str) -> tuple[int, ...]:
    """Read a release number as a tuple that sorts."""
    return tuple(int(part) for part in text.split("."))


def test_the_front_door_lists_what_is_public_and_nothing_else():
    listed = dir(sklflat)
    assert {"SAMClassifier", "datasets", "probing", "testing"} <= set(listed)
    assert not {"Any", "TYPE_CHECKING", "import_module"} & set(listed)
    code = "import sklflat; print(sklflat.datasets.__name__, sklflat.testing.check_probe.__name__)"
    assert run_python(code) == "sklflat.datasets check_probe"
    rooms = {p.parent.name for p in (ROOT / "sklflat").glob("[a-z]*/__init__.py")}
    assert rooms <= set(listed)


@pytest.mark.slow
def test_a_script_beside_a_clone_can_import_the_package(tmp_path):
    """The clone's folder has the package's name, and is first on the path of such a script."""
    clone, packages = tmp_path / "sklflat", tmp_path / "packages"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sklflat", clone / "sklflat", ignore=ignored)
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone / name)
    # what `pip install -e` builds, unpacked by hand: pip would replace what is installed here
    build = f"from setuptools.build_meta import build_editable; build_editable({str(tmp_path)!r})"
    run = {"capture_output": True, "text": True, "check": True}
    subprocess.run([sys.executable, "-c", build], cwd=clone, **run)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(packages)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'Editable' not in repr(f)]\n"
        "import os; own = os.path.join('sklflat', '__init__.py')\n"  # what this runs from
        "sys.path[:] = [p for p in sys.path if not os.path.exists(os.path.join(p, own))]\n"
        f"import site; site.addsitedir({str(packages)!r})\n"
        "import sklflat; from sklflat import SAMClassifier; print(sklflat.__file__)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([sys.executable, str(script)], env=environment, cwd=tmp_path, **run)
    assert Path(done.stdout.strip()) == clone / "sklflat" / "__init__.py"
