"""Mode connectivity: networks aligned by their symmetries, and the paths between them."""

from sklflat.connectivity.find import find_symmetry
from sklflat.connectivity.symmetry import Group, Symmetry

__all__ = ["Group", "Symmetry", "find_symmetry"]
