"""Losses and errors of many sets of outputs on the rows of one sample."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.exceptions import OutputWidthError
from sklflat.probing.sample import Sample

#: numbers of outputs whose losses are computed at once
_MAX_OUTPUTS = 2**21

#: rows on which a criterion is compared with its parts
_N_FIRST = 32


@torch.no_grad()
def mean_losses(sample: Sample, outputs: Tensor) -> NDArray:
    """Mean losses (m,) of outputs (m, n_samples, ...).

    Raises
    ------
    ValueError
        If one is not finite.
    """
    network, m = sample.network, len(outputs)
    y = network.prepare(sample.target)
    y = y.repeat(m, *(1,) * (y.ndim - 1))
    weight = None if sample.weight is None else sample.weight.to(network.device).repeat(m)
    losses, weights = network.terms(outputs.flatten(0, 1), y, weight)
    total, size = (t.unflatten(0, (m, -1)).sum(1) for t in (losses, weights))
    means = network.criterion.mean(total, size).double().cpu().numpy()
    if not np.isfinite(means).all():
        raise ValueError(
            "The loss of the network with some units silenced is not finite. Look at its outputs "
            "and targets, or train it anew at a lower learning rate."
        )
    return means


def at_once(outputs: Tensor) -> int:
    """How many sets of outputs (n_samples, ...) are looked at in one go."""
    return max(1, _MAX_OUTPUTS // max(outputs.numel(), 1))


def row_errors(sample: Sample, outputs: Tensor) -> NDArray:
    """The error (n_samples,) of every row, from outputs (n_samples, ...).

    Of a classifier 0 or 1 (of indicators, the share of wrong ones); of a regressor the squared
    error relative to the variance of the targets, so that its mean is 1 - R^2.
    """
    trained = sample.trained
    z = outputs.double().cpu().numpy()
    z = z[:, None] if z.ndim == 1 else z
    if trained.classes is not None:
        wrong = trained.targets.predict(trained.targets.decision(z, trained.loss)) != sample.y
        return np.asarray(wrong, dtype=float).reshape(len(z), -1).mean(axis=1)
    y = np.asarray(sample.y, dtype=float).reshape(len(z), -1)
    said = np.asarray(trained.targets.predict(z), dtype=float).reshape(len(z), -1)
    centred = y - sample.weights @ y
    return np.square(said - y).mean(axis=1) / (sample.weights @ np.square(centred).mean(axis=1))


def check_targets(sample: Sample) -> None:
    """Refuse outputs that do not match the targets' width, and targets that do not vary.

    Raises
    ------
    OutputWidthError
        If the network has another number of outputs than there are targets.
    ValueError
        If real targets are the same in all rows.
    """
    if sample.trained.classes is None:
        _check_values(sample)
    # on a few rows, as a criterion that is new is taken apart one row at a time
    some = slice(_N_FIRST)
    sample.network.loss(sample.X[some], sample.target[some])


def _check_values(sample: Sample) -> None:
    y = np.asarray(sample.y, dtype=float).reshape(sample.n_samples, -1)
    width = sample.network.outputs(sample.X[:1]).shape[1]
    if width != y.shape[1]:
        raise OutputWidthError(
            f"The network has {width} outputs, but y has {y.shape[1]} targets. If the outputs are "
            "classes, say which: from_module(module, classes=[one label an output])."
        )
    if not np.ptp(y, axis=0).any():
        raise ValueError(
            "The targets are the same in all judged rows, so there is no R^2 that units could be "
            "needed for. Give rows whose targets vary."
        )
