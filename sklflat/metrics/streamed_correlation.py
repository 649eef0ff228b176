"""Correlations of two tables of units from batches of rows, without keeping a row."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["StreamedCorrelation"]


class StreamedCorrelation:
    r"""Correlations of every column of A with every column of B, one batch of rows after another.

    Kept are weighted means and centred sums of products, which add up by [1]_

    .. math:: M = M_1 + M_2 + \frac{n_1 n_2}{n_1 + n_2} \delta_a \delta_b^T

    with :math:`\delta` the difference of the batches' means. Memory is that of one (n_units,
    n_other_units) matrix, whatever the number of rows, and nothing is lost where means are large
    beside standard deviations.

    Parameters
    ----------
    n_units, n_other_units : int
    rounding : float, default=1e-12
        Columns whose range is at most this share of their largest value count as constant.

    Attributes
    ----------
    n : float
        Sum of the weights so far.
    mean, other_mean : ndarray of shape (n_units,), ndarray of shape (n_other_units,)
    products : ndarray of shape (n_units, n_other_units)
        Centred sums of products.
    squares, other_squares : ndarray of shape (n_units,), ndarray of shape (n_other_units,)
        Centred sums of squares.

    References
    ----------
    .. [1] T. Chan, G. Golub, R. LeVeque, "Algorithms for computing the sample variance: analysis
       and recommendations", The American Statistician 37, 1983, eq. 2.1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.metrics.streamed_correlation import StreamedCorrelation
    >>> A = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0], [4.0, 1.0]])
    >>> streamed = StreamedCorrelation(2, 1)
    >>> streamed.update(A[:1], -A[:1, :1])
    >>> streamed.update(A[1:], -A[1:, :1])
    >>> streamed.correlations.round(6)
    array([[-1.      ],
           [-0.447214]])
    """

    def __init__(self, n_units: int, n_other_units: int, rounding: float = 1e-12) -> None:
        self.rounding = rounding
        self.n = 0.0
        self.mean, self.other_mean = np.zeros(n_units), np.zeros(n_other_units)
        self.products = np.zeros((n_units, n_other_units))
        self.squares, self.other_squares = np.zeros(n_units), np.zeros(n_other_units)
        self._ends = _Ends(n_units), _Ends(n_other_units)

    def update(self, A: NDArray, B: NDArray, weight: NDArray | None = None) -> None:
        """Take in rows; one of weight 0 is not there.

        Parameters
        ----------
        A : ndarray of shape (n, n_units)
        B : ndarray of shape (n, n_other_units)
        weight : ndarray of shape (n,), default=None
        """
        s = np.ones(len(A)) if weight is None else weight
        seen = s > 0
        if not seen.any():
            return
        if not seen.all():
            A, B, s = A[seen], B[seen], s[seen]
        batch = type(self)(A.shape[1], B.shape[1])
        batch.n = float(s.sum())
        batch.mean, batch.other_mean = s @ A / batch.n, s @ B / batch.n
        a, b = A - batch.mean, B - batch.other_mean
        weighted = a if (s == 1).all() else a * s[:, None]
        batch.products = weighted.T @ b
        batch.squares = np.einsum("nu,nu->u", weighted, a)
        batch.other_squares = np.einsum("n,nu,nu->u", s, b, b)
        for ends, values in zip(batch._ends, (A, B), strict=True):
            ends.low, ends.high = values.min(axis=0), values.max(axis=0)
        self.merge(batch)

    def merge(self, other: "StreamedCorrelation") -> Self:
        """Take in the rows of another one; returns itself."""
        total = self.n + other.n
        if other.n > 0:
            share = self.n * other.n / total
            d, e = other.mean - self.mean, other.other_mean - self.other_mean
            self.products += other.products
            if share:
                self.products += np.outer(share * d, e)
            self.squares += other.squares + share * np.square(d)
            self.other_squares += other.other_squares + share * np.square(e)
            self.mean = self.mean + d * other.n / total
            self.other_mean = self.other_mean + e * other.n / total
            self.n = total
            for ends, more in zip(self._ends, other._ends, strict=True):
                ends.low = np.minimum(ends.low, more.low)
                ends.high = np.maximum(ends.high, more.high)
        return self

    @property
    def varying(self) -> NDArray[np.bool_]:
        """Mask (n_units,) of the columns of A that are not constant, up to rounding."""
        return self._ends[0].differ(self.rounding)

    @property
    def other_varying(self) -> NDArray[np.bool_]:
        """Mask (n_other_units,) of the columns of B that are not constant, up to rounding."""
        return self._ends[1].differ(self.rounding)

    @property
    def correlations(self) -> NDArray[np.float64]:
        """Correlations (n_units, n_other_units); 0 where a column is constant."""
        a, b = self.varying & (self.squares > 0), self.other_varying & (self.other_squares > 0)
        inverse, other = np.zeros(len(a)), np.zeros(len(b))
        np.divide(1.0, np.sqrt(self.squares), out=inverse, where=a)
        np.divide(1.0, np.sqrt(self.other_squares), out=other, where=b)
        found = self.products * inverse[:, None]
        found *= other
        return np.clip(found, -1.0, 1.0, out=found)


class _Ends:
    """Least and greatest values of columns."""

    def __init__(self, n: int) -> None:
        self.low, self.high = np.full(n, np.inf), np.full(n, -np.inf)

    def differ(self, rounding: float) -> NDArray[np.bool_]:
        largest = np.maximum(np.abs(self.low), np.abs(self.high))
        return np.isfinite(self.low) & (self.high - self.low > rounding * largest)
