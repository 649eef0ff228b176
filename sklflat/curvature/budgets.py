"""How far noise may go: the scale at which the loss rises, or a score falls, by so much."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sklflat.curvature.displacements import Displacements, normal
from sklflat.curvature.landscape import Landscape

#: a factor that a single correction of the scale is kept within
_LARGEST_STEP = 4.0
#: a measured rise this near to the wanted one is met
_MET = 0.03
#: relative standard error that is wanted of a rise, and the largest number of pairs to get there
_PRECISION, _MOST_PAIRS = 0.05, 128


@dataclass(frozen=True)
class Rise:
    """The expected rise of the loss under noise, measured.

    Parameters
    ----------
    value : float
        Not finite if a loss is not.
    std_error : float
        Of the mean over draws.
    """

    value: float
    std_error: float


class NoiseGauge:
    r"""Measures what noise does to a loss, always with the same draws.

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

    Attributes
    ----------
    loss : float
        At w.
    was_infinite : bool
        Whether a loss under noise was not finite.
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
    ) -> None:
        self.landscape = landscape
        self.w = w
        self.loss = landscape.loss(w)
        self.was_infinite = False
        self._noise = noise
        self._seeds = seeds
        self._eigenpairs = None
        self._expected = 0.0
        if values is not None and vectors is not None:
            self._eigenpairs = values.double(), vectors
            self._expected = noise.expected_rise(values, vectors)
        self.draws = noise(self._normal(range(n_pairs)))

    def _normal(self, numbers: range) -> Tensor:
        return torch.stack([normal((*self._seeds, i), self.w) for i in numbers])

    def _known(self, xi: Tensor) -> float:
        """The second order of the rise along the known eigenvectors."""
        if self._eigenpairs is None:
            return 0.0
        values, vectors = self._eigenpairs
        return 0.5 * float((vectors @ xi).double().square() @ values)

    def rise(self, c: float, target: float = math.inf) -> Rise:
        """The expected rise of the loss under noise of scale c.

        Measured with 5 % of standard error, or 5 % of a target that is larger.
        """
        rises = [self._rise_of_pair(c, xi) for xi in self.draws]
        while True:
            error = float(np.std(rises, ddof=1)) / math.sqrt(len(rises)) if len(rises) > 1 else 0.0
            mean = float(np.mean(rises)) + c * c * self._expected
            precise = not error > _PRECISION * max(abs(mean), target)
            if precise or not math.isfinite(mean) or 2 * len(rises) > _MOST_PAIRS:
                return Rise(mean, error)
            more = self._noise(self._normal(range(len(rises), 2 * len(rises))))
            self.draws = torch.cat([self.draws, more])
            rises += [self._rise_of_pair(c, xi) for xi in more]

    def _rise_of_pair(self, c: float, xi: Tensor) -> float:
        """Mean rise at both ends, less what is known of it."""
        ends = [self.landscape.loss(self.w + sign * c * xi) for sign in (1, -1)]
        self.was_infinite |= not all(map(math.isfinite, ends))
        return (ends[0] + ends[1]) / 2 - self.loss - c * c * self._known(xi)

    def score(self, c: float) -> float:
        """The mean score under noise of scale c."""
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
        for _ in range(n_steps):
            rise = self.rise(c, target)
            if not math.isfinite(rise.value):
                ceiling, c = c / 2, c / _LARGEST_STEP
                continue
            change = abs(rise.value)
            if abs(change - target) <= _MET * target or (change < target and c >= ceiling):
                break
            ratio = target / change if change > 0 else math.inf
            c = min(c * min(max(math.sqrt(ratio), 1 / _LARGEST_STEP), _LARGEST_STEP), ceiling)
        return c, rise

    def largest_scale(
        self, allowed: Callable[[float], bool], start: float, largest: float, n_steps: int = 8
    ) -> float:
        """The largest scale c that is allowed, to a factor of ``2 ** (1 / 2 ** (n_steps / 2))``.

        Found by doubling or halving from ``start``, then by bisection; 0 if nothing is.
        """
        low, high = 0.0, math.inf
        c = min(start, largest)
        for _ in range(3 * n_steps):
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
