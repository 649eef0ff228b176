"""Formulas as MathML, which browsers draw themselves: no script, no network, for all readers."""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def mathml(node: nodes.Element, as_block: bool) -> str:
    """Translate a formula; one that cannot be is shown as it is written, with a warning."""
    formula = node.astext()
    try:
        if as_block and "\\\\" in formula and "\\begin" not in formula:
            formula = rf"\begin{{aligned}}{formula}\end{{aligned}}"
        return tex2mathml(formula, as_block=as_block)
    except Exception as error:
        LOGGER.warning("formula %r: %s", formula, error, location=node)
        return f"<code>{nodes.unescape(formula)}</code>"


def visit_inline(translator, node):
    """Write a formula within a sentence."""
    translator.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def visit_block(translator, node):
    """Write a formula on a line of its own."""
    translator.body.append(f'<div class="math">{mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app):
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True}
