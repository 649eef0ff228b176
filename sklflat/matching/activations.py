"""Permutations by what units do: the correlation of their activations on data."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sklflat.matching.assignment import Counted, best_order, parts_of
from sklflat.matching.result import Matching
from sklflat.networks.state import check_state
from sklflat.symmetry.activation_recorder import ActivationTaps, Columns
from sklflat.symmetry.module_runs import check_rows
from sklflat.symmetry.symmetry import Group, Symmetry

State = Mapping[str, Tensor]

#: variance of an activation, relative to its mean square, below which it is constant
_ROUNDING = 1e-20


class _Moments:
    """Means, variances and cross-products of two sets of columns, from batches of rows.

    Merged by Chan's formula, so that neither a large mean nor the size of batches matters.
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean: list[NDArray] = []
        self.squares: list[NDArray] = []
        self.cross: NDArray = np.zeros((0, 0))

    def add(self, a: NDArray, b: NDArray) -> None:
        n, means = len(a), [a.mean(0), b.mean(0)]
        centred = [x - m for x, m in zip((a, b), means, strict=True)]
        squares = [np.square(x).sum(0) for x in centred]
        cross = centred[0].T @ centred[1]
        if not self.n:
            self.n, self.mean, self.squares, self.cross = n, means, squares, cross
            return
        share = self.n * n / (self.n + n)
        moved = [m - old for m, old in zip(means, self.mean, strict=True)]
        self.cross += cross + share * np.outer(*moved)
        for i in (0, 1):
            self.squares[i] += squares[i] + share * np.square(moved[i])
            self.mean[i] = self.mean[i] + moved[i] * n / (self.n + n)
        self.n += n

    def correlation(self) -> NDArray:
        """Pearson's; 0 for columns that are constant."""
        scale = []
        for mean, squares in zip(self.mean, self.squares, strict=True):
            lives = squares > _ROUNDING * (squares + self.n * np.square(mean))
            scale.append(np.where(lives, 1 / np.sqrt(np.where(lives, squares, 1)), 0.0))
        return scale[0][:, None] * self.cross * scale[1]


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
        self._moments: list[_Moments] = []

    def update(self, a: Columns, b: Columns) -> None:
        """Take in what both networks do on the same rows.

        Parameters
        ----------
        a, b : list of (Tensor of shape (k,), Tensor of shape (rows, k))
            From :class:`~sklflat.symmetry.activation_recorder.ActivationTaps`: classes and values.
        """
        if not self._classes:
            self._classes = [classes.numpy() for classes, _ in a]
            self._moments = [_Moments() for _ in a]
        for moments, (_, x), (_, y) in zip(self._moments, a, b, strict=True):
            moments.add(x.double().numpy(), y.double().numpy())

    def gains(self, group: Group) -> list[NDArray]:
        """Summed correlations (n, n) of the classes of every part of a group.

        Of the first network's class in the row with the second's in the column. Where a class has
        several columns, those of the same rank are compared.
        """
        parts = parts_of(group)
        place = np.full(self.symmetry.n_classes, -1)
        of = np.full(self.symmetry.n_classes, -1)
        for number, classes in enumerate(parts):
            place[classes], of[classes] = np.arange(len(classes)), number
        gains = [np.zeros((len(classes), len(classes))) for classes in parts]
        for classes, moments in zip(self._classes, self._moments, strict=True):
            present = np.flatnonzero(of[classes] >= 0)
            if not len(present):
                continue
            R = moments.correlation()
            rank = _ranks(classes)
            for number in np.unique(of[classes[present]]):
                for r in np.unique(rank[present]):
                    columns = np.flatnonzero((of[classes] == number) & (rank == r))
                    at = place[classes[columns]]
                    gains[number][np.ix_(at, at)] += R[np.ix_(columns, columns)]
        return gains


def _ranks(classes: NDArray) -> NDArray:
    """How many columns of the same class there are before each."""
    order = np.argsort(classes, kind="stable")
    _, counts = np.unique(classes, return_counts=True)
    rank = np.empty_like(order)
    rank[order] = np.concatenate([np.arange(n) for n in counts])
    return rank


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
        Its objective is the sum of correlations over all taps.

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
            place = np.full(symmetry.n_classes, -1)
            place[classes] = np.arange(len(classes))
            total += float(gain[np.arange(len(classes)), place[perm[classes].numpy()]].sum())
    return Matching(
        perm=perm,
        objective=total,
        objective_identity=before,
        upper_bound=float("inf"),
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
    taps, gram = ActivationTaps(module, symmetry), ActivationGram(symmetry)
    for x in X.split(batch_size or taps.rows_at_once(X)):
        gram.update(taps(x, dict(a)), taps(x, dict(b)))
    return match_activations(gram)
