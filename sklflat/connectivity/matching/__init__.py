"""Permutations that align the units of two networks, or of several."""

from sklflat.connectivity.matching.activations import (
    ActivationGram,
    match_activations,
    match_by_activations,
)
from sklflat.connectivity.matching.many import match_many
from sklflat.connectivity.matching.result import Matching
from sklflat.connectivity.matching.straight_through import match_straight_through
from sklflat.connectivity.matching.transport import match_transport
from sklflat.connectivity.matching.weights import match_weights

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
