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
    known: NDArray | None = None,
) -> NDArray:
    """Barriers (n_pairs,) of the error above the mean of the ends, between all pairs of networks.

    ``known`` are those between all pairs of the first few networks, which are not computed again.

    Of a classifier it is a share of the rows, of a regressor of the variance of the targets.
    Statistics of batch normalisation are computed anew at every point, ends included, as mixed ones
    mean nothing.
    """
    network = networks[0].network
    has_statistics = any(
        isinstance(m, _BatchNorm) and m.running_mean is not None for m in network.module.modules()
    )
    states = [read_state(trained.network.module) for trained in networks]
    s = torch.ones(len(y)) if sample_weight is None else sample_weight
    scale = networks[0].error_scale(y, s / s.sum())
    known = np.empty(0) if known is None else known
    n_before = n_networks(len(known))
    before = dict(zip(combinations(range(n_before), 2), known, strict=True))

    def measured(i: int, j: int) -> float:
        barriers = measure_barriers(
            network,
            LinearPath(states[i], states[j]),
            {"train": (X, y, sample_weight)},
            n_points=N_POINTS,
            refined=False,
            batch_statistics=X if has_statistics else None,
        )
        return barriers.value("error", "train", "mean") / scale

    pairs = combinations(range(len(states)), 2)
    return np.array([before[pair] if pair in before else measured(*pair) for pair in pairs])


def n_networks(n_pairs: int) -> int:
    """How many networks have so many pairs.

    Examples
    --------
    >>> from sklflat.rewinding.segments import n_networks
    >>> n_networks(0), n_networks(1), n_networks(10)
    (1, 2, 5)
    """
    return round((1 + np.sqrt(1 + 8 * n_pairs)) / 2)
