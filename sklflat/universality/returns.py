"""Largest correlations of units with those of other networks, from one pass over the rows."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklflat.metrics.consistency import largest_correlations
from sklflat.metrics.streamed_correlation import StreamedCorrelation
from sklflat.universality.networks import UnitsOf

#: parts of the rows for the cross-validated share of variance
N_FOLDS = 5
#: entries of the matrices of products in memory at once, values of units in a batch of rows, and
#: values of units that are kept for all rows
_MAX_PRODUCTS, _MAX_VALUES, _MAX_KEPT = 2**23, 2**21, 2**23
#: activations whose squares can be summed
_LARGEST = 1e140
#: penalty on coefficients of standardised units, scikit-learn's default for ``Ridge``
_ALPHA = 1.0


@dataclass(frozen=True)
class Matching:
    """What a unit's partner in another network is.

    Parameters
    ----------
    one_to_one, signed : bool
        As of :func:`~sklflat.metrics.consistency.largest_correlations`.
    within_layers : bool
        Whether it is of the same layer.
    """

    one_to_one: bool = False
    signed: bool = True
    within_layers: bool = True

    def largest(self, C: NDArray, layer_of: NDArray, other: NDArray) -> tuple[NDArray, NDArray]:
        """Largest correlations (n_units,) and partners, of correlations C and layers."""
        if not self.within_layers:
            layer_of, other = np.zeros_like(layer_of), np.zeros_like(other)
        return largest_correlations(
            C, layer_of, other, one_to_one=self.one_to_one, signed=self.signed
        )

    def of_several(self, C: NDArray, layer_of: NDArray, other: NDArray) -> NDArray:
        """Largest correlations (n_networks, n_units) of the units of several networks at once.

        C (n_networks * n_units, n_other_units) has them one network after the other.
        """
        n = len(C) // len(layer_of)
        if not self.one_to_one:  # units do not depend on each other
            return self.largest(C, np.tile(layer_of, n), other)[0].reshape(n, -1)
        return np.stack([self.largest(part, layer_of, other)[0] for part in np.split(C, n)])


@dataclass(frozen=True, eq=False)
class Held:
    """Rows that units are scored on.

    Parameters
    ----------
    X : Tensor of shape (n_samples, ...)
        As the networks read them.
    weights : ndarray of shape (n_samples,)
        Of mean 1.
    batch_size : int
    rounding : float, default=1e-12
        Of activations, as a share of the largest one: what varies by less is constant.
    """

    X: torch.Tensor
    weights: NDArray
    batch_size: int
    rounding: float = 1e-12

    def streamed(self, n_units: int, n_other_units: int) -> StreamedCorrelation:
        """Correlations on these rows, none of which is in it yet."""
        return StreamedCorrelation(n_units, n_other_units, self.rounding)

    def _at_once(self, n_units: int) -> int:
        """Rows in a batch, of so many units."""
        return max(1, min(self.batch_size, _MAX_VALUES // max(1, n_units)))

    def activations(self, networks: Collection[UnitsOf], n_units: int) -> NDArray:
        """Activations (n_samples, n_networks * n_units) of networks of as many units each."""
        found = np.empty((len(self.X), len(networks) * n_units))
        size = self._at_once(n_units)
        for k, own in enumerate(networks):
            part = found[:, k * n_units : (k + 1) * n_units]
            part[:] = own.units.activations(own.module, self.X, size).numpy()
        return found

    def batches(self, networks: Sequence[UnitsOf]) -> Iterator[tuple[list[NDArray], NDArray]]:
        """Activations (b, n_units) of several networks on the same rows, and the rows' weights."""
        size = self._at_once(sum(len(network.units) for network in networks))
        streams = [own.units.stream(own.module, self.X, size) for own in networks]
        start = 0
        for parts in zip(*streams, strict=True):
            arrays = [part.double().numpy() for part in parts]
            stop = start + len(arrays[0])
            yield arrays, self.weights[start:stop]
            start = stop


@dataclass(frozen=True, eq=False)
class Pair:
    """Moments of the units of the first network and another one, by parts of the rows.

    Parameters
    ----------
    cross : list of StreamedCorrelation
        Of the first network's units with the other's, one for each part of the rows.
    within : list of StreamedCorrelation
        Of the other's units with each other.
    layer_of, other_layer_of : ndarray of int
    """

    cross: list[StreamedCorrelation]
    within: list[StreamedCorrelation]
    layer_of: NDArray
    other_layer_of: NDArray

    @property
    def together(self) -> tuple[StreamedCorrelation, StreamedCorrelation]:
        """The moments of all rows: across the networks, and within the other one."""
        return _sum(self.cross), _sum(self.within)

    def explained(self) -> NDArray:
        r"""Share (n_units,) of each unit's variance that the other network's layer explains.

        :math:`R^2` of ridge regression on all standardised units of the same layer, fitted on the
        other parts of the rows than those that it is judged on; NaN for constant units. It may be
        negative.
        """
        errors, totals = np.zeros(len(self.layer_of)), np.zeros(len(self.layer_of))
        for k in range(len(self.cross)):
            rest = [i for i in range(len(self.cross)) if i != k]
            fit = _sum([self.cross[i] for i in rest]), _sum([self.within[i] for i in rest])
            if self.cross[k].n == 0 or fit[0].n == 0:
                continue
            for layer in np.unique(self.layer_of):
                own = np.flatnonzero(self.layer_of == layer)
                others = np.flatnonzero(self.other_layer_of == layer)
                error, total = _errors(fit, (self.cross[k], self.within[k]), own, others)
                errors[own] += error
                totals[own] += total
        found = np.full(len(errors), np.nan)
        live = self.together[0].varying & (totals > 0)
        found[live] = 1 - errors[live] / totals[live]
        return found


