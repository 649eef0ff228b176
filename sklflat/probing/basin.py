"""Models of the same basin: parameters around a minimum at which the loss is hardly higher."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length, check_random_state
from torch import Tensor

from sklflat._compat import Interval, StrOptions, validate_parameter_constraints
from sklflat.curvature import Landscape, normal
from sklflat.exceptions import NoiseWarning, warn
from sklflat.metrics import mean_bounds
from sklflat.networks import Network
from sklflat.networks.batch_statistics import recompute_batch_statistics
from sklflat.networks.units import Units
from sklflat.probing.basin_members import parameters_of
from sklflat.probing.decisions import MIN_ROWS
from sklflat.probing.resolve import resolve
from sklflat.probing.sample import by_group
from sklflat.probing.split import check_groups
from sklflat.training.estimators.trained_network import TrainedNetwork
from sklflat.training.perturbations.noise import SUBSPACES, FlatNoise

#: directions that are tried for each member that is asked for
_TRIES = 10
#: share of the candidates that are to be members: bounds that are chosen for being low are
#: exceeded more often than they say, unless few have to be rejected
_ACCEPTED = 0.75
#: halvings of the interval in which the budget is used up
_N_HALVINGS = 12

_CONSTRAINTS: dict[str, Any] = {
    "subspace": [StrOptions(set(SUBSPACES) - {"null"})],
    "n_models": [Interval(Integral, 1, None, closed="left")],
    "loss_rise": [Interval(Real, 0, None, closed="neither")],
    "n_directions": [Interval(Integral, 1, None, closed="left")],
    "check_fraction": [Interval(Real, 0, 1, closed="neither")],
    "confidence": [Interval(Real, 0.5, 1, closed="left")],
    "random_state": ["random_state"],
}


@dataclass(frozen=True, repr=False)
class Basin:
    """Models around a minimum, each within its budget on data that did not find it.

    Members were chosen because their bounds were low, so these are lower than they should be.
    ``bounds_judged`` are of data that have chosen nothing: read those. One in twenty of them is
    exceeded, and some are above the budget, as they are of few rows.

    Attributes
    ----------
    trained : TrainedNetwork
        At the minimum.
    centre : Tensor of shape (p,)
        Its parameters.
    members : Tensor of shape (n_models, p)
    loss_rise : float
        The budget, in units of the loss.
    rises_found : ndarray of shape (n_models,)
        Rise of the loss on the data on which the members were found.
    rises_checked : ndarray of shape (n_models,)
        On the data that chose among what was found.
    bounds_checked : ndarray of shape (n_models,)
        Upper confidence bounds of these, none above the budget.
    rises_judged, bounds_judged : ndarray of shape (n_models,)
        Rises, and upper confidence bounds of them, on data that have neither found nor chosen.
    n_rejected : int
        Candidates that were not within the budget on the data that chose.
    """

    trained: TrainedNetwork
    centre: Tensor
    members: Tensor
    loss_rise: float
    rises_found: NDArray
    rises_checked: NDArray
    bounds_checked: NDArray
    rises_judged: NDArray
    bounds_judged: NDArray
    n_rejected: int
    _calibration: Tensor

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        spread = self.spread
        near, far = (spread.min(), spread.max()) if len(self) else (0.0, 0.0)
        worst = self.bounds_checked.max(initial=0.0)
        return (
            f"<Basin of {len(self)} models of {len(self.centre)} parameters, {near:.2g} to "
            f"{far:.2g} of their length from the minimum; rise of the loss on other data at most "
            f"{worst:.2g} (upper bound), allowed {self.loss_rise:.2g}; {self.n_rejected} rejected>"
        )

    @property
    def spread(self) -> NDArray:
        """Distances (n_models,) from the centre, relative to the centre's length."""
        distances = (self.members - self.centre).norm(dim=1) / self.centre.norm()
        return distances.double().cpu().numpy()

    def networks(self) -> Iterator[Network]:
        """The members one after the other, as the same network; batch statistics are their own."""
        network = self.trained.network
        try:
            for w in self.members:
                _move(network, w, self._calibration)
                yield network
        finally:
            _move(network, self.centre, self._calibration)

    def outputs(self, X: Any) -> NDArray:
        """Raw outputs (n_models, n_samples, k) of all members, float64."""
        x = self.trained.to_input(X)
        return np.stack([network.outputs(x).numpy() for network in self.networks()])

    def activations(self, X: Any, layers: str | Sequence[str] = "hidden") -> NDArray:
        """Activations (n_models, n_samples, n_units) of all members' hidden units, float64."""
        x = self.trained.to_input(X)
        module = self.trained.network.module
        units = Units.find(module, x[:5], layers)
        rows = [units.activations(network.module, x) for network in self.networks()]
        return torch.stack(rows).double().cpu().numpy()


