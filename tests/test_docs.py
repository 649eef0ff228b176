"""Every Python block of the README and the documentation runs, and says what it prints."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests._slow import slow_unless

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("[a-z]*/*.md"),
        *ROOT.glob("docs/*.md"),
    ]
)
# Pages that train many networks; each of them has a room of tests that runs the same without them.
SLOW = {
    "README.md",
    *("connectivity.md", "eigenspace.md", "flat_noise.md", "many_trainings.md", "probes.md"),
    *("faq.md", "index.md", "report.md", "tutorial.md"),
    *("rewinding.md", "surrogate.md", "temperature.md", "universality.md"),
    "when_sam_helps.md",
}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def blocks(page: Path) -> list[tuple[int, str]]:
    """List the Python blocks of a page with the line each starts at."""
    text = page.read_text()
    found = re.finditer(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)), match[1]) for match in found]


def run(page: Path) -> None:
    """Run the blocks of a page one after the other: prompts as doctests, the rest as a script."""
    namespace: dict = {"__name__": page.stem}
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for line, source in blocks(page):
        if source.lstrip().startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(
                source, namespace, page.name, str(page), line
            )
            runner.run(test, clear_globs=False)
            namespace.update(test.globs)
        else:
            exec(compile("\n" * line + source, str(page), "exec"), namespace)
    assert runner.summarize().failed == 0


@pytest.mark.parametrize(
    "page",
    slow_unless(lambda page: page.name not in SLOW, [page for page in PAGES if blocks(page)]),
    ids=lambda page: page.name,
)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    run(page)


@pytest.mark.parametrize("source", [">>> 1 + 1\n3\n", "assert False\n"])
def test_a_wrong_block_fails(source, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n```python\n{source}```\n")
    with pytest.raises(AssertionError):
        run(page)


@pytest.mark.slow
def test_the_readme_is_one_script_without_warnings(tmp_path):
    """In an empty directory, in a fresh interpreter, every warning an error."""
    script = tmp_path / "readme.py"
    script.write_text("\n".join(source for _, source in blocks(ROOT / "README.md")))
    code = (
        f"import warnings, runpy; warnings.simplefilter('error'); runpy.run_path({str(script)!r})"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Warning" not in done.stderr


def test_the_front_page_shows_every_page_of_the_guide():
    """But for the pages that are about all of them."""
    text = (ROOT / "docs" / "index.md").read_text()
    about_all = {"index", "dependent_rows", "how_time_grows", "metrics", "planted_truth"}
    pages = {page.stem for page in (ROOT / "docs" / "user_guide").glob("*.md")} - about_all
    assert {page for page in pages if f":link: user_guide/{page}\n" not in text} == set()


def test_figures_of_the_comparison_are_those_of_the_benchmarks():
    """Decimals in its tables and its prose, but for versions; what was read is not a decimal."""
    results = "".join(p.read_text() for p in (ROOT / "benchmarks" / "results").glob("*.md"))
    page = (ROOT / "docs" / "comparison.md").read_text()
    figures = re.findall(r"(?<![\w.])[-+]?\d+\.\d+(?:e-\d+)?(?![\w.])", page)
    assert len(figures) > 25
    assert [figure for figure in figures if figure not in results] == []
