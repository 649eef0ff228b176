"""Size of a basin: how far from a rewind point copies may start and still end connected."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklflat.networks import ParameterVector
from sklflat.rewinding.onset import Instability
from sklflat.rewinding.rewinds import Comparison, instability_of
from sklflat.training.runs import Training
from sklflat.training.runs.start import Start

#: lengths of the noise, as shares of the length of each parameter
RADII = (0.03, 0.1, 0.2, 0.4, 0.8, 1.6)


@dataclass(frozen=True)
class BasinSize:
    """Instability of copies that start at some distances from one step of a training.

    Parameters
    ----------
    step : int
        The rewind point.
    radii : tuple of float
        Ascending; 0 stands for none.
    points : tuple of Instability
        One a radius.
    tol : float
        Instability of connected copies at most.
    """

    step: int
    radii: tuple[float, ...]
    points: tuple[Instability, ...] = field(repr=False)
    tol: float

    @property
    def is_connected(self) -> tuple[bool, ...]:
        """Whether copies end connected, for each radius."""
        return tuple(p.value <= self.tol for p in self.points)

    @property
    def radius(self) -> float:
        """The largest radius up to which copies end connected, in the mean over pairs; or NaN."""
        own = self.is_connected
        n = own.index(False) if False in own else len(own)
        return self.radii[n - 1] if n else float("nan")

    @property
    def is_bounded(self) -> bool:
        """Whether a larger radius was looked at, from which copies do not end connected."""
        return False in self.is_connected

    @property
    def contradictions(self) -> tuple[float, ...]:
        """Radii beyond it from which copies are connected again, as instability is not monotone."""
        known = zip(self.radii, self.is_connected, strict=True)
        return tuple(r for r, own in known if own and not r <= self.radius)

    def to_frame(self) -> Any:
        """One row a radius, as a pandas DataFrame."""
        import pandas as pd

        rows = [
            {
                "radius": radius,
                "instability": p.value,
                "standard_error": p.standard_error,
                "connected": connected,
                "consistency": p.consistency,
            }
            for radius, p, connected in zip(self.radii, self.points, self.is_connected, strict=True)
        ]
        return pd.DataFrame(rows).set_index("radius")


def basin_size(
    comparison: Comparison,
    parent: Training,
    step: int,
    radii: Sequence[float],
    n_copies: int,
    tol: float,
    seed: int,
) -> BasinSize:
    """Train copies from noisy weights of one step, each in the parent's order of the rows.

    Each parameter is moved in a random direction by ``radius`` of its own length, so that one
    number means the same for all layers; what is zero stays. All else of the state is the parent's:
    a copy without noise is the parent. The copies of one radius have noise of their own; the
    directions are the same for all radii.

    Parameters
    ----------
    comparison : Comparison
    parent : Training
    step : int
    radii : sequence of float
    n_copies : int
        Networks that are compared for each radius, the parent among them.
    tol : float
    seed : int

    Raises
    ------
    ValueError
        Unless radii are finite numbers of 0 or more, each once.

    References
    ----------
    G. Kwok et al., "The butterfly effect: neural network training trajectories are highly sensitive
    to initial conditions", ICML 2025.
    """
    chosen = tuple(sorted(float(r) for r in radii))
    if (
        not chosen
        or not np.isfinite(chosen).all()
        or chosen[0] < 0
        or len(set(chosen)) < len(chosen)
    ):
        raise ValueError(f"radii={radii!r} must be different finite numbers of 0 or more.")
    recipe, state = comparison.recipe, parent.states[step]
    generator = torch.Generator().manual_seed(seed)
    noise = [_relative_noise(parent, step, generator) for _ in range(n_copies - 1)]
    copies = {
        radius: [recipe.training(start=Start(state, noise=radius * own)) for own in noise]
        for radius in chosen
    }
    recipe.run([t for own in copies.values() for t in own])
    points = [instability_of(comparison, parent, step, own) for own in copies.values()]
    return BasinSize(step, chosen, tuple(points), tol)


def _relative_noise(parent: Training, step: int, generator: torch.Generator) -> Tensor:
    """A random vector (p,) whose part for each parameter is as long as the parameter."""
    arrays, vector = parent.states[step].arrays, ParameterVector.of(parent.estimator.module_)
    parts = []
    for name in vector.names:
        w = torch.as_tensor(arrays[f"module/{name}"])
        drawn = torch.randn(w.shape, generator=generator, dtype=w.dtype)
        parts.append((drawn * w.norm() / drawn.norm()).flatten())
    return torch.cat(parts)
