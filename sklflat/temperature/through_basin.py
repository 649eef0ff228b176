"""The same temperatures through all models of a basin."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length, check_random_state

from sklflat._compat import validate_parameter_constraints
from sklflat.networks.units import Units
from sklflat.probing.basin import Basin
from sklflat.probing.sample import Sample
from sklflat.temperature.class_similarity import (
    class_distances,
    class_similarity,
    merge_temperatures,
)
from sklflat.temperature.class_tree import cophenetic, grow
from sklflat.temperature.probe import TemperatureProbe
from sklflat.temperature.resampled_rows import bootstrap_counts
from sklflat.temperature.stability import correlations
from sklflat.temperature.temperature_sample import TemperatureSample

__all__ = ["BasinTemperatures", "temperatures_through_basin"]

_CHECKED = ("temperatures", "linkage", "importance", "n_bootstrap", "random_state")


@dataclass(frozen=True, eq=False)
class BasinTemperatures:
    """Merge temperatures, trees and profiles of a minimum and of the models around it.

    Parameters
    ----------
    temperatures : ndarray of shape (n_temperatures,)
    similarity : ndarray of shape (1 + n_models, n_temperatures, n_classes, n_classes)
        The minimum first, as in all that follows.
    merge_temperatures : ndarray of shape (1 + n_models, n_classes, n_classes)
    tree_agreement : ndarray of shape (n_models, n_temperatures)
        Correlation of a model's tree with the minimum's, over all pairs of classes.
    profiles : ndarray of shape (1 + n_models, n_temperatures, n_units)
    profile_agreement : ndarray of shape (n_models, n_temperatures)
        Correlation of a model's profile with the minimum's.
    row_merges : ndarray of shape (n_draws, n_classes, n_classes)
        Merge temperatures of the minimum on bootstrap samples of the rows.
    """

    temperatures: NDArray
    similarity: NDArray = field(repr=False)
    merge_temperatures: NDArray = field(repr=False)
    tree_agreement: NDArray = field(repr=False)
    profiles: NDArray = field(repr=False)
    profile_agreement: NDArray = field(repr=False)
    row_merges: NDArray = field(repr=False)

    @property
    def merge_spread(self) -> float:
        """Standard deviation of log merge temperatures over the models, averaged over pairs.

        Of the pairs of classes that merge in every model and in every sample of the rows.
        """
        return _spread(self.merge_temperatures[1:], self._merging)

    @property
    def row_spread(self) -> float:
        """The same over bootstrap samples of the rows, at the minimum: what chance alone gives."""
        return _spread(self.row_merges, self._merging)

    @property
    def _merging(self) -> NDArray:
        """Pairs (n_classes, n_classes) that merge in all models and all samples of the rows."""
        merges = (self.merge_temperatures[1:], self.row_merges)
        return np.all([np.isfinite(m).all(axis=0) for m in merges], axis=0)


def temperatures_through_basin(
    basin: Basin,
    X: Any,
    y: Any,
    *,
    temperatures: Any = None,
    linkage: str = "average",
    importance: str = "ablation",
    n_bootstrap: int = 30,
    random_state: Any = 0,
) -> BasinTemperatures:
    """Sweep over temperatures at the minimum and at every model of its basin.

    Parameters
    ----------
    basin : Basin
        Of a classifier: see :func:`~sklflat.probing.sample_basin`.
    X : array-like of shape (n_samples, ...)
        Rows that neither found the minimum nor the basin.
    y : array-like of shape (n_samples,)
    temperatures : array-like of float, default=None
        The same for all models; ``None`` is a grid around the scale of the minimum's logits.
    linkage : str, default="average"
    importance : {"ablation", "gradient"}, default="ablation"
    n_bootstrap : int, default=30
        Bootstrap samples of the rows, for ``row_spread``.
    random_state : int, RandomState instance or None, default=0

    Returns
    -------
    BasinTemperatures

    Raises
    ------
    TypeError
        If the basin is none.
    ValueError
        As :class:`~sklflat.TemperatureProbe` does; and if the basin has no models.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklflat import SAMClassifier
    >>> from sklflat.probing import sample_basin
    >>> from sklflat.temperature import temperatures_through_basin
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SAMClassifier((8,), learning_rate_init=0.05, random_state=0).fit(X, y)
    >>> basin = sample_basin(clf, X, y, n_models=3, loss_rise=0.2, random_state=0)
    >>> found = temperatures_through_basin(basin, X, y)
    >>> found.merge_temperatures.shape, found.tree_agreement.shape
    ((4, 3, 3), (3, 25))
    """
    if not isinstance(basin, Basin):
        raise TypeError(f"basin={basin!r} is none: it has to come from sample_basin.")
    constraints = {name: TemperatureProbe._parameter_constraints[name] for name in _CHECKED}
    given = (temperatures, linkage, importance, n_bootstrap, random_state)
    validate_parameter_constraints(
        constraints, dict(zip(_CHECKED, given, strict=True)), "temperatures_through_basin"
    )
    check_consistent_length(X, y)
    if not len(basin):
        raise ValueError("The basin has no models: raise loss_rise of sample_basin.")
    first, *models = _samples(basin, X, y, temperatures, importance)
    grid = first.temperatures
    rng = check_random_state(random_state)
    draws = bootstrap_counts(first.class_numbers, n_bootstrap, rng)
    similarity = np.stack([_similarity(m, first.weights) for m in (first, *models)])
    of_rows = _similarity(first, draws * first.weights).swapaxes(0, 1)
    profiles = np.stack([m.profiles for m in (first, *models)])
    trees = np.stack(
        [[cophenetic(grow(d, linkage)) for d in class_distances(S)] for S in similarity]
    )
    return BasinTemperatures(
        grid,
        similarity,
        np.stack([merge_temperatures(S, grid) for S in similarity]),
        np.stack([correlations(own, trees[0]) for own in trees[1:]]),
        profiles,
        np.stack([correlations(own, profiles[0]) for own in profiles[1:]]),
        np.stack([merge_temperatures(S, grid) for S in of_rows]),
    )


def _samples(
    basin: Basin, X: Any, y: Any, temperatures: Any, importance: str
) -> Iterator[TemperatureSample]:
    """The minimum and the models, one after the other as the same network, measured."""
    trained = basin.trained
    module = trained.network.module
    units = Units.find(module, trained.to_input(X)[:5], "hidden")
    sample = Sample(trained, units, X, np.asarray(y), None, None)
    first = TemperatureSample.measured(sample, temperatures, importance)
    _ = first.profiles  # while the network is there
    yield first
    for _network in basin.networks():
        model = TemperatureSample.measured(sample, first.temperatures, importance)
        _ = model.profiles
        yield model


def _similarity(sample: TemperatureSample, weight: NDArray) -> NDArray:
    y = sample.class_numbers
    return np.stack(
        [class_similarity(sample.probabilities(float(T)), y, weight) for T in sample.temperatures]
    )


def _spread(merges: NDArray, merging: NDArray) -> float:
    i, j = np.nonzero(np.triu(merging, 1))
    if len(merges) < 2 or not len(i):
        return float("nan")
    return float(np.log(merges[:, i, j]).std(axis=0, ddof=1).mean())
