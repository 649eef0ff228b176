"""Show what the Python blocks of a page print and draw.

Every page runs in an interpreter of its own, so a block depends on the blocks above it and on
nothing else. What a page shows is kept in ``docs/_build/executed`` under a hash of its blocks and
of the package, and a page is run again only if one of these has changed.

Blocks of prompts (``>>>``) have their output written below them already and are left alone.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from sphinx.errors import ExtensionError

RUNNER = Path(__file__).with_name("run_page.py")
FENCE = re.compile(r"^```python\n(.*?)^```\n?", flags=re.MULTILINE | re.DOTALL)
#: a page that is part of another, between two comments of it
INCLUDE = re.compile(
    r"^```\{include\} (\S+)\n:start-after: (.+)\n:end-before: (.+)\n```\n", flags=re.MULTILINE
)
#: results change with these
LIBRARIES = ("matplotlib", "numpy", "pandas", "scikit-learn", "scipy", "skorch", "torch")


def expand(text: str, folder: Path) -> str:
    """Put the named part of another page in the place of its directive."""

    def part(found: re.Match) -> str:
        other = (folder / found[1]).read_text()
        return other.partition(found[2].strip())[2].partition(found[3].strip())[0].strip() + "\n"

    return INCLUDE.sub(part, text)


def sources(text: str) -> list[str]:
    """List the blocks of a page that are run."""
    return [block for block in FENCE.findall(text) if not block.lstrip().startswith(">>>")]


def package_key(package: Path) -> str:
    """Hash of the package's code, of what runs a page, and of the libraries' versions."""
    found = hashlib.sha256(RUNNER.read_bytes())
    for path in sorted(package.rglob("*.py")):
        found.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes() + b"\0")
    found.update(repr([version(name) for name in LIBRARIES]).encode())
    return found.hexdigest()


def page_key(blocks: list[str], package: str) -> str:
    """Hash under which the result of a page is kept."""
    return hashlib.sha256(json.dumps([package, blocks]).encode()).hexdigest()[:24]


def run_page(page: str, blocks: list[str], root: Path) -> list[dict]:
    """Run the blocks of a page in an empty directory and a fresh interpreter."""
    environment = {**os.environ, "PYTHONPATH": str(root), "MPLBACKEND": "Agg"}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            [sys.executable, str(RUNNER)],
            input=json.dumps({"page": page, "sources": blocks}),
            cwd=empty,
            env=environment,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise ExtensionError(f"A block of {page} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout)


def kept_or_run(page: str, blocks: list[str], root: Path, kept: Path, package: str) -> list[dict]:
    """Return what the blocks show: as kept, or by running them; older results are removed."""
    path = kept / f"{page.replace('/', '-')}.{page_key(blocks, package)}.json"
    if not path.exists():
        shown = run_page(page, blocks, root)
        kept.mkdir(parents=True, exist_ok=True)
        for old in kept.glob(f"{page.replace('/', '-')}.*.json"):
            old.unlink()
        path.write_text(json.dumps(shown))
    return json.loads(path.read_text())


def with_outputs(text: str, shown: list[dict], name: str, images: Path, url: str) -> str:
    """Put what was printed and drawn below each block of a page."""
    images.mkdir(parents=True, exist_ok=True)
    results = iter(shown)
    count = 0

    def below(found: re.Match) -> str:
        nonlocal count
        if found[1].lstrip().startswith(">>>"):
            return found[0]
        result, parts = next(results), [found[0].rstrip("\n")]
        if result["text"].strip():
            fence = "`" * 4
            printed = result["text"].rstrip()
            parts.append(f"{fence}{{code-block}} text\n:class: output\n\n{printed}\n{fence}")
        for figure in result["figures"]:
            file = f"{name.replace('/', '-')}-{count}.png"
            count += 1
            (images / file).write_bytes(base64.b64decode(figure["png"]))
            alt = figure["alt"].replace("\n", " ")
            parts.append(f"````{{image}} {url}/{file}\n:alt: {alt}\n:class: output\n````")
        return "\n\n".join(parts) + "\n"

    return FENCE.sub(below, text)


def run_pages(app):
    """Run every page whose result is not kept, some at a time."""
    docs, root = Path(app.srcdir), Path(app.config.executed_root or Path(app.srcdir).parent)
    package = package_key(root / "sklflat")
    pages = {}
    for path in sorted(docs.rglob("*.md")):
        name = path.relative_to(docs).with_suffix("").as_posix()
        if not name.startswith("_"):
            pages[name] = sources(expand(path.read_text(), path.parent))
    pages = {name: blocks for name, blocks in pages.items() if blocks}
    kept = docs / "_build" / "executed"
    with ThreadPoolExecutor(app.config.executed_workers) as pool:
        run = {n: pool.submit(kept_or_run, n, b, root, kept, package) for n, b in pages.items()}
        app.executed_pages = {name: future.result() for name, future in run.items()}


def show(app, docname, source):
    """Sphinx's event ``source-read``: add the outputs to a page's text."""
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".md":
        return
    text = expand(source[0], path.parent)
    if docname in app.executed_pages:
        images = Path(app.srcdir) / "_generated" / "executed"
        text = with_outputs(
            text, app.executed_pages[docname], docname, images, "/_generated/executed"
        )
    source[0] = text


def stale(app, env, added, changed, removed):
    """Read again what may show something else: all pages that were run."""
    return [name for name in app.executed_pages if name in env.found_docs]


def setup(app):
    """Register with Sphinx."""
    app.add_config_value("executed_workers", 2, "")
    app.add_config_value("executed_root", None, "")
    app.connect("builder-inited", run_pages)
    app.connect("env-get-outdated", stale)
    app.connect("source-read", show)
    return {"parallel_read_safe": True}
