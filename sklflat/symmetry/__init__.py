"""Permutation symmetry of any module: found by running it once, and verified."""

from sklflat.symmetry.discovery import find_symmetry
from sklflat.symmetry.symmetry import Group, Symmetry

__all__ = ["Group", "Symmetry", "find_symmetry"]
