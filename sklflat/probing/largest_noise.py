"""How long noise may be in each subspace before a trained network gets worse."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_consistent_length

from sklflat._compat import Interval, StrOptions, validate_parameter_constraints
from sklflat.curvature import Landscape, NoiseGauge
from sklflat.exceptions import NoiseWarning, warn
from sklflat.probing.resolve import resolve
from sklflat.training.estimators.trained_network import TrainedNetwork
from sklflat.training.perturbations.noise import SUBSPACES, FlatNoise

#: length that the search begins with, relative to the parameters'
_START = 0.05
#: a score that is lower by rounding only is not lower
_ROUNDING = 1e-12

_CONSTRAINTS: dict[str, Any] = {
    "accuracy_budget": [Interval(Real, 0, None, closed="left")],
    "longest": [Interval(Real, 0, None, closed="neither")],
    "n_directions": [Interval(Integral, 1, None, closed="left")],
    "n_draws": [Interval(Integral, 1, None, closed="left")],
    "seed": [Interval(Integral, 0, None, closed="left")],
}


class LargestNoise(NamedTuple):
    """The longest noise that a network bears.

    Attributes
    ----------
    length : float
        Root of the expected squared length, relative to the parameters' length; 0 where the
        shortest noise that was tried is too long, or the subspace holds nothing.
    score : float
        Mean score under noise of this length.
    is_capped : bool
        Whether this is the longest that was allowed, so that noise might be longer still.
    """

    length: float
    score: float
    is_capped: bool


def largest_noise(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    subspaces: Sequence[str] = ("flat", "isotropic", "random", "sharp"),
    accuracy_budget: float = 0.01,
    longest: float = 2.0,
    n_directions: int = 10,
    n_draws: int = 8,
    seed: int = 0,
) -> dict[str, LargestNoise]:
    """The largest noise of each subspace at which a score falls by no more than a budget.

    The score is accuracy, or R^2 of real targets, averaged over draws. It is found by doubling or
    halving, then by bisection, with the same draws at all lengths, to 5 % of the length; where the
    score does not fall evenly, that is one of the lengths at which it crosses the budget.

    Parameters
    ----------
    estimator : estimator
        Fitted, with noise or without: see :func:`~sklflat.probing.resolve`.
    X : array-like of shape (n_samples, ...)
        Those of the training say what the training bears, and others what is left of it on them.
    y : array-like of shape (n_samples, ...)
    subspaces : sequence of str, default=("flat", "isotropic", "random", "sharp")
        Also ``"soft"`` and ``"null"``: see :class:`~sklflat.training.perturbations.FlatNoise`.
    accuracy_budget : float, default=0.01
        How far the score may fall.
    longest : float, default=2.0
        Longer noise is not tried; in units of the parameters' length.
    n_directions : int, default=10
        Top eigenvectors of the Hessian.
    n_draws : int, default=8
        Pairs of opposite displacements.
    seed : int, default=0

    Returns
    -------
    dict of str to LargestNoise

    Warns
    -----
    NoiseWarning
        If a subspace holds nothing.

    Examples
    --------
    For a target x of mean zero the R^2 of ``(1 + c z) x`` is ``1 - c^2 z^2``, on average 1 - c^2:

    >>> import numpy as np
    >>> import torch
    >>> from sklflat import from_module
    >>> from sklflat.probing import largest_noise
    >>> layer = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> x = np.array([-1.0, 1.0])
    >>> reg = from_module(layer, torch.nn.MSELoss())
    >>> found = largest_noise(reg, x[:, None], x, subspaces=["isotropic"], n_draws=100)
    >>> round(found["isotropic"].length, 1)
    0.1
    """
    given = {
        "accuracy_budget": accuracy_budget,
        "longest": longest,
        "n_directions": n_directions,
        "n_draws": n_draws,
        "seed": seed,
    }
    validate_parameter_constraints(_CONSTRAINTS, given, "largest_noise")
    names = [subspaces] if isinstance(subspaces, str) else list(subspaces)
    for name in names:
        one = {"subspaces": [StrOptions(set(SUBSPACES))]}
        validate_parameter_constraints(one, {"subspaces": name}, "largest_noise")
    landscape = _landscape(resolve(estimator), X, np.asarray(y))
    w = landscape.vector.read()
    found = {}
    for name in names:
        noise = FlatNoise(1.0, name, "norm", n_directions).at(landscape, w, seed)
        if float(noise.length()) == 0:
            warn(
                f"subspace {name!r} holds nothing: the parameters or the Hessian are zero.",
                NoiseWarning,
            )
        gauge = NoiseGauge(landscape, w, noise, n_draws, (seed,))
        found[name] = _largest(gauge, float(noise.length()), accuracy_budget, longest)
    return found


def _largest(gauge: NoiseGauge, length: float, budget: float, longest: float) -> LargestNoise:
    score = gauge.landscape.score_at(gauge.w)
    if length == 0:
        return LargestNoise(0.0, score, False)
    unit = float(gauge.w.norm()) / length
    wanted = score - budget - _ROUNDING
    c = gauge.largest_scale(lambda c: gauge.score(c) >= wanted, _START * unit, longest * unit)
    return LargestNoise(c / unit, gauge.score(c), c >= longest * unit)


def _landscape(trained: TrainedNetwork, X: Any, y: NDArray) -> Landscape:
    """The loss on these data, and accuracy or R^2 as the score."""

    def score(z: NDArray) -> float:
        if trained.classes is None:
            return float(r2_score(y, trained.targets.predict(z)))
        decision = trained.targets.decision(z, trained.loss)
        return float(accuracy_score(y, trained.targets.predict(decision)))

    x, target = trained.to_input(X), trained.to_target(y)
    check_consistent_length(x, target)
    return Landscape(trained.network, x, target, score=score)
