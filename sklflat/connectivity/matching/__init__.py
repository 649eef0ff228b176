"""Permutations that align the units of two networks, or of several."""

from sklflat.connectivity.matching.result import Matching
from sklflat.connectivity.matching.weights import match_weights

__all__ = ["Matching", "match_weights"]
