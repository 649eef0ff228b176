"""What is released installs into an empty environment and works there."""

import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from pathlib import Path

import pytest

import sklflat
from tests.test_package import pins

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTALL = (ROOT / "docs" / "install.md").read_text()


def test_the_changelog_has_a_section_of_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[{re.escape(sklflat.__version__)}\]", changelog, re.MULTILINE)
    assert f"sklflat-{sklflat.__version__}-py3-none-any.whl" in INSTALL


def test_the_command_is_the_module():
    assert PYPROJECT["scripts"] == {"sklflat": "sklflat.__main__:main"}


def test_every_extra_is_on_the_page_and_no_other():
    listed = re.findall(r"^\| `(\w+)` \|", INSTALL, re.MULTILINE)
    assert sorted(listed) == sorted(PYPROJECT["optional-dependencies"])


@pytest.mark.parametrize("constraints", ["constraints.txt", "constraints-oldest.txt"])
def test_the_page_says_what_is_tested(constraints):
    (row,) = (line for line in INSTALL.splitlines() if f"| `{constraints}` |" in line)
    stated = dict(re.findall(r"(?<![\w-])([a-z][a-z-]+) (\d[\d.]*\d)", row))
    assert stated
    assert stated.items() <= pins(constraints).items()
    if constraints == "constraints-oldest.txt":
        lowest = dict(requirement.split(">=") for requirement in PYPROJECT["dependencies"])
        assert all(version.startswith(lowest[name]) for name, version in stated.items())


def run(*command, **settings):
    done = subprocess.run(command, capture_output=True, text=True, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist, as ``python -m build --no-isolation`` makes them."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"  # building writes into the tree that it builds
    files = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines()
    for name in files:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    code = "from setuptools import build_meta as b; b.build_sdist({0!r}); b.build_wheel({0!r})"
    run(sys.executable, "-c", code.format(str(folder)), cwd=source)
    return folder, files


@pytest.mark.slow
def test_the_wheel_passes_the_smoke_tests_in_an_empty_environment(built, tmp_path):
    (wheel,) = built[0].glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path))
    python = str(tmp_path / "bin" / "python")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", str(wheel))
    (site,) = tmp_path.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # no second torch
    smoke = str(ROOT / "tests" / "smoke.py")
    printed = run(python, "-I", smoke, cwd=tmp_path)
    assert printed == f"{sklflat.__version__} {site / 'sklflat'}\n"
    assert (tmp_path / "bin" / "sklflat").exists()


@pytest.mark.slow
def test_the_sdist_holds_what_a_contributor_needs(built):
    folder, files = built
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {f for f in files if not f.endswith((".png", ".gitignore"))}
    assert wanted - names == set()
    assert not {n for n in names if n.startswith(("docs/_build", "docs/api"))}
