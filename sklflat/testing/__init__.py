"""Checks for those who add a probe or a perturbation, in the shape of scikit-learn's own."""

from sklflat.testing.checks import checks_of, parametrize_with_checks
from sklflat.testing.perturbations import check_perturbation
from sklflat.testing.probes import check_probe

__all__ = ["check_perturbation", "check_probe", "checks_of", "parametrize_with_checks"]
