"""REPAIR: the moments of hidden units, restored in networks between two others."""

from sklflat.paths.repair.repair import Repair, repaired, repaired_losses

__all__ = ["Repair", "repaired", "repaired_losses"]
