"""One page on networks: what is real in them, what is degenerate, and how sure that is."""

from sklflat.report.codes import CODES, Code
from sklflat.report.parts import (
    Comparison,
    Finding,
    Page,
    Picture,
    Quantity,
    Section,
    UnitTable,
)
from sklflat.report.report import MinimaReport

__all__ = [
    "CODES",
    "Code",
    "Comparison",
    "Finding",
    "MinimaReport",
    "Page",
    "Picture",
    "Quantity",
    "Section",
    "UnitTable",
]
