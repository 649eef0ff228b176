"""Findings: from numbers to what is said of them, one function a code."""

from sklflat.report.findings.minima import (
    at_rest,
    flat_minimum,
    flatter_than_first,
    one_valley,
    ticket,
)
from sklflat.report.findings.predictions import (
    better_than_constant,
    class_hierarchy,
    estimators_differ,
    honest_confidence,
    tree_stands_for_network,
)
from sklflat.report.findings.thresholds import (
    BARRIER,
    FAITHFUL,
    FEWEST_ROWS,
    FLAT,
    LEVEL,
    MOST,
    RADIUS,
    SHARP,
    TICKET,
)
from sklflat.report.findings.units import (
    dead_units,
    harmful_units,
    more_units_than_needed,
    needed_units,
    units_come_back,
    units_know_target,
)

__all__ = [
    "BARRIER",
    "FAITHFUL",
    "FEWEST_ROWS",
    "FLAT",
    "LEVEL",
    "MOST",
    "RADIUS",
    "SHARP",
    "TICKET",
    "at_rest",
    "better_than_constant",
    "class_hierarchy",
    "dead_units",
    "estimators_differ",
    "flat_minimum",
    "flatter_than_first",
    "harmful_units",
    "honest_confidence",
    "more_units_than_needed",
    "needed_units",
    "one_valley",
    "ticket",
    "tree_stands_for_network",
    "units_come_back",
    "units_know_target",
]
