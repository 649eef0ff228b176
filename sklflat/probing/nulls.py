"""What a unit's score would be by chance: null distributions, and p-values against them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import ortho_group
from sklearn.base import clone
from skorch import NeuralNet
from torch import nn
from torch.nn.parameter import is_lazy

from sklflat.metrics import monte_carlo_p_values
from sklflat.networks import MLP
from sklflat.networks.network import copy_module
from sklflat.probing.time_series import shifted_orders
from sklflat.training.engine.randomness import RandomStream
from sklflat.training.estimators.cloned_nets import cloned_net

#: orders of the targets in memory at once
_ORDERS_AT_ONCE = 500
#: units of untrained networks that are scored at most so that a small layer has its draws
_MAX_UNITS = 20_000


@dataclass(frozen=True)
class Null:
    r"""Scores drawn under a null hypothesis, and the p-values of observed ones.

    All draws are pooled, so m units with n draws each are compared with m n values:

    .. math:: p_u = \frac{b_u + 1}{m n + 1}

    with :math:`b_u` the number of draws at least as large as unit u's score. If column u of the
    draws belongs to unit u itself (`matched`), scores and draws are first brought to one scale:
    the score by the mean and the standard deviation of the unit's draws, each draw by those of
    the unit's other draws. No unit's score touches the draws, so a unit far above chance does not
    change what chance is for the others.

    Parameters
    ----------
    name : str
        What is random under the null, for people to read.
    draws : array of shape (n_draws, n_units)
        Null scores. Not matched: of any units, in any shape.
    matched : bool, default=True
        Whether columns are the units that were scored.
    pooled : bool, default=True
        Whether the draws of all units are one pool. If not, each unit is compared with its own
        draws alone, which is exact and takes thousands of draws for each.
    layers : (ndarray of int, ndarray of int), default=None
        Not matched: the layer of each draw and of each unit, which is then compared with draws of
        its own layer only. None takes all draws for all units.

    Examples
    --------
    Of 4 pooled draws one is as large as 3, so p = (1 + 1) / (4 + 1):

    >>> import numpy as np
    >>> from sklflat.probing.nulls import Null
    >>> Null("untrained twins", np.array([[0.0, 1.0], [2.0, 3.0]]), matched=False).p_values(
    ...     np.array([3.0])
    ... )
    array([0.4])
    """

    name: str
    draws: NDArray = field(repr=False)
    matched: bool = True
    pooled: bool = True
    layers: tuple[NDArray, NDArray] | None = field(default=None, repr=False)

    def p_values(self, scores: NDArray) -> NDArray:
        """P-values (n_units,) of scores (n_units,); never 0."""
        if not self.matched:
            return self._by_layer(scores)
        if not self.pooled:
            return (1 + (self.draws >= scores).sum(axis=0)) / (1 + len(self.draws))
        if len(self.draws) < 3:
            raise ValueError(
                f"A matched null needs at least 3 draws a unit, got {len(self.draws)}. "
                "Raise n_null."
            )
        z, z_draws, varies = _to_one_scale(scores, self.draws)
        p = np.empty(len(scores))
        if varies.any():
            p[varies] = monte_carlo_p_values(z[varies], z_draws[:, varies].ravel())
        for u in np.flatnonzero(~varies):  # no scale to bring them to: each by its own rank
            p[u] = monte_carlo_p_values(scores[[u]], self.draws[:, u])[0]
        return p

    def least_p_values(self, n_units: int) -> NDArray:
        """P-values (n_units,) that no score could be below, however high."""
        if self.matched:
            n = len(self.draws)
            least = np.full(n_units, 1 / (1 + n))
            if self.pooled and n > 1:
                varies = _varies(self.draws)
                least[varies] = 1 / (1 + n * max(1, varies.sum()))
            return least
        if self.layers is None:
            return np.full(n_units, 1 / (1 + self.draws.size))
        of_draws, of_units = self.layers
        return np.array([1 / (1 + (of_draws == layer).sum()) for layer in of_units])

    def _by_layer(self, scores: NDArray) -> NDArray:
        if self.layers is None:
            return monte_carlo_p_values(scores, self.draws.ravel())
        of_draws, of_units = self.layers
        p = np.ones(len(scores))
        for layer in np.unique(of_units[np.isin(of_units, of_draws)]):
            own = of_units == layer
            p[own] = monte_carlo_p_values(scores[own], self.draws[of_draws == layer])
        return p

    def range(self, n_units: int, level: float = 0.95) -> tuple[NDArray, NDArray]:
        """Ends (n_units,) of the central range of what each unit's score would be by chance."""
        ends = [(1 - level) / 2, (1 + level) / 2]
        if self.matched:
            low, high = np.quantile(self.draws, ends, axis=0)
            return low, high
        if self.layers is None:
            low, high = np.quantile(self.draws, ends)
            return np.full(n_units, low), np.full(n_units, high)
        of_draws, of_units = self.layers
        low, high = np.zeros(n_units), np.zeros(n_units)
        for layer in np.unique(of_units[np.isin(of_units, of_draws)]):
            own = of_units == layer
            low[own], high[own] = np.quantile(self.draws[of_draws == layer], ends)
        return low, high


