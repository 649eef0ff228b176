"""Mode connectivity: networks aligned by their symmetries, and the paths between them."""

from sklflat.connectivity.display import PathDisplay, PlaneDisplay
from sklflat.connectivity.probe import ModeConnectivityProbe
from sklflat.symmetry.discovery import find_symmetry
from sklflat.symmetry.symmetry import Group, Symmetry

__all__ = [
    "Group",
    "ModeConnectivityProbe",
    "PathDisplay",
    "PlaneDisplay",
    "Symmetry",
    "find_symmetry",
]