def sample_basin(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    subspace: str = "flat",
    n_models: int = 10,
    loss_rise: float = 0.05,
    members: Any = None,
    n_directions: int = 10,
    check_fraction: float = 0.5,
    confidence: float = 0.95,
    groups: Any = None,
    random_state: Any = None,
) -> Basin:
    """Models of the basin in which a trained network is.

    A step from the minimum along a random direction is as long as an upper confidence bound of
    the loss's rise, on one part of the data and with room to spare, allows. The model there is a
    member if the bound on a second part is within the budget, too; else it is rejected and another
    direction is tried. A third part has no say, and judges the members.
    Bounds are those of the mean over samples of the change of their loss
    (:func:`~sklflat.metrics.mean_bounds`, robust to skewed changes), so they are for data drawn
    like these. A part of fewer than 20 rows (or groups) bounds nothing, so that there are no
    members. Where rare rows lose much (a regressor, targets of heavy tails) a bound is exceeded
    more often than it says, up to .1 in place of .05: rows that were not seen cannot be bounded.

    Parameters
    ----------
    estimator : estimator
        Fitted: see :func:`~sklflat.probing.resolve`.
    X : array-like of shape (n_samples, ...)
        Data in whose loss the basin is; fresh ones say more than those of the training.
    y : array-like of shape (n_samples, ...)
    subspace : {"flat", "soft", "isotropic", "sharp", "random"}, default="flat"
        Of the directions: see :class:`~sklflat.training.perturbations.FlatNoise`.
    n_models : int, default=10
    loss_rise : float, default=0.05
        The budget, in units of the loss.
    members : array-like of shape (m, p), or sequence of fitted estimators or states, default=None
        Candidates that are checked in place of sampled ones: parameters in the order of this
        network's, estimators, or states by name such as the points ``path.at(t)`` of a path. Each
        is checked on its own: whether the loss stays low between is what
        :class:`~sklflat.ModeConnectivityProbe` says.
    n_directions : int, default=10
    check_fraction : float, default=0.5
        Share of the data that does not find members: half of it chooses, and half judges.
    confidence : float, default=0.95
        Of the upper bounds, at least 0.5, which is the mean itself.
    groups : array-like of shape (n_samples,), default=None
        Rows of a group depend on each other: they stay in one part, and count as one.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    Basin

    Warns
    -----
    NoiseWarning
        If fewer members than asked for are within the budget.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from sklflat import SAMClassifier
    >>> from sklflat.probing import sample_basin
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> clf = SAMClassifier((20,), learning_rate_init=0.02, random_state=0).fit(X, y)
    >>> basin = sample_basin(clf, X, y, n_models=3, random_state=0)
    >>> len(basin), bool((basin.bounds_checked <= 0.05).all())
    (3, True)
    >>> basin.outputs(X).shape
    (3, 200, 1)
    """
    given = {
        "subspace": subspace,
        "n_models": n_models,
        "loss_rise": loss_rise,
        "n_directions": n_directions,
        "check_fraction": check_fraction,
        "confidence": confidence,
        "random_state": random_state,
    }
    validate_parameter_constraints(_CONSTRAINTS, given, "sample_basin")
    parts = check_fraction, groups
    search = _Search(resolve(estimator), X, y, loss_rise, parts, confidence, random_state)
    if members is not None:
        candidates: Iterator[Tensor] = iter(parameters_of(members, search.network, search.centre))
        n_models = len(members)
    else:
        candidates = search.candidates(FlatNoise(1.0, subspace, "norm", n_directions))
    return search.select(candidates, n_models, n_models if members is not None else None)


@torch.no_grad()
def _move(network: Network, w: Tensor, X: Tensor) -> None:
    """Let a network be the one with parameters w, batch statistics included."""
    network.vector.write(w)
    recompute_batch_statistics(network.module, map(network.prepare, network.batches(X)))


