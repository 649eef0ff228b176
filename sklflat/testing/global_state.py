"""The random numbers of the whole process, which nothing here may use up."""

from typing import Any

import numpy as np
import torch


def global_random_states() -> tuple[Any, Any]:
    """The states of torch's and NumPy's global generators."""
    state: Any = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state(), state[1].copy()


def are_unchanged(before: tuple[Any, Any]) -> bool:
    """Whether the global generators still are in these states."""
    now = global_random_states()
    return torch.equal(before[0], now[0]) and bool((before[1] == now[1]).all())
