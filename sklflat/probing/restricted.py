"""A network reduced to some of its units, and whether it matters which."""

from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.units import Units
from sklflat.probing.module import ModuleClassifier, ModuleRegressor
from sklflat.probing.resolve import preprocessing
from sklflat.training.estimators.trained_network import TrainedNetwork


class RestrictedModule(nn.Module):
    """A module with some of its units; the others are mean-ablated.

    Parameters
    ----------
    module : torch.nn.Module
    units : Units
    keep : bool array of shape (n_units,)
    constants : array of shape (n_units,)
        What the units that are not kept are fixed at: their means.
    """

    def __init__(self, module: nn.Module, units: Units, keep: NDArray, constants: NDArray) -> None:
        super().__init__()
        self.module = module
        self.units = units
        self.register_buffer("keep", torch.as_tensor(np.array(keep, dtype=bool)))
        self.register_buffer("constants", torch.as_tensor(np.array(constants, dtype=float)))

    def forward(self, X: Tensor) -> Tensor:
        """Outputs of the restricted module."""
        with self.units.replaced(self._replace):
            return self.module(X)

    def _replace(self, layer: int, a: Tensor) -> Tensor:
        own = torch.as_tensor(self.units.layer_of == layer, device=a.device)
        shape = (1, -1) + (1,) * (a.ndim - 2)
        constants = self.constants[own].to(a.dtype).view(shape)  # type: ignore[index]
        return torch.where(self.keep[own].view(shape), a, constants)  # type: ignore[index]


#: random choices end with so many that score as high, or with so many in all
_N_AS_HIGH, _MAX_RANDOM = 10, 199

#: p-values up to this say that it matters which units are kept
_LEVEL = 0.05


@dataclass(frozen=True)
class Restriction:
    """A network reduced to its selected units; ``print`` it.

    Attributes
    ----------
    estimator : fitted classifier or regressor
        The reduced network.
    n_units : int
        How many units it keeps.
    score : float
        Its accuracy, or R^2.
    full_score : float
        That of the whole network.
    random_scores : ndarray of shape (n_random,)
        Those of as many random units, of the same layers and about the same variances; none where
        all units that are alive are kept, as there is no other choice.
    """

    estimator: Any = field(repr=False)
    n_units: int
    score: float
    full_score: float
    random_scores: NDArray

    @property
    def p_value(self) -> float:
        """Share of choices, this one included, that score at least as high as this one.

        It rejects that it does not matter which units are kept. It stays valid where drawing ended
        with the tenth choice that scores as high (Besag and Clifford, Biometrika 78, 1991).
        """
        b = np.count_nonzero(self.random_scores >= self.score)
        return float((b + 1) / (len(self.random_scores) + 1))

    def __str__(self) -> str:
        if not len(self.random_scores):
            alive = "" if self.n_units == len(self.estimator.module.keep) else " that are alive"
            return (
                f"All {self.n_units} units{alive} are kept, so there is no other choice of "
                f"as many: the score is {self.score:.3f}, that of the whole network "
                f"{self.full_score:.3f}."
            )
        b = np.count_nonzero(self.random_scores >= self.score)
        shown = "so it matters which units are kept"
        if self.p_value > _LEVEL:
            shown = "so it is not shown to matter which units are kept"
        return (
            f"With {self.n_units} units the score is {self.score:.3f}, with all "
            f"{self.full_score:.3f}. Of {len(self.random_scores)} random choices of as many units, "
            f"of the same layers and about the same variances, {b} score as high "
            f"(p = {self.p_value:.3f}), {shown}."
        )


def restrict(
    probe: Any,
    X: Any,
    y: Any,
    n_random: int | str,
    rng: np.random.RandomState,
    keep: NDArray | None = None,
) -> Restriction:
    """Reduce a probe's network to some units, the selected ones unless said otherwise.

    See ``UnitProbe.restrict``.
    """
    keep = probe.support_ if keep is None else keep
    is_number = isinstance(n_random, Integral) and not isinstance(n_random, bool)
    if n_random != "auto" and not (is_number and int(n_random) >= 1):
        raise ValueError(f"n_random must be 'auto' or an int of at least 1, got {n_random!r}.")
    reduced = partial(_estimator, probe, probe._trained_network())
    chosen = reduced(keep)
    score = float(chosen.score(X, y))
    random: list[float] = []
    alive = ~probe.dead_
    keeps_all = bool((keep & alive).sum() == alive.sum())
    n_most = _MAX_RANDOM if n_random == "auto" else int(n_random)
    for _ in range(0 if keeps_all else n_most):
        choice = random_choice(probe, keep, alive, rng)
        random += [] if choice is None else [float(reduced(choice).score(X, y))]
        if n_random == "auto" and sum(r >= score for r in random) == _N_AS_HIGH:
            break
    everything = reduced(np.ones_like(keep))
    return Restriction(
        chosen,
        int(keep.sum()),
        score,
        float(everything.score(X, y)),
        np.array(random),
    )


def restricted_score(probe: Any, keep: NDArray, X: Any, y: Any) -> float:
    """The score of a fitted probe's network with some of its units (n_units,) only."""
    return float(_estimator(probe, probe._trained_network(), keep).score(X, y))


def random_choice(
    probe: Any, like: NDArray, among: NDArray, rng: np.random.RandomState
) -> NDArray | None:
    """A mask of as many random units in each layer, of about the same variances.

    For each unit that counts one of the fifth of its layer's candidates (at least two) whose
    variances are nearest on a logarithmic scale, none twice.

    The choice is like the units of the mask ``like`` (dead ones do not count), from the candidates
    of the mask ``among``. None if a layer has too few candidates.
    """
    mask = np.zeros_like(like)
    log_variance = np.log(np.maximum(probe.unit_variances_, np.finfo(float).tiny))
    for layer in range(len(probe.units_.layers)):
        own = probe.units_.layer_of == layer
        chosen, candidates = (np.flatnonzero(own & m) for m in (like & ~probe.dead_, among))
        if len(candidates) < len(chosen):
            return None
        n_near = max(2, int(np.ceil(len(candidates) / 5)))
        for u in rng.permutation(chosen):
            free = candidates[~mask[candidates]]
            near = free[np.argsort(np.abs(log_variance[free] - log_variance[u]))[:n_near]]
            mask[rng.choice(near)] = True
    return mask


def _estimator(probe: Any, trained: TrainedNetwork, keep: NDArray) -> Any:
    network, targets = trained.network, trained.targets
    if getattr(targets, "multilabel", False):
        raise UnsupportedNetworkError("restrict() is not defined for multilabel targets yet.")
    module = RestrictedModule(network.module, probe.units_, keep, probe.unit_means_)
    return with_module(probe.estimator_, trained, module)


def with_module(estimator: Any, trained: TrainedNetwork, module: nn.Module) -> Any:
    """A frozen estimator in which ``module`` replaces the trained network of a fitted one.

    All that stands in front of the network stays.
    """
    network, targets = trained.network, trained.targets
    criterion = network.criterion.module
    common = (str(network.device), preprocessing(estimator))
    if trained.classes is None:
        return ModuleRegressor(module, criterion, *common)
    # the labels in the order of the module's outputs
    return ModuleClassifier(module, criterion, getattr(targets, "given", targets.classes), *common)
