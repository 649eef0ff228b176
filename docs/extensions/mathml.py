"""Formulas as MathML, which browsers draw themselves: no script, no network, for all readers."""

import html
import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


#: what docutils does not know, and what says the same; brackets grow by themselves
SAME = {r"\\[bB]igg?(?![a-zA-Z])": "", r"\\dots(?![a-zA-Z])": r"\\ldots"}


def understood(formula: str) -> str:
    """Write a formula in the commands that docutils knows; equations apart are lines of one."""
    for pattern, same in SAME.items():
        formula = re.sub(pattern, same, formula)
    equations = [part for part in re.split(r"\n\s*\n", formula.strip()) if part]
    formula = r" \\ ".join(equations)
    if "\\\\" in formula and "\\begin" not in formula:
        formula = rf"\begin{{aligned}}{formula}\end{{aligned}}"
    return formula


def mathml(node: nodes.Element, as_block: bool) -> str:
    """Translate a formula; one that cannot be is shown as it is written, with a warning."""
    formula = node.astext()
    try:
        return tex2mathml(understood(formula), as_block=as_block)
    except Exception as error:
        LOGGER.warning("formula %r: %s", formula, error, location=node)
        return f"<code>{html.escape(formula)}</code>"


def visit_inline(translator, node):
    """Write a formula within a sentence."""
    translator.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def visit_block(translator, node):
    """Write a formula on a line of its own."""
    translator.body.append(f'<div class="formula">{mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app):
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True}
