"""The seven claims behind this library, each with planted truth, a null, and a verdict."""

from sklflat.claims.protocol import Comparison, DecisionRule, Protocol, protocol_hash
from sklflat.claims.verdicts import Finding, Verdict, decide, find, judge

__all__ = [
    "Comparison",
    "DecisionRule",
    "Finding",
    "Protocol",
    "Verdict",
    "decide",
    "find",
    "judge",
    "protocol_hash",
]
