"""What a network was trained on, so that it can be trained again on shuffled labels."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from sklflat.exceptions import DivergenceError, DivergenceWarning, warn
from sklflat.metrics.consistency import too_many_failed
from sklflat.probing.nulls import is_of_label, reseeded, target_orders
from sklflat.training.runs import Training
from sklflat.training.stacking import train

__all__ = ["TrainingSet", "train_all"]


@dataclass(frozen=True)
class TrainingSet:
    """What a network was trained on, so that twins of it can be trained.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    X : array-like of shape (n_samples, ...)
    y : ndarray of shape (n_samples, ...)
    fit_params : dict
        Go to ``fit``, cut to these samples.
    n_jobs : int, default=None
        Twins trained at once, by joblib.
    groups : ndarray of shape (n_samples,), default=None
        Labels of a group are shuffled together.
    in_time : bool, default=False
        Labels are shifted in time in place of being shuffled.
    """

    estimator: Any
    X: Any
    y: NDArray
    fit_params: dict[str, Any]
    n_jobs: int | None = None
    groups: NDArray | None = None
    in_time: bool = False

    def train_on_shuffled_labels(
        self, n_orders: int, n_each: int, rng: np.random.RandomState, **settings: Any
    ) -> list[Any]:
        """Twins with seeds of their own, from whose labels nothing is to be learned.

        Networks that can be stacked are trained as one stack. Those that diverge are left out,
        with all others of the same shuffled labels: the network in question did not diverge, and
        is compared with networks that did not.

        Parameters
        ----------
        n_orders : int
            How often the labels are shuffled.
        n_each : int
            Twins with the same shuffled labels; they are neighbours in the list.
        rng : RandomState
        **settings
            Of :func:`~sklflat.training.stacking.train`.

        Returns
        -------
        estimators : list of fitted estimators
            ``n_each`` for each order of the labels that is left.

        Raises
        ------
        DivergenceError
            If more than a quarter diverge.
        """
        trainings = []
        for _ in range(n_orders):
            (order,) = target_orders(len(self.y), 1, rng, self.groups, self.in_time)
            params = self._shuffled_params(order)
            trainings += [
                Training(reseeded(self.estimator, rng), self.X, self.y[order], dict(params))
                for _ in range(n_each)
            ]
        with warnings.catch_warnings():
            # noise need not be learned to the end: they get the epochs of the one in question
            warnings.simplefilter("ignore", ConvergenceWarning)
            return train_all(
                trainings, self.n_jobs, what="trained on shuffled labels", n_each=n_each, **settings
            )

    def _shuffled_params(self, order: NDArray) -> dict[str, Any]:
        """The parameters of ``fit`` for shuffled labels: weights that are of these go with them."""
        return {
            name: np.asarray(value)[order] if _moves(name, value, self.y) else value
            for name, value in self.fit_params.items()
        }


def train_all(
    trainings: list[Training],
    n_jobs: int | None,
    *,
    what: str,
    n_needed: int = 0,
    n_least: int = 1,
    n_each: int = 1,
    **settings: Any,
) -> list[Any]:
    """Train, stacked where that is possible; those that diverge are left out and counted.

    Parameters
    ----------
    trainings : list of Training
    n_jobs : int or None
    what : str
        They are, as in "2 of 8 networks trained on shuffled labels".
    n_needed : int, default=0
        So many at the beginning of the list are needed, and are not counted: what such a training
        ended with is raised.
    n_least : int, default=1
        Of the others that have to be left.
    n_each : int, default=1
        Neighbours that belong together: if one is left out, so are they all. Such sets are
        counted then, in `n_needed` and `n_least` as well.
    **settings
        Of :func:`~sklflat.training.stacking.train`.

    Returns
    -------
    estimators : list of fitted estimators

    Raises
    ------
    DivergenceError
        If one that is needed or more than a quarter of the others diverge, or too few are left.

    Warns
    -----
    DivergenceWarning
        If some are left out.
    """
    for i in train(trainings, n_jobs=n_jobs, **settings):
        error = trainings[i].error
        if error is not None and (i < n_needed or not isinstance(error, DivergenceError)):
            raise error
    sets = [trainings[k : k + n_each] for k in range(0, len(trainings), n_each)]
    _count_failures(sets[n_needed:], what, n_least)
    return [t.estimator for own in sets if all(t.error is None for t in own) for t in own]


def _count_failures(sets: list[list[Training]], what: str, n_least: int) -> None:
    """Say how many have failed, of which one is enough in a set; raise if these are too many."""
    failed = [[t.error for t in own if t.error is not None] for own in sets]
    errors = [own[0] for own in failed if own]
    if not errors:
        return
    n, alone = len(sets), len(sets[0]) == 1
    found = f"{len(errors)} of {n} {'' if alone else f'sets of {len(sets[0])} '}networks {what}"
    found += " diverged" if alone else " have one that diverged"
    if too_many_failed(len(errors), n) or n - len(errors) < n_least:
        raise DivergenceError(
            f"{found}, which is too many: more than a quarter, or fewer than {n_least} are left. "
            f"Lower learning_rate_init or rho. The first failed with: {errors[0]}"
        ) from errors[0]
    warn(f"{found} and are left out. The first failed with: {errors[0]}", DivergenceWarning)


def _moves(name: str, value: Any, y: NDArray) -> bool:
    if name.split("__")[-1] != "sample_weight" or value is None or y.ndim > 1:
        return False
    return y.dtype.kind != "f" and is_of_label(np.asarray(value), y)
