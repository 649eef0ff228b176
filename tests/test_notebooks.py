"""The notebooks run from top to bottom, and hold what their cells show."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
sys.path.insert(0, str(ROOT / "docs"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_kept_and_small(path):
    cells = json.loads(path.read_text())["cells"]
    assert all(cell["outputs"] for cell in cells if "print(" in "".join(cell["source"]))
    assert path.stat().st_size < 100_000


def test_there_are_two_notebooks():
    assert len(NOTEBOOKS) >= 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_as_many_things(path):
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib").use("Agg")
    import execute_notebooks

    def kinds(notebook):
        cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
        return [[output["output_type"] for output in cell["outputs"]] for cell in cells]

    assert kinds(execute_notebooks.execute(path)) == kinds(json.loads(path.read_text()))
