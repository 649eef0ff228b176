"""Parameters of given models of a basin."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sklflat.networks import Network
from sklflat.probing.resolve import resolve


def parameters_of(members: Any, network: Network, like: Tensor) -> Tensor:
    """Parameters (m, p) of estimators or states, or as they are given."""
    if not len(members):
        raise ValueError("members is empty: pass at least one parameter vector or estimator.")
    if hasattr(members[0], "fit"):
        members = [resolve(member).network.vector.read() for member in members]
    elif isinstance(members[0], Mapping):
        members = [_flattened(member, network) for member in members]
    rows = [torch.as_tensor(m).to(like) for m in members]
    for row in rows:
        if row.shape != like.shape:
            raise ValueError(
                f"A member has parameters of shape {tuple(row.shape)}, but the network has "
                f"{len(like)}: members are networks of the same architecture."
            )
    return torch.stack(rows)


def _flattened(state: Mapping[str, Any], network: Network) -> Tensor:
    names = [str(name) for name in network.vector.names]
    missing = [name for name in names if name not in state]
    if missing:
        raise ValueError(f"A member has no parameter {missing[0]!r}, which the network has.")
    return torch.cat([torch.as_tensor(state[name]).flatten() for name in names])
