"""A fixed part of the training data, and the landscape of the loss on it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

from sklflat.curvature import Landscape
from sklflat.training.engine.optimizer import trained_parameters
from sklflat.training.engine.protocols import TrainedNet
from sklflat.training.estimators.trained_network import network_of

#: samples of a landscape, where nothing else is said
MAX_SAMPLES = 256


def evenly_spread(n: int, most: int) -> NDArray:
    """At most so many of n row numbers, from the first to the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def rows_of(net: Any, dataset: Any, rows: NDArray) -> tuple[Any, Any, Any]:
    """Inputs, targets and sample weights (or None) of some rows of a net's training data."""
    X, y = default_collate([dataset[int(i)] for i in rows])
    weight = None
    if hasattr(net, "split_input"):
        X, weight = net.split_input(X)
    return X, y, weight


def landscape_of(
    net: TrainedNet,
    dataset: Any,
    score: Callable[[NDArray, NDArray], float],
    max_samples: int = MAX_SAMPLES,
) -> Landscape:
    """The loss on a fixed part of a net's training data, in the precision of training.

    ``score(outputs, rows)`` is the score of outputs (n, k) on rows of the data set.
    """
    rows = evenly_spread(len(dataset), max_samples)
    vector = trained_parameters(net.optimizer_, net.module_)
    position = {id(p): i for i, p in enumerate(net.module_.parameters())}
    inputs = net.split_input(dataset.X)[0] if hasattr(dataset, "X") else dataset
    return Landscape(
        network_of(net),
        *rows_of(net, dataset, rows),
        order=[position[id(p)] for p in vector.parameters],
        inputs=inputs if hasattr(dataset, "X") and isinstance(inputs, torch.Tensor) else dataset,
        score=lambda z: score(z, rows),
        dtype=vector.dtype,
    )
