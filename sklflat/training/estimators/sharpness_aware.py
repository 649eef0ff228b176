"""What the sharpness-aware estimators share."""

from typing import Any

from sklflat.training.estimators.parameters import make_perturbation
from sklflat.training.perturbations import Perturbation


class SharpnessAware:
    """Takes its perturbation from ``variant`` and ``rho``."""

    variant: Any
    rho: float | None

    def _make_perturbation(self) -> Perturbation:
        return make_perturbation(self.variant, self.rho)
