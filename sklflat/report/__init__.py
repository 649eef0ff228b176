"""One page on networks: what is real in them, what is degenerate, and how sure that is.

:class:`MinimaReport` is loaded on first use, as it needs PyTorch, and the command line does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name != "MinimaReport":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.report").MinimaReport
