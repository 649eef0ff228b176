"""What a network was trained on, so that it can be trained again on shuffled labels."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

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

        Networks that can be stacked are trained as one stack. What a training ended with is
        raised.

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
            train_all(trainings, self.n_jobs, **settings)
        return [training.estimator for training in trainings]

    def _shuffled_params(self, order: NDArray) -> dict[str, Any]:
        """The parameters of ``fit`` for shuffled labels: weights that are of these go with them."""
        return {
            name: np.asarray(value)[order] if _moves(name, value, self.y) else value
            for name, value in self.fit_params.items()
        }


def train_all(trainings: list[Training], n_jobs: int | None, **settings: Any) -> None:
    """Train, stacked where that is possible; the first training that failed is raised."""
    for i in train(trainings, n_jobs=n_jobs, **settings):
        error = trainings[i].error
        if error is not None:
            raise error


def _moves(name: str, value: Any, y: NDArray) -> bool:
    if name.split("__")[-1] != "sample_weight" or value is None or y.ndim > 1:
        return False
    return y.dtype.kind != "f" and is_of_label(np.asarray(value), y)