def _varies(draws: NDArray) -> NDArray[np.bool_]:
    """Units (k,) whose draws (n, k) are not all the same, up to rounding."""
    return draws.std(axis=0, ddof=1) > 1e-12 * np.abs(draws).max(axis=0)


def _to_one_scale(scores: NDArray, draws: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Studentised scores (k,) and draws (n, k), and which units' draws vary.

    Both are prediction residuals, of a value that mean m and variance v were not computed from,
    so under the null they follow one law.
    """
    n = len(draws)
    m, v = draws.mean(axis=0), draws.var(axis=0, ddof=1)
    varies = _varies(draws)
    d = draws - m
    rest = np.maximum(((n - 1) * v - d**2 * n / (n - 1)) / (n - 2), 0)  # without the draw itself
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (scores - m) / np.sqrt(v * (1 + 1 / n))
        z_draws = d * n / (n - 1) / np.sqrt(rest * (1 + 1 / (n - 1)))
    # a draw whose fellows are all equal is beyond every scale
    return z, np.nan_to_num(z_draws, nan=0.0, posinf=1e300, neginf=-1e300), varies


def n_untrained(n_draws: float, layer_of: NDArray) -> int:
    """Untrained networks whose units are about so many draws in each layer.

    A layer of few units would need many networks: beyond what all layers together need, at most
    20,000 units are drawn in all, and the rest of the layer's draws is missing.

    Parameters
    ----------
    n_draws : float
    layer_of : ndarray of shape (n_units,), int
        Of the units that live.

    Examples
    --------
    >>> import numpy as np
    >>> n_untrained(2000, np.zeros(40, dtype=int)), n_untrained(2000, np.repeat([0, 1], [40, 20]))
    (50, 100)
    >>> n_untrained(2000, np.repeat([0, 1], [40, 3]))
    465
    """
    sizes = np.bincount(layer_of) if len(layer_of) else np.ones(1)
    of_all = int(np.ceil(n_draws / sizes.sum()))
    of_smallest = int(np.ceil(n_draws / sizes[sizes > 0].min()))
    return max(of_all, min(of_smallest, int(_MAX_UNITS / sizes.sum())))


def permuted_targets(
    score: Callable[[NDArray], NDArray],
    n_samples: int,
    n_draws: int,
    rng: np.random.RandomState,
    groups: NDArray | None = None,
    in_time: bool = False,
) -> Null:
    """Scores after the targets were shuffled among samples that no training has seen.

    If the units have nothing to do with the targets of these samples, every assignment of
    targets to samples is equally likely, so a rank among a unit's own draws is exact [1]_.

    ``score`` maps permutations (m, n_samples) to scores (m, n_units); each of the ``n_draws``
    permutations gives one draw of every unit of the matched null. Targets of a group stay
    together: see :func:`target_orders`. Those of rows in time are shifted, at most once by every
    number of rows; that is exact but for the place where the ends meet, if they are stationary
    [2]_.

    References
    ----------
    .. [1] B. Phipson, G. K. Smyth, "Permutation p-values should never be zero", 2010.
    .. [2] K. D. Harris, "Nonsense correlations in neuroscience", 2020.
       https://doi.org/10.1101/2020.11.29.402719
    """
    orders = target_orders(n_samples, n_draws, rng, groups, in_time)
    parts = np.split(orders, range(_ORDERS_AT_ONCE, len(orders), _ORDERS_AT_ONCE))
    name = "permuted targets" if groups is None else "permuted targets of groups"
    name = "targets shifted in time" if in_time else name
    return Null(name, np.concatenate([score(part) for part in parts]))


def target_orders(
    n_samples: int,
    n_orders: int,
    rng: np.random.RandomState,
    groups: NDArray | None = None,
    in_time: bool = False,
) -> NDArray:
    """Random orders (n_orders, n_samples) of the targets: which target each row gets.

    With groups, every group gets the targets of another one, in their order: a longer one's first,
    a shorter one's over and over. Between groups of equal size that is a permutation, and exact
    where groups are exchangeable. Rows in time are shifted: :func:`shifted_orders`, which may be
    fewer than are asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.probing.nulls import target_orders
    >>> target_orders(6, 1, np.random.RandomState(3), np.array([0, 0, 1, 1, 2, 2]))
    array([[2, 3, 0, 1, 4, 5]])
    """
    if in_time:
        return shifted_orders(n_samples, n_orders, rng)
    if groups is None:
        return np.stack([rng.permutation(n_samples) for _ in range(n_orders)])
    _, of_group = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(of_group == g) for g in range(of_group.max() + 1)]
    orders = np.empty((n_orders, n_samples), dtype=int)
    for order in orders:
        for own, g in zip(members, rng.permutation(len(members)), strict=True):
            order[own] = members[g][np.arange(len(own)) % len(members[g])]
    return orders


#: scores, layers and whether they live, of the units of one network (n_units,)
Scored = tuple[NDArray, NDArray, NDArray]


def null_by_layer(name: str, networks: Iterable[Scored], layer_of: NDArray) -> Null:
    """Scores of other networks' units, each compared with units of its own layer.

    Units that do not live are no draws: they would make chance look worse than it is.

    Parameters
    ----------
    name : str
    networks : iterable of Scored
        Of networks under the null, which may have other numbers of units.
    layer_of : ndarray of shape (n_units,), int
        Layers of the units that are compared with them.
    """
    draws, layers = [np.zeros(0)], [np.zeros(0, dtype=int)]
    for scores, of, lives in networks:
        draws.append(scores[lives])
        layers.append(of[lives])
    strata = np.concatenate(layers), layer_of
    return Null(name, np.concatenate(draws), matched=False, layers=strata)


def is_of_label(weight: NDArray, y: NDArray) -> bool:
    """Whether weights differ between classes, and not within any.

    Such weights go with the labels when these are shuffled. Others belong to the samples, and
    stay: the null is about the labels. If y is not one class a sample, the answer is no.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.probing.nulls import is_of_label
    >>> is_of_label(np.array([3.0, 1.0, 1.0]), np.array(["rare", "common", "common"]))
    True
    """
    if y.ndim > 1 or y.dtype.kind == "f" or np.ptp(weight) == 0:
        return False
    return all(np.ptp(weight[y == label]) == 0 for label in np.unique(y))


def untrained_twins(module: nn.Module, n_twins: int, rng: np.random.RandomState) -> Iterator[Any]:
    """Copies of a module with fresh random weights.

    Every submodule that has ``reset_parameters`` is asked to draw its weights anew; entries of a
    parameter that this leaves as it was are shuffled. Buffers are reset where the submodule does.
    """
    for _ in range(n_twins):
        twin = copy_module(module)
        stream = RandomStream(int(rng.randint(2**31 - 1)), "cpu")
        with stream.as_global(), torch.no_grad():
            _reinitialise(twin, rng)
        yield twin


def _reinitialise(module: nn.Module, rng: np.random.RandomState) -> None:
    fresh: set[int] = set()
    for part in module.modules():
        if isinstance(part, MLP):
            part.reset_parameters(rng)
            fresh |= {id(p) for p in part.parameters()}
        elif id(part) not in fresh and callable(getattr(part, "reset_parameters", None)):
            before = [p.clone() for p in part.parameters()]
            part.reset_parameters()  # type: ignore[operator]  # it is callable: see above
            # a parametrised weight is computed, and resetting it changes nothing that lasts
            pairs = zip(part.parameters(), before, strict=True)
            fresh |= {id(p) for p, b in pairs if not torch.equal(p, b) or not p.any()}
    for parameter in module.parameters():
        if id(parameter) not in fresh:
            flat = parameter.view(-1)
            flat.copy_(flat[torch.randperm(len(flat))])


def reseeded(estimator: Any, rng: np.random.RandomState) -> Any:
    """A clone whose random states, nested ones too, are drawn anew, and weights that it has."""
    twin = clone(estimator)
    twin = seeded(twin.set_params(**dict.fromkeys(_random_states(twin))), rng)
    return with_fresh_weights(twin, int(rng.randint(2**31 - 1))) if _given_weights(twin) else twin


def with_fresh_weights(estimator: Any, seed: int) -> Any:
    """The estimator, weights of module instances in ``net`` drawn anew; else it is left as it is.

    Such a module is trained from the weights that it has, whatever the ``random_state``: networks
    of other seeds would all start from one point, and be alike for that.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    seed : int
    """
    for name, net in _given_weights(estimator).items():
        own = cloned_net(net)
        module = own if isinstance(own, nn.Module) else own.module
        if not any(is_lazy(p) for p in module.parameters()):  # which has no weights yet
            with RandomStream(seed, "cpu").as_global(), torch.no_grad():
                _reinitialise(module, np.random.RandomState(seed))
        estimator.set_params(**{name: own})
    return estimator


def _given_weights(estimator: Any) -> dict[str, Any]:
    """Networks by parameter, nested ones too, that are trained from weights that they have."""
    found = {n: v for n, v in estimator.get_params().items() if n.split("__")[-1] == "net"}
    modules = {n: v.module if isinstance(v, NeuralNet) else v for n, v in found.items()}
    return {n: v for n, v in found.items() if isinstance(modules[n], nn.Module)}


def seeded(estimator: Any, rng: np.random.RandomState) -> Any:
    """The estimator, with a seed for every random state, nested ones too, that is None."""
    free = [n for n in _random_states(estimator) if estimator.get_params()[n] is None]
    return estimator.set_params(**{name: int(rng.randint(2**31 - 1)) for name in free})


def _random_states(estimator: Any) -> list[str]:
    return sorted(n for n in estimator.get_params() if n.split("__")[-1] == "random_state")


def random_rotations(A: NDArray, n_draws: int, rng: np.random.RandomState) -> Iterator[NDArray]:
    """Activations (n_samples, n_units) of a layer along random orthonormal directions.

    A score that is as high there is a property of the layer's subspace, not of its units
    (Gurnee et al. 2024 [1]_).

    References
    ----------
    .. [1] W. Gurnee et al., "Universal neurons in GPT2 language models", 2024.
       https://arxiv.org/abs/2401.12181
    """
    n_units = A.shape[1]
    for _ in range(n_draws):
        if n_units == 1:
            yield A * rng.choice([-1.0, 1.0])
        else:
            yield A @ ortho_group.rvs(n_units, random_state=rng)


def split_halves(n_samples: int, rng: np.random.RandomState) -> tuple[NDArray, NDArray]:
    """Two random disjoint halves of the samples: match units on one, score on the other.

    A matching maximises what it is judged by, so a correlation on the samples it was found on
    is inflated; on the other half it is not (``metrics.matched_correlation``).
    """
    order = rng.permutation(n_samples)
    return np.sort(order[: n_samples // 2]), np.sort(order[n_samples // 2 :])
