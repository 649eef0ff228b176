"""Whether perturbations lead to where the network knows nothing, and what in X makes them do so."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.exceptions import PerturbationWarning, warn
from sklflat.networks import TaskLoss
from sklflat.training.estimators.trained_network import network_of
from sklflat.training.perturbations.base import Perturbation, Position

#: rows on which the loss is compared, at most
_N_ROWS = 500

#: share of a constant prediction's loss above which training has not got far, in so many epochs
_FAILED, _N_EPOCHS = 0.25, 10

#: columns that are so many times larger than the median one are named, and how many of them
_LARGE, _N_NAMED = 10.0, 3


def warn_of_destruction(estimator: Any, X: NDArray, y: Tensor) -> None:
    """Warn if the last perturbations raise the loss by more than a constant prediction's.

    There the network does worse than one that does not look at its inputs, so the gradient says
    nothing about it, and training fails or is slow. A column of X in other units is enough: the
    perturbation, of length rho over all parameters, goes into the weights of that column. There is
    no word where the loss is well below that of a constant, nor in the first epochs, in which
    gradients are large anyway.

    Parameters
    ----------
    estimator : fitted estimator
    X : ndarray of shape (n_samples, ...)
        Training data.
    y : Tensor of shape (n_samples, ...)
        Targets as the loss wants them.

    Warns
    -----
    PerturbationWarning
    """
    perturbation = estimator.net_.steps_.perturbation
    if not _is_gradients(perturbation) or estimator.n_iter_ < _N_EPOCHS:
        return
    rows = np.linspace(0, len(X) - 1, min(len(X), _N_ROWS)).astype(int)
    few = estimator._input(X[rows]), y[torch.as_tensor(rows)]
    constant = _of_constant(estimator._loss, y.double())
    loss, rise = _loss_and_rise(estimator, perturbation, *few)
    if rise > constant and loss > _FAILED * constant > 0:
        warn(
            f"At the end of training, perturbations of rho={perturbation.rho:g} raise the loss by "
            f"{rise:.3g}, where a constant prediction has {constant:.3g}: gradients are taken "
            f"where the network knows nothing. {_large_columns(estimator, X)}Scale the inputs, as "
            "by make_pipeline(StandardScaler(), ...), or lower rho.",
            PerturbationWarning,
        )


def _is_gradients(perturbation: Perturbation | None) -> bool:
    """Whether a perturbation is a function of the gradient alone."""
    if perturbation is None or not getattr(perturbation, "rho", 0):
        return False
    needs_more = perturbation.needs_landscape or perturbation.needs_samples
    return perturbation.needs_gradient and not needs_more


def _loss_and_rise(
    estimator: Any, perturbation: Perturbation, x: Tensor, y: Tensor
) -> tuple[float, float]:
    """The loss at the trained parameters, and by how much a perturbation raises it."""
    network = network_of(estimator.net_)
    network.verified.add("rows")  # whether rows are their own matters to no fit
    w = network.vector.read()
    loss, g = network.loss_and_gradient(w, x, y)
    if not bool(g.any()) or not bool(g.isfinite().all()):
        return float(loss), 0.0
    rate = max(float(group["lr"]) for group in estimator.net_.optimizer_.param_groups)
    at = Position(w, network.vector.is_weight, rate, velocity=g)
    perturbed, _ = perturbation.perturb(g, at, perturbation.init(w))
    network.vector.write(perturbed)
    return float(loss), float(network.loss(x, y) - loss)


def _of_constant(loss: str, y: Tensor) -> float:
    """The loss of the best constant outputs."""
    if loss == "softmax":
        share = torch.bincount(y.long()).double() / len(y)
        z = share.clamp_min(1e-12).log()
        return float(TaskLoss(loss)(z.expand(len(y), -1), y.long()))
    mean = y.mean(0, keepdim=True)
    if loss == "logistic":
        mean = torch.logit(mean, eps=1e-12)
    elif loss == "poisson":
        mean = mean.clamp_min(1e-12).log()
    return float(TaskLoss(loss)(mean.expand(len(y), -1), y))


def _large_columns(estimator: Any, X: NDArray) -> str:
    """Which columns are far larger than the others, as a sentence."""
    if X.ndim != 2 or X.dtype.kind not in "fiu":
        return ""
    size = np.sqrt(np.square(X, dtype=float).mean(0))
    typical = float(np.median(size))
    largest = [j for j in np.argsort(-size)[:_N_NAMED] if size[j] > _LARGE * typical]
    if not largest:
        return f"Columns of X have a root mean square of about {typical:.3g}. "
    names = getattr(estimator, "feature_names_in_", None)
    said = ", ".join(
        f"{repr(str(names[j])) if names is not None else j} ({size[j]:.3g})" for j in largest
    )
    return (
        f"The root mean square of columns of X is {typical:.3g} in the median, but far larger for "
        f"{said}. "
    )
