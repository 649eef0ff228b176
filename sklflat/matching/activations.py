"""Permutations by what units do: the correlation of their activations on data."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklflat.matching.assignment import Counted, best_order, parts_of, positions, ranks
from sklflat.matching.result import Matching
from sklflat.networks.moments import RunningMoments
from sklflat.networks.state import State, check_state
from sklflat.symmetry.activation_recorder import ActivationRecorder, Columns
from sklflat.symmetry.module_runs import check_rows
from sklflat.symmetry.symmetry import Group, Symmetry

#: variance of an activation, relative to its mean square, below which it is constant
_ROUNDING = 1e-20


class _Correlation:
    """Pearson's correlation of two sets of columns, from batches of rows."""

    def __init__(self) -> None:
        self.a, self.b = RunningMoments(), RunningMoments()
        self.products: Tensor | float = 0.0

    def add(self, a: Tensor, b: Tensor) -> None:
        self.products = self.products + self.a.add(a).T @ self.b.add(b)

    def value(self) -> NDArray:
        """0 for columns that are constant."""
        scales = []
        for own in (self.a, self.b):
            constant = own.squares <= _ROUNDING * (own.squares + own.n * own.mean.square())
            scales.append(torch.where(constant, 0.0, own.squares.rsqrt()))
        return (scales[0][:, None] * self.products * scales[1]).numpy()


class ActivationGram:
    """Correlations between the classes of units of two networks, gathered batch by batch.

    Parameters
    ----------
    symmetry : Symmetry

    Examples
    --------
    >>> import torch
    >>> from sklflat.symmetry import Group, Symmetry
    >>> from sklflat.matching import ActivationGram
    >>> units = torch.arange(2)
    >>> gram = ActivationGram(Symmetry(2, (Group("W[0]", units),), {"W": (units[:, None],)}))
    >>> a = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 2.0]])
    >>> gram.update([(units, a)], [(units, a.flip(1))])
    >>> gram.gains(gram.symmetry.groups[0])[0].round(6)
    array([[0., 1.],
           [1., 0.]])
    """

    def __init__(self, symmetry: Symmetry) -> None:
        self.symmetry = symmetry
        self._classes: list[NDArray] = []
        self._correlations: list[_Correlation] = []

    def update(self, a: Columns, b: Columns) -> None:
        """Take in what both networks do on the same rows.

        Parameters
        ----------
        a, b : list of (Tensor of shape (k,), Tensor of shape (rows, k))
            The classes of some columns and their values, at every recording point.
        """
        if not self._classes:
            self._classes = [classes.numpy() for classes, _ in a]
            self._correlations = [_Correlation() for _ in a]
        for correlation, (_, x), (_, y) in zip(self._correlations, a, b, strict=True):
            correlation.add(x.double(), y.double())

    def gains(self, group: Group) -> list[NDArray]:
        """Summed correlations (n, n) of the classes of every part of a group.

        Of the first network's class in the row with the second's in the column. Where a class has
        several columns, those of the same rank are compared.
        """
        parts = parts_of(group)
        position = np.full(self.symmetry.n_classes, -1)
        part_of = np.full(self.symmetry.n_classes, -1)
        for number, classes in enumerate(parts):
            position[classes], part_of[classes] = np.arange(len(classes)), number
        gains = [np.zeros((len(classes), len(classes))) for classes in parts]
        for classes, correlation in zip(self._classes, self._correlations, strict=True):
            present = np.flatnonzero(part_of[classes] >= 0)
            if not len(present):
                continue
            R = correlation.value()
            rank = ranks(classes)
            for number in np.unique(part_of[classes[present]]):
                for r in np.unique(rank[present]):
                    columns = np.flatnonzero((part_of[classes] == number) & (rank == r))
                    at = position[classes[columns]]
                    gains[number][np.ix_(at, at)] += R[np.ix_(columns, columns)]
        return gains


def match_activations(gram: ActivationGram) -> Matching:
    """Permute the second network so that its units correlate most with the first's.

    Every group is one linear assignment problem (or one of assignment problems, for blocks such
    as heads), which does not depend on the others [1]_ [2]_.

    Parameters
    ----------
    gram : ActivationGram

    Returns
    -------
    Matching
        Its objective is the sum of correlations over all recording points.

    References
    ----------
    .. [1] Y. Li et al., "Convergent learning: Do different neural networks learn the same
       representations?", ICLR 2016. https://arxiv.org/abs/1511.07543
    .. [2] N. Tatro et al., "Optimizing mode connectivity via neuron alignment", NeurIPS 2020.
       https://arxiv.org/abs/2009.02439
    """
    symmetry, solve = gram.symmetry, Counted()
    perm = symmetry.identity()
    total = before = 0.0
    for group in symmetry.groups:
        gains = gram.gains(group)
        order, inner = best_order(group, gains, solve)
        perm = group.place(perm, order, inner)
        before += sum(float(np.trace(gain)) for gain in gains)
        for classes, gain in zip(parts_of(group), gains, strict=True):
            matched = positions(classes, symmetry.n_classes)[perm[classes].numpy()]
            total += float(gain[np.arange(len(classes)), matched].sum())
    return Matching(
        perm=perm,
        objective=total,
        objective_identity=before,
        objectives=(total,),
        n_sweeps=1,
        n_assignments=solve.n_calls,
    )


def match_by_activations(
    symmetry: Symmetry,
    module: nn.Module,
    a: State,
    b: State,
    X: Tensor,
    *,
    batch_size: int | None = None,
) -> Matching:
    """:func:`match_activations` of two networks on data.

    Parameters
    ----------
    symmetry : Symmetry
    module : torch.nn.Module
        Of the architecture; a copy in float64 is used.
    a, b : mapping of str to Tensor
        States of the two networks.
    X : Tensor of shape (n, ...)
    batch_size : int, default=None
        Rows in flight at once; it does not change the result. None: as many as 256 MiB hold.

    Returns
    -------
    Matching

    Raises
    ------
    TypeError
        If a or b is no state, or X no tensor.
    ValueError
        If a state has entries that are not finite, or X has no rows.
    """
    check_state(a, "a", finite=None)
    check_state(b, "b", finite=None)
    check_rows(X)
    recorder, gram = ActivationRecorder(module, symmetry), ActivationGram(symmetry)
    for x in X.split(batch_size or recorder.rows_at_once(X)):
        gram.update(recorder(x, dict(a)), recorder(x, dict(b)))
    return match_activations(gram)
