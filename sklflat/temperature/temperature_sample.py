"""What a TemperatureProbe scores units on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklflat.exceptions import NothingFoundWarning, warn
from sklflat.networks.checks import require_finite
from sklflat.probing.nulls import n_untrained
from sklflat.probing.sample import Sample
from sklflat.temperature.profiles import (
    affine_above,
    class_logits,
    normalised,
    unit_profiles,
)
from sklflat.temperature.softened import softened
from sklflat.training.estimators.loss_landscape import evenly_spread

__all__ = ["TemperatureSample", "temperature_grid"]

#: temperatures of the default grid, and how far it reaches on both sides of the logits' scale
_N_TEMPERATURES, _REACH = 25, 30.0

#: rows on which the units of the network and of its null twins are ablated
MAX_ROWS = 500


@dataclass(frozen=True, eq=False, kw_only=True)
class TemperatureSample(Sample):
    """A classifier's logits on labelled rows, and its units' importance over temperatures.

    Parameters
    ----------
    logits : ndarray of shape (n_samples, n_classes)
        Of all classes of the classifier.
    present : ndarray of int
        Which of these have a row.
    temperatures : ndarray of shape (n_temperatures,)
        Rising.
    importance : {"ablation", "gradient"}
    """

    logits: NDArray = field(repr=False)
    present: NDArray
    temperatures: NDArray
    importance: str
    #: profiles, layers and whether they live, of the units of the null networks that were drawn
    drawn: dict[str, list[tuple[NDArray, NDArray, NDArray]]] = field(
        default_factory=dict, repr=False
    )

    @classmethod
    def measured(cls, sample: Sample, temperatures: Any, importance: str) -> "TemperatureSample":
        """Compute the logits of a sample's rows.

        Parameters
        ----------
        sample : Sample
        temperatures : array-like or None
            None is a grid of 25 from a thirtieth of the logits' scale to thirty times that.
        importance : {"ablation", "gradient"}

        Raises
        ------
        ValueError
            For a regressor, multilabel targets, rows of one class, or temperatures that are not
            positive numbers.

        Warns
        -----
        NothingFoundWarning
            If a class has no row.
        """
        classes = sample.trained.classes
        if classes is None or sample.labels.ndim > 1:
            raise ValueError(
                "TemperatureProbe needs a classifier with one label a row, as temperatures soften "
                "its softmax; the estimator is "
                + ("a regressor." if classes is None else "for multilabel targets.")
            )
        z = _logits(sample)
        present = np.unique(sample.labels).astype(int)
        if len(present) < 2 and sample.training is None:
            raise ValueError(
                f"y holds one class only, {classes[present].tolist()}: a tree of classes needs "
                "rows of two at least."
            )
        if len(present) < len(classes):
            absent = np.setdiff1d(classes, classes[present]).tolist()
            warn(
                f"No row that is scored is of class {absent}: these classes are left out of the "
                "trees. Give more rows, or raise holdout.",
                NothingFoundWarning,
            )
        require_finite(sample.network.module, torch.as_tensor(z), "outputs")
        return cls.extending(
            sample,
            logits=z,
            present=present,
            temperatures=temperature_grid(temperatures, z),
            importance=importance,
        )

    def probabilities(self, T: float) -> NDArray:
        """Softened output (n_samples, n_present), of the classes that have a row."""
        return softened(self.logits, T)[:, self.present]

    @cached_property
    def class_numbers(self) -> NDArray:
        """Which of the present classes (n_samples,) the rows are of."""
        return np.searchsorted(self.present, self.labels.astype(int))

    @property
    def class_names(self) -> NDArray:
        """The classes (n_present,) that have a row."""
        return np.asarray(self.trained.classes)[self.present]

    @cached_property
    def profiles(self) -> NDArray:
        """Importance (n_temperatures, n_units) of the units; adds up to 1 at each temperature."""
        rows = evenly_spread(self.n_samples, MAX_ROWS)
        affine = self.affine_above if self.importance == "ablation" else None
        return normalised(unit_profiles(self, self.temperatures, self.importance, rows, affine))

    @cached_property
    def affine_above(self) -> tuple[bool, ...]:
        """Layers whose ablations are taken by derivatives."""
        return affine_above(self)

    def draw_nulls(self, n_draws: int, rng: np.random.RandomState) -> None:
        """Draw profiles of networks that have learned nothing, with about n_draws units in all."""
        kinds = {"untrained twins": self.untrained_twins}
        if self.training is not None:
            kinds["networks trained on permuted labels"] = self.shuffled_label_twins
        own, living = n_draws / len(kinds), self.units.layer_of[~self.dead]
        for name, twins in kinds.items():
            # trained ones cost too much to be as many as the smallest layer wants
            untrained = twins == self.untrained_twins
            n = n_untrained(own, living) if untrained else int(np.ceil(own / max(1, len(living))))
            self.drawn[name] = [
                (t.profiles, t.units.layer_of, ~t.dead) for t in self.scored_like(twins(n, rng))
            ]

    def scored_like(self, twins: Iterator[Sample]) -> Iterator["TemperatureSample"]:
        """Other networks on the same rows, at both ends of the temperatures.

        These are the same relative to the scale of their logits. An untrained network's are small:
        at the same temperatures its softmax would be nearly linear everywhere.
        """
        scale = _scale(self.logits)
        for twin in twins:
            z = _logits(twin)
            ratio = _scale(z) / scale if scale > 0 else 1.0
            scored = self.extending(
                twin,
                logits=z,
                present=self.present,
                importance=self.importance,
                temperatures=self.temperatures[[0, -1]] * (ratio if ratio > 0 else 1.0),
            )
            vars(scored)["affine_above"] = self.affine_above  # a null of the same statistic
            yield scored


def _logits(sample: Sample) -> NDArray:
    """Logits (n_samples, n_classes) in the order of the classes, which a module's need not have."""
    with torch.no_grad():
        z = class_logits(sample.network.outputs(sample.X)).numpy()
    return np.asarray(z[:, sample.trained.order])


def _scale(logits: NDArray) -> float:
    """Root mean square of the centred logits, also where their squares are out of range."""
    largest = float(np.abs(logits).max())
    z = logits / largest if largest > 0 else logits
    return largest * float(np.sqrt(np.mean(np.square(z - z.mean(axis=1, keepdims=True)))))


def temperature_grid(temperatures: Any, logits: NDArray) -> NDArray:
    """Rising temperatures (n_temperatures,), as given or around the scale of the logits."""
    if temperatures is None:
        scale = _scale(logits) or 1.0
        return scale * np.logspace(-np.log10(_REACH), np.log10(_REACH), _N_TEMPERATURES)
    try:
        grid = np.unique(np.asarray(temperatures, dtype=float).ravel())
    except (TypeError, ValueError):  # no numbers
        grid = np.empty(0)
    if not len(grid) or not np.isfinite(grid).all() or grid.min() <= 0:
        raise ValueError(
            f"temperatures={temperatures!r} must be positive numbers, at least one; None is a grid "
            "around the scale of the logits."
        )
    return grid
