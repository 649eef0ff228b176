"""Run a module once and see which axes of which tensors move together.

Every axis of every parameter is a row of *atoms*, and so every element of every tensor carries
the atoms that it depends on (:mod:`labels`). Operations move these labels (:mod:`operations`),
and tie atoms to each other (:mod:`ties`): what is multiplied or added element by element must
move alike, what is summed over may be summed in any order. Atoms that are tied are one class
(:mod:`atoms`), and classes that play the same part can be exchanged (:mod:`grouping`): that occur
in the same parameters, and to which the same operations were applied. An operation that is not
known freezes all atoms that reach it.
"""

from sklflat.symmetry.tracing.tracer import SymmetryTracer

__all__ = ["SymmetryTracer"]
