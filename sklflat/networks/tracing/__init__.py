"""Run a module once and see which units it has, and which parameters feed and read them.

Every tensor carries labels (:mod:`flow`): for each of its elements, the channel of each affine
operation, the unit of each layer and the row of X that it comes from. Operations are known by
name (:mod:`operations`). Most only move labels (:mod:`rules`); affine ones (:mod:`affine`) and
nonlinearities (:mod:`nonlinear`) make new ones. Where an operation is not known, labels are
dropped, never guessed.
"""

from sklflat.networks.tracing.layout import Layout
from sklflat.networks.tracing.tracer import Tracer

__all__ = ["Layout", "Tracer"]