def _three_parts(
    n: int, check_fraction: float, groups: Any, rng: np.random.RandomState
) -> list[Tensor]:
    """Rows that find, choose and judge; those of a group in one part."""
    if groups is not None:
        check_groups(groups, n)
    of_group = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    order = rng.permutation(of_group.max(initial=-1) + 1)
    n_checked = round(check_fraction * len(order))
    if not 2 <= n_checked < len(order):
        what = "samples" if groups is None else "groups"
        raise ValueError(
            f"check_fraction={check_fraction} of {len(order)} {what} leaves one of three parts "
            "empty: those that find members, choose them and judge them. Give more, or another "
            "check_fraction."
        )
    chosen = np.split(order, [len(order) - n_checked, len(order) - n_checked // 2])
    # in the order of the draw
    place = np.argsort(order)[of_group]
    rows = np.argsort(place, kind="stable")
    return [torch.as_tensor(rows[np.isin(of_group[rows], part)]) for part in chosen]


class _Search:
    def __init__(
        self,
        trained: TrainedNetwork,
        X: Any,
        y: Any,
        loss_rise: float,
        parts: tuple[float, Any],
        confidence: float,
        random_state: Any,
    ) -> None:
        self.trained = trained
        self.network = trained.network
        self.loss_rise = loss_rise
        x, target = trained.to_input(X), trained.to_target(np.asarray(y))
        check_consistent_length(x, target)
        rng = check_random_state(random_state)
        rows = _three_parts(len(x), *parts, rng)
        self.parts = [(x[i], target[i]) for i in rows]
        self.groups = [None if parts[1] is None else np.asarray(parts[1])[i] for i in rows]
        self.seed = int(rng.randint(np.iinfo(np.int32).max))
        self.centre = self.network.vector.read()
        self.confidence = confidence
        # how sure a candidate is where it is found, so that most are sure where they are chosen
        ratio = (self._sizes()[0] / self._sizes()[1]) ** 0.5
        accepted = NormalDist().inv_cdf(_ACCEPTED) * (1 + ratio**2) ** 0.5
        self.quantile = NormalDist().inv_cdf(confidence) * ratio + accepted
        self.base = [self._losses(self.centre, part) for part in range(3)]

    def _losses(self, w: Tensor, part: int) -> NDArray:
        _move(self.network, w, self.parts[0][0])
        return self.network.losses(*self.parts[part]).double().numpy()

    def rise(self, w: Tensor, part: int) -> tuple[float, float]:
        """Rise of the loss on the part that finds (0), chooses (1), judges (2); an upper bound."""
        rises = self._losses(w, part) - self.base[part]
        if not np.isfinite(rises).all():
            return np.inf, np.inf
        rises = by_group(self.groups[part], rises[:, None])[:, 0]
        if len(rises) < MIN_ROWS:
            return float(rises.mean()), np.inf
        if part > 0:
            return float(rises.mean()), float(mean_bounds(rises, 2 * self.confidence - 1)[1])
        error = rises.std(ddof=1) / len(rises) ** 0.5
        return float(rises.mean()), float(rises.mean() + self.quantile * error)

    def _inside(self, w: Tensor) -> bool:
        return self.rise(w, 0)[1] <= self.loss_rise

    def candidates(self, noise: FlatNoise) -> Iterator[Tensor]:
        """Points at which the budget is used up, along random directions; none on few rows."""
        if min(self._sizes()) < MIN_ROWS:
            return
        _move(self.network, self.centre, self.parts[0][0])
        landscape = Landscape(self.network, *self.parts[0])
        displacements = noise.at(landscape, self.centre, self.seed)
        i = 0
        while True:
            xi = displacements(normal((self.seed, i), self.centre))
            i += 1
            yield self.centre + self._reach(xi) * xi

    def _reach(self, xi: Tensor) -> float:
        """How far along xi the budget is used up, up to the parameters' own length."""
        length = float(xi.norm())
        if length == 0:
            return 0.0
        farthest = float(self.centre.norm()) / length
        low, high = 0.0, 0.01 * farthest
        while high < farthest and self._inside(self.centre + high * xi):
            low, high = high, min(2 * high, farthest)
        for _ in range(_N_HALVINGS):
            middle = (low + high) / 2
            inside = self._inside(self.centre + middle * xi)
            low, high = (middle, high) if inside else (low, middle)
        return low

    def _sizes(self) -> list[int]:
        """How many rows or groups the parts have."""
        return [
            len(y) if g is None else len(np.unique(g))
            for (_, y), g in zip(self.parts, self.groups, strict=True)
        ]

    def _shortage(self) -> str:
        sizes, what = self._sizes(), "rows" if self.groups[0] is None else "groups"
        few = f"; fewer than {MIN_ROWS} in a part bound nothing" * (min(sizes) < MIN_ROWS)
        return f"{' + '.join(map(str, sizes))} {what} find, choose and judge{few}."

    def select(self, candidates: Iterator[Tensor], n_models: int, n_tries: int | None) -> Basin:
        """Candidates that are within the budget on the parts that find and choose."""
        chosen: list[tuple[Tensor, float, float, float, float, float]] = []
        tried = 0
        for w in candidates:
            tried += 1
            found, checked = self.rise(w, 0), self.rise(w, 1)
            if max(found[1], checked[1]) <= self.loss_rise:
                chosen.append((w, found[0], *checked, *self.rise(w, 2)))
            if len(chosen) == n_models or tried == (n_tries or _TRIES * n_models):
                break
        _move(self.network, self.centre, self.parts[0][0])
        if len(chosen) < n_models:
            warn(
                f"Only {len(chosen)} of {n_models} models are within loss_rise={self.loss_rise} on "
                f"data that did not find them ({tried} were tried). Raise loss_rise, or give more "
                f"data: {self._shortage()}",
                NoiseWarning,
            )
        members = torch.stack([w for w, *_ in chosen]) if chosen else self.centre.new_zeros(0, 0)
        numbers = np.array([c[1:] for c in chosen], dtype=float).reshape(-1, 5)
        return Basin(
            self.trained,
            self.centre,
            members.reshape(len(chosen), len(self.centre)),
            self.loss_rise,
            numbers[:, 0],
            numbers[:, 1],
            numbers[:, 2],
            numbers[:, 3],
            numbers[:, 4],
            tried - len(chosen),
            self.parts[0][0],
        )