def _sum(parts: list[StreamedCorrelation]) -> StreamedCorrelation:
    """The moments of several parts of the rows together."""
    empty = StreamedCorrelation(*parts[0].products.shape, parts[0].rounding)
    return reduce(lambda total, part: total.merge(part), parts, empty)


def _errors(fit: Any, judged: Any, own: NDArray, others: NDArray) -> tuple[NDArray, NDArray]:
    """Sums of squares (n_own,) of what a regression leaves, and of what the mean leaves."""
    cross, within = fit
    d = np.sqrt(within.other_squares[others] / within.n)
    alive = within.other_varying[others] & (d > 0)
    others, d = others[alive], d[alive]
    S = within.products[np.ix_(others, others)] / np.outer(d, d)
    S[np.diag_indices_from(S)] += _ALPHA
    w = np.linalg.solve(S, (cross.products[np.ix_(own, others)] / d).T) / d[:, None]
    # the same sums on the rows judged, about the means of the rows fitted on
    a = judged[0].mean[own] - cross.mean[own]
    b = judged[1].other_mean[others] - within.other_mean[others]
    n = judged[0].n
    aa = judged[0].squares[own] + n * a**2
    ab = judged[0].products[np.ix_(own, others)] + n * np.outer(a, b)
    bb = judged[1].products[np.ix_(others, others)] + n * np.outer(b, b)
    return aa - 2 * (ab * w.T).sum(axis=1) + ((bb @ w) * w).sum(axis=0), aa


def pairs_with(
    first: UnitsOf, others: Sequence[UnitsOf], rows: Held, fold_of: NDArray
) -> list[Pair]:
    """Moments of a network's units with those of others, from one pass over the rows.

    ``fold_of`` (n_samples,) are parts of the rows, numbered from 0.
    """
    sizes = [len(other.units) for other in others]
    n_folds = int(fold_of.max()) + 1
    pairs = [
        Pair(
            [rows.streamed(len(first.units), size) for _ in range(n_folds)],
            [rows.streamed(size, size) for _ in range(n_folds)],
            first.units.layer_of,
            other.units.layer_of,
        )
        for other, size in zip(others, sizes, strict=True)
    ]
    start = 0
    for (A, *B), s in rows.batches([first, *others]):
        for number, values in enumerate((A, *B)):
            _check_magnitude(values[s > 0], number)
        folds = fold_of[start : start + len(A)]
        for k in np.unique(folds):
            part = folds == k
            for pair, b in zip(pairs, B, strict=True):
                pair.cross[k].update(A[part], b[part], s[part])
                pair.within[k].update(b[part], b[part], s[part])
        start += len(A)
    return pairs


def _check_magnitude(values: NDArray, number: int) -> None:
    """Raise if activations (n, n_units) of a network have no variances."""
    if not np.isfinite(values).all():
        raise ValueError(
            f"Network {number} has activations that are not finite on the rows that units are "
            "scored on, so it cannot be compared. Leave it out, or these rows."
        )
    if values.size and np.abs(values).max() > _LARGEST:
        raise ValueError(
            f"Network {number} has activations as large as {np.abs(values).max():.0e} on the rows "
            "that units are scored on, whose squares are not finite. Scale the inputs."
        )


def largest_with_pool(
    references: Collection[UnitsOf], pool: Iterable[UnitsOf], rows: Held, matching: Matching
) -> NDArray:
    """Largest correlations (n_references, n_pool, n_units) with the networks of a pool.

    References have as many units as each other. The networks of the pool are taken a few at a
    time, so that memory does not grow with them. The references' activations are kept where these
    are few numbers, and computed anew beside each part of the pool where they are many.
    """
    layer_of = next(iter(references)).units.layer_of
    n_units = len(layer_of)
    n_first = n_units * len(references)
    kept = None
    if len(rows.X) * n_first <= _MAX_KEPT:
        kept = rows.activations(references, n_units)
    found: list[NDArray] = []
    for some in _in_parts(pool, _MAX_PRODUCTS // n_first):
        ends = np.cumsum([len(own.units) for own in some])
        streamed = rows.streamed(n_first, int(ends[-1]))
        for A, B, s in _side_by_side(references, kept, some, rows):
            streamed.update(A, B, s)
        blocks = np.split(streamed.correlations, ends[:-1], axis=1)
        for own, C in zip(some, blocks, strict=True):
            found.append(matching.of_several(C, layer_of, own.units.layer_of))
    return np.stack(found, axis=1)


def _in_parts(networks: Iterable[UnitsOf], n_units: int) -> Iterator[list[UnitsOf]]:
    """The networks, one at least at a time, and no more than have so many units."""
    part: list[UnitsOf] = []
    for own in networks:
        if part and sum(len(other.units) for other in (*part, own)) > n_units:
            yield part
            part = []
        part.append(own)
    if part:
        yield part


def _side_by_side(
    references: Collection[UnitsOf], kept: NDArray | None, some: list[UnitsOf], rows: Held
) -> Iterator[tuple[NDArray, NDArray, NDArray]]:
    """Activations of the references and of some networks on the same rows, and the weights."""
    known = [] if kept is not None else list(references)
    n, start = len(known), 0
    for parts, s in rows.batches([*known, *some]):
        stop = start + len(s)
        A = np.concatenate(parts[:n], axis=1) if kept is None else kept[start:stop]
        yield A, np.concatenate(parts[n:], axis=1), s
        start = stop
