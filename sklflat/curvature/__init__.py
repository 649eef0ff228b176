"""Numerics on a network's loss surface, without scikit-learn."""

from sklflat.curvature.density import SpectralDensity, spectral_density
from sklflat.curvature.displacements import (
    Displacements,
    InSubspace,
    NullOfInputs,
    Spread,
    normal,
    orthonormal,
)
from sklflat.curvature.eigenpairs import Eigenpairs, eigenpairs
from sklflat.curvature.fisher import Fisher, GradientCovariance
from sklflat.curvature.gauss_newton import GaussNewton
from sklflat.curvature.gauss_newton_factor import GaussNewtonFactor
from sklflat.curvature.hessian import Hessian
from sklflat.curvature.lanczos import lanczos_quadrature
from sklflat.curvature.landscape import Landscape
from sklflat.curvature.network_operator import NetworkOperator
from sklflat.curvature.noise_gauge import NoiseGauge, Rise
from sklflat.curvature.operator import CurvatureOperator, MatrixOperator, ScaledOperator
from sklflat.curvature.power_iteration import power_iteration, stochastic_power_iteration
from sklflat.curvature.sharpness import sharpness
from sklflat.curvature.spectral_measures import SpectralMeasures, block_measures
from sklflat.curvature.subspace import (
    Subspace,
    principal_angles,
    retained_energy,
    subspace_overlap,
)
from sklflat.curvature.trace import TraceEstimate, hutch_plus_plus, hutchinson, xtrace

__all__ = [
    "CurvatureOperator",
    "Displacements",
    "Eigenpairs",
    "Fisher",
    "GaussNewton",
    "GaussNewtonFactor",
    "GradientCovariance",
    "Hessian",
    "InSubspace",
    "Landscape",
    "MatrixOperator",
    "NetworkOperator",
    "NoiseGauge",
    "NullOfInputs",
    "Rise",
    "ScaledOperator",
    "SpectralDensity",
    "SpectralMeasures",
    "Spread",
    "Subspace",
    "TraceEstimate",
    "block_measures",
    "eigenpairs",
    "hutch_plus_plus",
    "hutchinson",
    "lanczos_quadrature",
    "normal",
    "orthonormal",
    "power_iteration",
    "principal_angles",
    "retained_energy",
    "sharpness",
    "spectral_density",
    "stochastic_power_iteration",
    "subspace_overlap",
    "xtrace",
]
