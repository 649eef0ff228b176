"""Networks of several estimators, each trained from several seeds, all at once."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from sklflat.connectivity.networks import trainings_from_seeds
from sklflat.exceptions import DivergenceError, DivergenceWarning, collected_warnings, warn
from sklflat.probing.nulls import seeded
from sklflat.probing.resolve import ends_frozen, resolve, unfitted
from sklflat.probing.split import Rows
from sklflat.report.stopping import epochs_short
from sklflat.training.runs import Training
from sklflat.training.stacking import train

#: rows on which outputs have to be finite
_N_LOOKED_AT = 64


@dataclass(frozen=True)
class TrainedNetworks:
    """Networks of one estimator from several seeds, and what training them has warned of."""

    networks: tuple[Any, ...]
    n_failed: int
    notes: tuple[str, ...]
    fresh: Any
    n_epochs_short: int


def train_all(
    estimators: dict[str, Any],
    rows: Rows,
    encoder: Any,
    n_models: int,
    seed: int,
    **settings: Any,
) -> dict[str, TrainedNetworks | DivergenceError]:
    """Train every estimator from the same seeds, all at once.

    Parameters
    ----------
    estimators : dict of str to estimator
        Not frozen.
    rows : Rows
        As the encoder returns them.
    encoder : fitted transformer or None
        What stands before the networks.
    n_models : int
        Further trainings of each.
    seed : int
    **settings
        Of :func:`~sklflat.training.stacking.train`.

    Raises
    ------
    DivergenceError
        If the first training of the first estimator diverges. Of another one it is in the place
        of what is returned.
    """
    plans: dict[str, list[Training]] = {}
    for name, estimator in estimators.items():
        fresh = seeded(unfitted(estimator), np.random.RandomState(seed))
        n = 1 if ends_frozen(fresh) else n_models + 1
        own = np.random.RandomState(seed + 1)
        plans[name] = trainings_from_seeds(fresh, n, rows.without_groups(), own)
    everything = [t for plan in plans.values() for t in plan]
    with collected_warnings() as caught:
        for _ in train(everything, **settings):
            pass
    said = _said_once(caught)
    return {name: _of(name, plan, encoder, said) for name, plan in plans.items()}


def _of(
    name: str, plan: Sequence[Training], encoder: Any, said: tuple[str, ...]
) -> TrainedNetworks | DivergenceError:
    for training in plan:
        error = training.error
        if error is not None and not isinstance(error, DivergenceError):
            raise named_error(name, error)
    if isinstance(plan[0].error, DivergenceError):
        return plan[0].error
    good = [t.estimator for t in plan if t.error is None]
    return TrainedNetworks(
        tuple(_frozen(e, encoder) for e in good),
        len(plan) - len(good),
        said,
        _whole(plan[0].estimator, encoder),
        epochs_short(plan[0].estimator),
    )


def named_error(name: str, error: Exception) -> Exception:
    """The error with the name of the estimator before what it says.

    Parameters
    ----------
    name : str
    error : Exception
    """
    if len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (f"estimator {name!r}: {error}",)
    return error


def without_diverged(
    trained: dict[str, TrainedNetworks | DivergenceError], first: str
) -> tuple[dict[str, TrainedNetworks], dict[str, str]]:
    """Estimators that were trained, and why others are left out, with a warning for each.

    Parameters
    ----------
    trained : dict of str to TrainedNetworks or DivergenceError
    first : str
        Name of the one that others are compared with.

    Returns
    -------
    good : dict of str to TrainedNetworks
    left_out : dict of str to str

    Raises
    ------
    DivergenceError
        If it is the first that diverged.
    """
    good, left_out = {}, {}
    for name, found in trained.items():
        if isinstance(found, TrainedNetworks):
            good[name] = found
        elif name == first:
            raise named_error(name, found)
        else:
            left_out[name] = f"{name} is left out, as it diverged: {found}"
            warn(left_out[name], DivergenceWarning)
    return good, left_out


def brought(networks: Sequence[Any], rows: Rows) -> TrainedNetworks | DivergenceError:
    """Networks that were brought trained, without those whose outputs are no numbers.

    Parameters
    ----------
    networks : sequence of frozen estimators
    rows : Rows

    Returns
    -------
    found : TrainedNetworks or DivergenceError
        The error if it is so with the first.
    """
    few = rows.take(np.arange(min(len(rows), _N_LOOKED_AT))).X
    good = tuple(each for each in networks if _is_finite(each, few))
    if not good or good[0] is not networks[0]:
        return DivergenceError("Outputs of the network that was given are not finite.")
    return TrainedNetworks(good, len(networks) - len(good), (), None, 0)


@torch.no_grad()
def _is_finite(frozen: Any, X: Any) -> bool:
    try:
        trained = resolve(frozen)
        return bool(trained.network.forward(trained.to_input(X)).isfinite().all())
    except (ValueError, TypeError):  # it does not read these rows: predictions say why
        return True


def _whole(fresh: Any, encoder: Any) -> Any:
    """What can be trained again, the encoder included; None where the network is frozen."""
    if ends_frozen(fresh):
        return None
    if encoder is None:
        return clone(fresh)
    return Pipeline([("encoder", clone(encoder)), ("network", clone(fresh))])


def _frozen(fitted: Any, encoder: Any) -> Any:
    if encoder is None:
        return FrozenEstimator(fitted)
    return FrozenEstimator(Pipeline([("encoder", encoder), ("network", fitted)]))


def _said_once(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    """Each message once; that the epochs ended training is one of its own kind."""
    said = {}
    for warning in caught:
        kind = issubclass(warning.category, ConvergenceWarning)
        said["convergence" if kind else str(warning.message)] = str(warning.message)
    return tuple(said.values())
