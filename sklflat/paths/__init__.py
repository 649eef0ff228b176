"""Paths between networks: their losses, their barriers, curves trained to be low, and REPAIR."""

from sklflat.paths.barrier_table import BarrierTable
from sklflat.paths.barriers import Barriers, barrier, measure_barriers, walk_barriers
from sklflat.paths.losses import PathEvaluator, PathLosses, path_losses
from sklflat.paths.paths import BezierPath, LinearPath, Plane, PolygonalChain
from sklflat.paths.repair import Repair, repaired, repaired_losses
from sklflat.paths.trained_curves import fit_bend

__all__ = [
    "BarrierTable",
    "Barriers",
    "BezierPath",
    "LinearPath",
    "PathEvaluator",
    "PathLosses",
    "Plane",
    "PolygonalChain",
    "Repair",
    "barrier",
    "fit_bend",
    "measure_barriers",
    "path_losses",
    "repaired",
    "repaired_losses",
    "walk_barriers",
]
