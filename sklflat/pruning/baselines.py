"""Orders of units that joint greedy orders have to beat."""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_selection import f_classif, f_regression

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import ParameterVector
from sklflat.probing.baselines import ablation, activation_variance, weight_norm
from sklflat.probing.sample import Sample


def spread_times_outgoing(sample: Sample) -> NDArray:
    """Standard deviation of a unit times the norm of its outgoing weights, shape (n_units,)."""
    vector = ParameterVector.of(sample.network.module)
    outgoing = sample.units.outgoing(vector).sum(vector.read().square())
    return np.sqrt(activation_variance(sample) * outgoing.double().cpu().numpy())


def f_statistic(sample: Sample) -> NDArray:
    """What ``SelectKBest`` goes by: the F of each unit with the targets, summed over targets."""
    A, y = sample.activations, np.asarray(sample.y)
    classifies = sample.trained.classes is not None
    score = f_classif if classifies else f_regression
    columns = [y] if y.ndim == 1 else list(y.T)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # constant units and targets, which are asked for below
        F = sum(score(A, column)[0] for column in columns if len(np.unique(column)) > 1)
    return np.nan_to_num(F * np.ones(A.shape[1]), nan=-1.0, posinf=np.finfo(float).max)


_SCORES = {
    "single ablation": ablation,
    "magnitude": weight_norm,
    "spread x outgoing norm": spread_times_outgoing,
    "SelectKBest": f_statistic,
}


def baseline_orders(sample: Sample, free: NDArray) -> dict[str, NDArray]:
    """Orders (n_units,) by simple scores, the best unit first; other units than `free` come last.

    Scores of weights are left out where the units' weights are not known.
    """
    rest = np.setdiff1d(np.arange(len(sample.units)), free)
    orders = {}
    for name, score in _SCORES.items():
        try:
            values = score(sample)[free]
        except UnsupportedNetworkError:
            continue
        orders[name] = np.concatenate([free[np.argsort(-values, kind="stable")], rest])
    return orders
