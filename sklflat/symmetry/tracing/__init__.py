"""Run a module once and see which axes of which tensors move together.

Every index of every parameter's axis is an element of a union-find (:mod:`axis_indices`), and every
element of every tensor carries *labels* (:mod:`labels`): the axis indices that it depends on.
Operations move labels (:mod:`operations`) and merge their classes (:mod:`unification`): what is
multiplied or added element by element must be permuted alike, what is summed over may be summed in
any order. Classes that occur in the same parameters, and to which the same operations were applied,
can be exchanged (:mod:`sklflat.symmetry.grouping`). An operation that is not known pins all classes
that reach it.
"""

from sklflat.symmetry.tracing.tracer import SymmetryTracer

__all__ = ["SymmetryTracer"]
