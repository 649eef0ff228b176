"""Barriers on the segments between several copies of one network."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from sklflat.networks.state import read_state
from sklflat.paths import LinearPath, measure_barriers
from sklflat.training.estimators.trained_network import TrainedNetwork

#: points of a segment, ends and middle among them
N_POINTS = 11


def segment_barriers(
    networks: Sequence[TrainedNetwork],
    X: torch.Tensor,
    y: torch.Tensor,
    sample_weight: torch.Tensor | None = None,
) -> NDArray:
    """Barriers (n_pairs,) of the error above the mean of the ends, between all pairs of networks.

    Of a classifier it is a share of the rows, of a regressor of the variance of the targets.
    Statistics of batch normalisation are computed anew at every point, ends included, as mixed ones
    mean nothing.
    """
    network = networks[0].network
    has_statistics = any(
        isinstance(m, _BatchNorm) and m.running_mean is not None for m in network.module.modules()
    )
    states = [read_state(trained.network.module) for trained in networks]
    found = [
        measure_barriers(
            network,
            LinearPath(a, b),
            {"train": (X, y, sample_weight)},
            n_points=N_POINTS,
            refined=False,
            batch_statistics=X if has_statistics else None,
        ).value("error", "train", "mean")
        for a, b in combinations(states, 2)
    ]
    s = torch.ones(len(y)) if sample_weight is None else sample_weight
    return np.array(found) / networks[0].error_scale(y, s / s.sum())
