"""Sphinx configuration: numpydoc for the reference, sphinx-gallery for examples, MyST for prose.

Three extensions of ``docs/extensions`` run the blocks of the pages and show what they print and
draw, write formulas as MathML, and write a Markdown page beside every HTML page.
"""

import sys
from pathlib import Path

import sklflat

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

project = "sklflat"
author = "The sklflat developers"
project_copyright = f"2026, {author}"
version = release = sklflat.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "executed_blocks",
    "markdown_pages",
    "mathml",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_generated", "auto_examples/**.ipynb", "**/GALLERY_HEADER.rst"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc sections already say the types
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "matplotlib_animations": False,
    "show_memory": False,
    "reference_url": {"sklflat": None},
    "doc_module": ("sklflat",),
    "backreferences_dir": "api/backreferences",
    "min_reported_time": 5,
    "write_computation_times": False,  # a page that loads scripts from elsewhere
}

html_theme = "pydata_sphinx_theme"
html_title = "sklflat"
html_theme_options = {
    "header_links_before_dropdown": 5,
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "show_toc_level": 2,
}
# pages without others below them have nothing to navigate to
html_sidebars = {name: [] for name in ("comparison", "getting_started", "install", "tutorial")}
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["sklflat.css"]
html_show_sourcelink = False
copybutton_selector = "div:not(.output):not(.sphx-glr-script-out) > div.highlight > pre"
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
llms_summary = (
    "scikit-learn estimators that train networks towards flat minima, and that ask a trained "
    "network which of its parts are more than an accident of the minimum where training stopped."
)


def skip_inherited_machinery(app, what, name, obj, skip, options):
    """Leave out what scikit-learn and torch define: their own pages describe it."""
    module = getattr(obj, "__module__", None) or ""
    return True if name.startswith("set_") or module.startswith(("sklearn.", "torch.")) else None


def collect_benchmarks(app):
    """Put the tables that the benchmarks wrote on one page, each one heading level down."""
    tables = sorted((HERE.parent / "benchmarks" / "results").glob("*.md"))
    pages = [table.read_text().replace("# ", "## ", 1) for table in tables]
    (HERE / "_generated" / "benchmarks.md").write_text("\n\n".join(pages) or "*None yet.*\n")


def setup(app):
    """Register what the configuration needs of Sphinx."""
    app.connect("builder-inited", collect_benchmarks)
    app.connect("autodoc-skip-member", skip_inherited_machinery)


# properties that come from scikit-learn's classes refer to terms of its glossary
suppress_warnings = ["ref.term"]
