"""The eigenspace of a network's Hessian, and how its units lie in it."""

from sklflat.eigenspace.display import SpectrumDisplay
from sklflat.eigenspace.monitor import CurvatureMonitor
from sklflat.eigenspace.spectrum import HessianSpectrum

__all__ = ["CurvatureMonitor", "HessianSpectrum", "SpectrumDisplay"]
