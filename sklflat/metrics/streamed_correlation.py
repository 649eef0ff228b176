"""Correlations of two tables of units from batches of rows, without keeping a row."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dgemm, dger

__all__ = ["StreamedCorrelation"]

_Two = tuple[NDArray, NDArray]


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
        n = float(s.sum())
        means = s @ A / n, s @ B / n
        a, b = A - means[0], B - means[1]
        plain = (s == 1).all()
        weighted, other_weighted = (x if plain else x * s[:, None] for x in (a, b))
        # in place, as a matrix of products between would be written and read once more
        self.products = dgemm(1.0, b.T, weighted.T, 1.0, self.products.T, 0, 1, overwrite_c=1).T
        squares = np.einsum("nu,nu->u", weighted, a), np.einsum("nu,nu->u", other_weighted, b)
        ends = _Ends.of(A), _Ends.of(B)
        self._take_in(n, means, squares, ends)

    def merge(self, other: "StreamedCorrelation") -> Self:
        """Take in the rows of another one; returns itself."""
        if other.n > 0:
            self.products += other.products
            means, squares = (other.mean, other.other_mean), (other.squares, other.other_squares)
            self._take_in(other.n, means, squares, other._ends)
        return self

    def _take_in(self, n: float, means: _Two, squares: _Two, ends: "tuple[_Ends, _Ends]") -> None:
        """Take in rows whose products are in already, about their own means."""
        total = self.n + n
        share = self.n * n / total
        d, e = means[0] - self.mean, means[1] - self.other_mean
        if share:
            self.products = dger(share, e, d, a=self.products.T, overwrite_a=1).T
        self.squares += squares[0] + share * np.square(d)
        self.other_squares += squares[1] + share * np.square(e)
        self.mean = self.mean + d * n / total
        self.other_mean = self.other_mean + e * n / total
        self.n = total
        for own, more in zip(self._ends, ends, strict=True):
            own.low = np.minimum(own.low, more.low)
            own.high = np.maximum(own.high, more.high)

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

    @classmethod
    def of(cls, A: NDArray) -> Self:
        """Those of the columns of A (n_rows, n)."""
        ends = cls(0)
        ends.low, ends.high = A.min(axis=0), A.max(axis=0)
        return ends

    def differ(self, rounding: float) -> NDArray[np.bool_]:
        largest = np.maximum(np.abs(self.low), np.abs(self.high))
        return np.isfinite(self.low) & (self.high - self.low > rounding * largest)
