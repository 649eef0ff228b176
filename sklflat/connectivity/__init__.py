"""Mode connectivity: networks aligned by their symmetries, and the paths between them."""

from sklflat.connectivity.symmetry import Group, Symmetry

__all__ = ["Group", "Symmetry"]
