"""Run the notebooks of ``examples/notebooks`` and keep what their cells show in them.

python docs/execute_notebooks.py
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "examples" / "notebooks"
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "extensions")]


def sources(notebook: dict) -> list[str]:
    """List the sources of the code cells."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(shown: dict) -> list[dict]:
    """Write what one cell shows as a notebook does."""
    kept = []
    if shown["text"]:
        lines = shown["text"].splitlines(keepends=True)
        kept.append({"name": "stdout", "output_type": "stream", "text": lines})
    for figure in shown["figures"]:
        data = {"image/png": figure["png"] + "\n", "text/plain": [figure["alt"]]}
        kept.append({"data": data, "metadata": {}, "output_type": "display_data"})
    return kept


def execute(path: Path) -> dict:
    """Run a notebook from top to bottom; return it with its outputs."""
    import run_page

    run_page.DPI = 70
    notebook = json.loads(path.read_text())
    results = iter(run_page.run(sources(notebook), path.stem))
    for number, cell in enumerate(c for c in notebook["cells"] if c["cell_type"] == "code"):
        cell["execution_count"] = number + 1
        cell["outputs"] = outputs(next(results))
    return notebook


def main() -> None:
    """Rewrite every notebook."""
    import matplotlib

    matplotlib.use("Agg")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        path.write_text(json.dumps(execute(path), indent=1, ensure_ascii=False) + "\n")
        print(path.name)


if __name__ == "__main__":
    main()
