"""REPAIR: networks between two others get back the variance that their units have lost."""

from sklflat.paths.repair.repair import Repair, repaired, repaired_losses

__all__ = ["Repair", "repaired", "repaired_losses"]
