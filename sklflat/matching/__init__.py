"""Permutations that align the units of two networks, or of several.

Units are permuted and nothing else: the scales of ReLU units, which a network's function leaves
free, are not matched. Matching by activations does not depend on them, matching by weights does.
"""

from sklflat.matching.activations import (
    ActivationGram,
    match_activations,
    match_by_activations,
)
from sklflat.matching.result import Matching
from sklflat.matching.several_networks import match_many
from sklflat.matching.straight_through import match_straight_through
from sklflat.matching.transport import match_transport
from sklflat.matching.weights import match_weights

__all__ = [
    "ActivationGram",
    "Matching",
    "match_activations",
    "match_by_activations",
    "match_many",
    "match_straight_through",
    "match_transport",
    "match_weights",
]
