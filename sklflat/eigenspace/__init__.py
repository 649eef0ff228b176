"""Technique 4: the eigenspace of the curvature, and how neurons lie in it."""

from sklflat.eigenspace.display import SpectrumDisplay
from sklflat.eigenspace.monitor import CurvatureMonitor
from sklflat.eigenspace.spectrum import HessianSpectrum

__all__ = ["CurvatureMonitor", "HessianSpectrum", "SpectrumDisplay"]
