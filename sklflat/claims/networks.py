"""Networks that claims compare: trained as a stack, and looked at on the way."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklflat.claims.data import Rows
from sklflat.claims.protocol import Protocol
from sklflat.datasets import Truth
from sklflat.metrics import (
    effective_rank,
    matched_correlation,
    neural_collapse,
    tree_explainability,
)
from sklflat.training import SAMClassifier
from sklflat.training.runs import Training
from sklflat.training.runs.start import Start
from sklflat.training.stacking import train

__all__ = [
    "Trained",
    "classifier",
    "collapse",
    "live",
    "match_accuracy",
    "network_parameters",
    "rank_of",
    "reproduced",
    "sharpness_of",
    "single_feature_score",
    "steps_of",
    "train_all",
    "trained_from",
    "whole_budget",
]

#: checkpoints of a training among which accuracies are matched
N_CHECKPOINTS = 12
#: radius at which the sharpness of all arms is measured, whatever they were trained with
RADIUS = 0.1


def whole_budget(epochs: int) -> dict[str, Any]:
    """Parameters by which a training uses up its epochs, whatever the loss does."""
    return {"max_iter": epochs, "n_iter_no_change": epochs + 1, "tol": 0.0}


def network_parameters(protocol: Protocol, epochs: int | None = None) -> dict[str, Any]:
    """Parameters of a network by the sizes of a protocol; all epochs are used up.

    Parameters
    ----------
    protocol : Protocol
    epochs : int, default=None
        None takes those of the protocol.
    """
    return {
        "hidden_layer_sizes": (protocol.count("width"),),
        "batch_size": protocol.count("batch_size"),
        "learning_rate_init": protocol.setting("learning_rate"),
        **whole_budget(protocol.count("epochs") if epochs is None else epochs),
    }


def classifier(protocol: Protocol, epochs: int | None = None, **changed: Any) -> SAMClassifier:
    """A classifier by the sizes of a protocol, trained plainly unless ``rho`` is ``changed``."""
    return SAMClassifier(**{"rho": 0.0} | network_parameters(protocol, epochs) | changed)


def steps_of(estimator: Any, n_train: int) -> int:
    """Steps of a training that uses up its epochs."""
    return int(estimator.max_iter * np.ceil(n_train / estimator.batch_size))


@dataclass(frozen=True)
class Trained:
    """A trained network, and what it was at checkpoints.

    Attributes
    ----------
    estimator : fitted estimator
    states : dict of int to state
        By the number of steps made.
    n_steps : int
        Of the whole training.
    """

    estimator: Any
    states: dict[int, Any]
    n_steps: int

    @property
    def gradients_of_step(self) -> float:
        """Gradient evaluations of a step."""
        return float(self.estimator.n_gradient_evaluations_) / self.n_steps

    def at(self, step: int) -> Any:
        """The network after so many steps."""
        if step == self.n_steps:
            return self.estimator
        found = copy.copy(self.estimator)
        found.net_ = copy.copy(self.estimator.net_)
        found.net_.module_ = copy.deepcopy(self.estimator.net_.module_)
        found.net_.module_.load_state_dict(self.states[step])
        found.n_gradient_evaluations_ = round(self.gradients_of_step * step)
        return found

    def checkpoints(self) -> list[int]:
        """Numbers of steps, rising, the last of the whole training; not the beginning."""
        return [*(step for step in sorted(self.states) if step > 0), self.n_steps]

    def scores(self, X: NDArray, y: NDArray) -> dict[int, float]:
        """Accuracy, or R^2, at each checkpoint."""
        return {step: float(self.at(step).score(X, y)) for step in self.checkpoints()}


def train_all(
    estimators: Sequence[Any],
    rows: Rows | Sequence[tuple[NDArray, NDArray]],
    *,
    initial: Sequence[torch.Tensor | None] | None = None,
) -> list[Trained]:
    """Train estimators on the same rows, as far as possible as a stack.

    Parameters
    ----------
    estimators : sequence of estimator
        That use up their epochs.
    rows : Rows, or sequence of (X, y)
        The same for all, or one pair each.
    initial : sequence of Tensor or None, default=None
        Parameters to start from.

    Returns
    -------
    list of Trained

    Raises
    ------
    DivergenceError
        If one diverges.
    """
    pairs = [(rows.X, rows.y)] * len(estimators) if isinstance(rows, Rows) else list(rows)
    n_steps = [steps_of(e, len(X)) for e, (X, _) in zip(estimators, pairs, strict=True)]
    starts = [None] * len(estimators) if initial is None else list(initial)
    trainings = [
        Training(e, X, y, snapshots_at=_moments(n), initial=w)
        for e, (X, y), n, w in zip(estimators, pairs, n_steps, starts, strict=True)
    ]
    _finish(trainings)
    return [
        Trained(t.estimator, dict(t.estimator.net_.snapshots_), n)
        for t, n in zip(trainings, n_steps, strict=True)
    ]


def _moments(n_steps: int) -> tuple[int, ...]:
    """Steps before which the state is kept: the beginning, and more densely early on."""
    shares = (np.arange(1, N_CHECKPOINTS) / N_CHECKPOINTS) ** 1.5
    return (0, *sorted({max(1, round(n_steps * float(s))) for s in shares} - {n_steps}))


def match_accuracy(first: Trained, second: Trained, rows: Rows) -> tuple[Any, Any]:
    """Both networks at the accuracy, on the rows for that, that the less accurate one ends with.

    Of each the checkpoint with the nearest accuracy is taken, of several the last.

    Parameters
    ----------
    first, second : Trained
    rows : Rows

    Returns
    -------
    networks : tuple of two fitted estimators
    """
    curves = [network.scores(rows.X_match, rows.y_match) for network in (first, second)]
    target = min(curve[max(curve)] for curve in curves)
    found = []
    for network, curve in zip((first, second), curves, strict=True):
        nearest = min(abs(score - target) for score in curve.values())
        found.append(network.at(max(s for s in curve if abs(curve[s] - target) == nearest)))
    return found[0], found[1]


def live(A: NDArray) -> NDArray[np.bool_]:
    """Mask (n_units,) of units that vary over the rows (n_samples, n_units)."""
    deviation = A.std(axis=0)
    return np.asarray(deviation > 1e-6 * max(float(A.std()), 1e-300))


def single_feature_score(A: NDArray, rows: Rows, truth: Truth | None) -> NDArray[np.float64]:
    """How closely each unit follows one planted feature; on real data, a small tree of the inputs.

    Parameters
    ----------
    A : ndarray of shape (n_test, n_units)
        Activations on the rows judged on.
    rows : Rows
    truth : Truth or None
    """
    if truth is not None:
        return truth.recovery(A)
    return tree_explainability(A, rows.X_test, max_cuts=16)


def rank_of(A: NDArray) -> float:
    """Effective rank of centred activations."""
    return effective_rank(A - A.mean(axis=0))


def collapse(A: NDArray, y: NDArray) -> float:
    """Variability within classes relative to that between (NC1)."""
    return neural_collapse(A, y).within_class_variability


def reproduced(A: NDArray, B: NDArray) -> float:
    """Mean correlation of matched units of two networks, matched on half of the rows."""
    half = np.arange(len(A)) % 2 == 0
    return float(matched_correlation(A, B, fit_on=half).correlations.mean())


def sharpness_of(estimator: Any, X: NDArray, y: NDArray) -> float:
    """Rise of the loss within a radius of 0.1, by three steps of ascent."""
    return float(estimator.sharpness(X, y, RADIUS, steps=3))


def trained_from(network: Any, rows: Rows, step: int, n_children: int) -> tuple[Any, list[Any]]:
    """A network, and children that go on from one of its steps with other orders of the rows.

    Parameters
    ----------
    network : estimator
        With a ``random_state``.
    rows : Rows
    step : int
    n_children : int

    Returns
    -------
    parent : fitted estimator
    children : list of fitted estimator

    Raises
    ------
    DivergenceError
        If one diverges.
    """
    parent = Training(copy.deepcopy(network), rows.X, rows.y, states_at=(step,))
    _finish([parent])
    starts = [Start(parent.states[step], seed=k + 1) for k in range(n_children)]
    children = [Training(copy.deepcopy(network), rows.X, rows.y, start=s) for s in starts]
    _finish(children)
    return parent.estimator, [child.estimator for child in children]


def _finish(trainings: Sequence[Training]) -> None:
    """Train all; the first that failed is an error."""
    for i in train(trainings):
        error = trainings[i].error
        if error is not None:
            raise error
