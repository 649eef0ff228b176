"""The scale of noise at which the loss rises, or a score falls, by a given amount."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.curvature.displacements import Displacements, normal
from sklflat.curvature.landscape import Landscape

#: the largest factor of a single correction of the scale
_LARGEST_STEP = 4.0
#: scales that are tried at most for the largest one that is allowed
_MOST_STEPS = 24
#: a measured rise this near to the wanted one is met
_MET = 0.03
#: a rise that differs from the wanted one by this share is not measured precisely
_FAR = 0.3
#: relative standard error that is wanted of a rise, and the largest number of pairs to get there
_PRECISION, _MOST_PAIRS = 0.05, 128
#: the same for the first measurement, which later ones use as a control variate
_PRECISION_FIRST = 0.04
#: pairs for a regression estimate, and pairs from which on their own spread is used
_FEWEST, _FEWEST_FIRST = 6, 16


@dataclass(frozen=True)
class Rise:
    """The expected rise of the loss under noise, not finite if a loss is not, and its error."""

    value: float
    std_error: float


class NoiseGauge:
    r"""Measures the rise of a loss under noise, always with the same draws.

    Draws come in pairs :math:`\pm\xi`, which cancels odd orders. Where top eigenpairs of the
    Hessian are known, their part of the second order, which varies most, is replaced by its
    expectation (a control variate).

    Parameters
    ----------
    landscape : Landscape
    w : Tensor of shape (p,)
    noise : Displacements
        Of scale 1.
    n_pairs : int, default=8
        At the least. The number is doubled until the standard error of a rise is at most 5 %, as
        is needed where noise has few directions.
    seeds : tuple of int, default=(0,)
    values : Tensor of shape (k,), default=None
    vectors : Tensor of shape (k, p), default=None
        Eigenpairs at w.
    rises : ndarray of shape (n,), default=None
        The ``rises`` of another gauge with the same seeds, at parameters nearby.
    most_pairs : int, default=128
        Pairs at the most, whatever the standard error; never fewer than ``n_pairs``.

    Attributes
    ----------
    loss : float
        At w.
    was_infinite : bool
        Whether a loss under noise was not finite.
    rises : ndarray of shape (n,) or None
        By single pairs, of the last precise measurement, less their second order along the
        known eigenvectors.
    """

    def __init__(
        self,
        landscape: Landscape,
        w: Tensor,
        noise: Displacements,
        n_pairs: int = 8,
        seeds: tuple[int, ...] = (0,),
        values: Tensor | None = None,
        vectors: Tensor | None = None,
        rises: NDArray | None = None,
        most_pairs: int = _MOST_PAIRS,
    ) -> None:
        self.landscape = landscape
        self.w = w
        self.loss = landscape.loss(w)
        self.was_infinite = False
        self.n_pairs = n_pairs
        self.most_pairs = min(most_pairs, _MOST_PAIRS)
        self._noise = noise
        self._seeds = seeds
        self.rises = rises
        self._eigenpairs = None
        self._expected = 0.0
        if values is not None and vectors is not None:
            self._eigenpairs = values.double(), vectors
            self._expected = noise.expected_rise(values, vectors)
        self.draws = w.new_zeros(0, len(w))

    def _draw(self, n: int) -> None:
        """Draw until there are at least n draws."""
        numbers = range(len(self.draws), n)
        if numbers:
            Z = torch.stack([normal((*self._seeds, i), self.w) for i in numbers])
            self.draws = torch.cat([self.draws, self._noise(Z)])

    def _rises(self, c: float, start: int, stop: int) -> NDArray:
        """Mean rise of each pair, less its second order along the known eigenvectors."""
        self._draw(stop)
        found = []
        for xi in self.draws[start:stop]:
            ends = [self.landscape.loss(self.w + sign * c * xi) for sign in (1, -1)]
            self.was_infinite |= not all(map(math.isfinite, ends))
            found.append((ends[0] + ends[1]) / 2 - self.loss)
        return np.array(found) - c * c * self._known(self.draws[start:stop])

    def _known(self, xi: Tensor) -> NDArray | float:
        """The second order (n,) of the rise along the known eigenvectors, of draws (n, p)."""
        if self._eigenpairs is None:
            return 0.0
        values, vectors = self._eigenpairs
        return (0.5 * (xi @ vectors.T).double().square() @ values).cpu().numpy()

    def rise(self, c: float, target: float = math.inf) -> Rise:
        """The expected rise of the loss under noise of scale c.

        Its standard error is at most 5 % of a target, or else of the rise; where the rise is far
        from the target, the error is only small enough to say so. Where the same draws were
        measured before, at another scale or at other parameters, a few of them may be enough.
        """
        known = c * c * self._expected
        rises = self._rises(c, 0, self.n_pairs)
        while True:
            n = len(rises)
            by_few = self._by_few(rises, known)
            if by_few is not None:
                return by_few
            found = Rise(float(np.mean(rises)) + known, _error(rises))
            size = abs(found.value)
            if math.isfinite(target):
                precise = n >= _FEWEST_FIRST and found.std_error <= _PRECISION_FIRST * target
            else:
                precise = found.std_error <= _PRECISION * size
            far = abs(size - target) > _FAR * target + 3 * found.std_error
            enough = precise or not math.isfinite(size) or 2 * n > self.most_pairs
            if enough and not far and math.isfinite(size + target):
                self.rises = rises
            if enough or far:
                return found
            rises = np.append(rises, self._rises(c, n, 2 * n))

    def _by_few(self, rises: NDArray, known: float) -> Rise | None:
        """A regression estimate of the mean over many draws, from a few of them.

        The earlier rises of all draws, times a slope, are the control variate.
        """
        before, n = self.rises, len(rises)
        if before is None or not _FEWEST <= n < len(before) or not before[:n].any():
            return None
        slope = float(rises @ before[:n] / (before[:n] @ before[:n]))
        rest = rises - slope * before[:n]
        found = Rise(
            float(rest.mean() + slope * before.mean()) + known,
            math.hypot(_error(rest), slope * _error(before)),
        )
        return found if found.std_error <= _PRECISION * abs(found.value) else None

    def score(self, c: float) -> float:
        """The mean score under noise of scale c."""
        self._draw(self.n_pairs)
        points = [self.w + sign * c * xi for xi in self.draws for sign in (1, -1)]
        return float(np.mean([self.landscape.score_at(point) for point in points]))

    def scale_for_rise(
        self, target: float, start: float, largest: float, n_steps: int = 8
    ) -> tuple[float, Rise]:
        """The scale c at which the loss changes by ``target``, and the last rise measured.

        The search begins at ``start``, never goes beyond ``largest``, and takes at most
        ``n_steps`` measurements; the rise is about quadratic in c. Where the loss is not finite
        it goes back. Where noise lowers the loss, as it may where the curvature is negative, the
        fall counts: there is no size at which it would rise by so much nearby.
        """
        c = min(start, largest)
        ceiling = largest
        rise = Rise(np.nan, np.nan)
        last: tuple[float, float] | None = None
        for i in range(n_steps):
            rise = self.rise(c, target)
            if not math.isfinite(rise.value):
                ceiling, c = c / 2, c / _LARGEST_STEP
                continue
            change = abs(rise.value)
            met = abs(change - target) <= _MET * target
            if met or (change < target and c >= ceiling) or i == n_steps - 1:
                break
            power = _power(last, (c, change))
            last = c, change
            ratio = (target / change) ** (1 / power) if change > 0 else math.inf
            c = min(c * min(max(ratio, 1 / _LARGEST_STEP), _LARGEST_STEP), ceiling)
        return c, rise

    def largest_scale(
        self, allowed: Callable[[float], bool], start: float, largest: float
    ) -> float:
        """The largest scale c that is allowed, to a twentieth.

        Found by doubling or halving from ``start``, then by bisection; 0 if nothing is.
        """
        low, high = 0.0, math.inf
        c = min(start, largest)
        for _ in range(_MOST_STEPS):
            if allowed(c):
                low = c
            else:
                high = c
            if low >= largest or (low and high / low < 1.05) or c < 1e-12 * largest:
                break
            if not low:
                c /= 2
            elif math.isinf(high):
                c = min(2 * c, largest)
            else:
                c = math.sqrt(low * high)
        return low


def _error(values: NDArray) -> float:
    """The standard error of a mean."""
    n = len(values)
    return float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else 0.0


def _power(last: tuple[float, float] | None, now: tuple[float, float]) -> float:
    """The power of c by which a rise grows: 2, or what two measurements nearby say, from 1 to 6."""
    if last is None or not 1.01 < max(last[0] / now[0], now[0] / last[0]) < 2 or not last[1]:
        return 2.0
    if not now[1]:
        return 2.0
    return min(max(math.log(now[1] / last[1]) / math.log(now[0] / last[0]), 1.0), 6.0)
