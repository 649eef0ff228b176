"""Technique 3: tickets, the onset of a basin, and the units that come back from there."""

from sklflat.rewinding.basin_size import BasinSize
from sklflat.rewinding.consistency import Consistency
from sklflat.rewinding.curvature_plateau import CurvaturePlateau
from sklflat.rewinding.display import BasinDisplay
from sklflat.rewinding.dose_display import DoseDisplay
from sklflat.rewinding.onset import Instability, OnsetCurve, step_grid
from sklflat.rewinding.onset_search import find_onset
from sklflat.rewinding.parent import Parent
from sklflat.rewinding.pruning import PrunableLayers, read_masks, write_masks
from sklflat.rewinding.rewinder import BasinRewinder

__all__ = [
    "BasinDisplay",
    "BasinRewinder",
    "BasinSize",
    "Consistency",
    "CurvaturePlateau",
    "DoseDisplay",
    "Instability",
    "OnsetCurve",
    "Parent",
    "PrunableLayers",
    "find_onset",
    "read_masks",
    "step_grid",
    "write_masks",
]
