"""Resampling: the rows that each child of a training gets, where the data are to differ, too."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

from sklflat.exceptions import RewindingWarning, warn
from sklflat.rewinding.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Resampling:
    """The rule by which each network is trained on rows of its own.

    Parameters
    ----------
    bootstrap : bool
        Whether rows are drawn with replacement.
    groups : ndarray of shape (n_samples,) or None
        The environments of the rows trained on; each network gets rows of one of them.
    """

    bootstrap: bool = False
    groups: NDArray | None = None

    @property
    def is_none(self) -> bool:
        """Whether all networks are trained on the same rows."""
        return not self.bootstrap and self.groups is None

    def check(self, recipe: Recipe, n_children: int) -> None:
        """Refuse early stopping, and warn where some environment has no child.

        Raises
        ------
        ValueError
            If training stops early: its validation rows would be among those drawn to train on.
        """
        if self.is_none:
            return
        if recipe.estimator.early_stopping:
            what = "bootstrap=True draws" if self.groups is None else "groups draw"
            raise ValueError(
                f"{what} rows with replacement, so that rows which early_stopping=True validates "
                "on would also be trained on. Set early_stopping=False of the network, and "
                "max_iter to the epochs it needs."
            )
        known = [] if self.groups is None else np.unique(self.groups[_usable(recipe)]).tolist()
        if len(known) > n_children:
            warn(
                f"No child is trained on groups {known[n_children:]}: there are {len(known)} "
                f"groups, and n_retrains={n_children}. Raise n_retrains.",
                RewindingWarning,
            )

    def draw(
        self, recipe: Recipe, k: int, rng: np.random.RandomState, order: NDArray | None = None
    ) -> NDArray | None:
        """Numbers of as many rows, drawn with replacement, or None where all take the same.

        Of classifiers as many of each class are drawn. With groups, the rows of the k-th network
        are all of one group: the groups take turns. Rows of weight 0 stay where they are.

        Parameters
        ----------
        recipe : Recipe
        k : int
        rng : RandomState
        order : ndarray of int, default=None
            In which targets are shuffled.

        Raises
        ------
        ValueError
            If a group lacks one of the classes.
        """
        if self.is_none:
            return None
        y, usable = recipe.rows.y, _usable(recipe)
        among = usable
        if self.groups is not None:
            known = np.unique(self.groups[usable])
            group = known[k % len(known)]
            among = usable & (self.groups == group)
        drawn = np.arange(len(usable))
        if not is_classifier(recipe.estimator) or y.ndim > 1:
            drawn[usable] = rng.choice(np.flatnonzero(among), usable.sum())
            return drawn
        y = y if order is None else y[order]
        for label in np.unique(y[usable]):
            own = usable & (y == label)
            if not (own & among).any():
                raise ValueError(
                    f"groups: {group} has no row of class {label} among those trained on, so "
                    "no child can be trained on it alone. Join groups until each has all classes."
                )
            drawn[own] = rng.choice(np.flatnonzero(own & among), own.sum())
        return drawn

    def shuffled(self, recipe: Recipe, rng: np.random.RandomState) -> NDArray:
        """An order of the targets at random; with groups within each, so that it keeps its classes.

        Rows of weight 0 change targets with each other alone.
        """
        usable = _usable(recipe)
        if self.groups is None and usable.all():
            return rng.permutation(len(usable))
        group = 0 if self.groups is None else np.unique(self.groups, return_inverse=True)[1]
        stratum = 2 * group + usable
        order = np.empty(len(usable), dtype=int)
        for value in np.unique(stratum):
            own = np.flatnonzero(stratum == value)
            order[own] = rng.permutation(own)
        return order


def _usable(recipe: Recipe) -> NDArray:
    """Mask of the rows of positive weight."""
    weight = recipe.rows.weight
    return np.ones(len(recipe.rows), dtype=bool) if weight is None else weight.numpy() > 0
