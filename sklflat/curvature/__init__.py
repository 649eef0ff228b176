"""Numerics on a network's loss surface, without scikit-learn."""

from sklflat.curvature.density import SpectralDensity, spectral_density
from sklflat.curvature.eigenpairs import Eigenpairs, eigenpairs
from sklflat.curvature.factor import GaussNewtonFactor
from sklflat.curvature.fisher import Fisher, GradientCovariance
from sklflat.curvature.gauss_newton import GaussNewton
from sklflat.curvature.hessian import Hessian
from sklflat.curvature.lanczos import lanczos_quadrature
from sklflat.curvature.linearised import NetworkOperator
from sklflat.curvature.measures import SpectralMeasures, block_measures
from sklflat.curvature.operator import CurvatureOperator, MatrixOperator, ScaledOperator
from sklflat.curvature.power import power_iteration, stochastic_power_iteration
from sklflat.curvature.sharpness import sharpness
from sklflat.curvature.subspace import Subspace, principal_angles, subspace_overlap
from sklflat.curvature.trace import TraceEstimate, hutch_plus_plus, hutchinson, xtrace

__all__ = [
    "CurvatureOperator",
    "Eigenpairs",
    "Fisher",
    "GaussNewton",
    "GaussNewtonFactor",
    "GradientCovariance",
    "Hessian",
    "MatrixOperator",
    "NetworkOperator",
    "ScaledOperator",
    "SpectralDensity",
    "SpectralMeasures",
    "Subspace",
    "TraceEstimate",
    "block_measures",
    "eigenpairs",
    "hutch_plus_plus",
    "hutchinson",
    "lanczos_quadrature",
    "power_iteration",
    "principal_angles",
    "sharpness",
    "spectral_density",
    "stochastic_power_iteration",
    "subspace_overlap",
    "xtrace",
]
