"""A network perturbed along a direction of its eigenspace."""

from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklflat.networks import ParameterVector
from sklflat.networks.network import copy_module
from sklflat.probing.restricted import with_module


def perturbed(spectrum: Any, direction: Any, scale: float, seed: int) -> Any:
    """A frozen estimator with perturbed parameters: see ``HessianSpectrum.perturb``."""
    trained = spectrum._trained_network()
    module = copy_module(trained.network.module)
    vector = ParameterVector.of(module)
    w = vector.read()
    v = torch.as_tensor(_direction(spectrum.eigenvectors_, direction, len(vector), seed)).to(w)
    v = v / v.norm()
    vector.write(w + scale * (v if spectrum.metric == "plain" else w.abs() * v))
    return with_module(spectrum.estimator_, trained, module)


def _direction(V: NDArray, direction: Any, p: int, seed: int) -> NDArray:
    """A vector (p,) of any length; V (k, p) holds the eigenvectors."""
    if isinstance(direction, Integral):
        if not -len(V) <= int(direction) < len(V):
            raise ValueError(f"direction={direction}, but there are {len(V)} eigenvectors.")
        return V[int(direction)]
    rng = np.random.RandomState(seed)
    if isinstance(direction, str):
        if direction == "top":
            return rng.normal(size=len(V)) @ V
        if direction == "complement":
            z = rng.normal(size=p)
            return z - (V @ z) @ V
        raise ValueError(
            f"direction={direction!r} must be a number, 'top', 'complement' or an array."
        )
    v = np.asarray(direction, dtype=float)
    if v.shape != (p,) or not np.isfinite(v).all() or not v.any():
        raise ValueError(
            f"direction must be finite, not zero and of shape ({p},), got shape {v.shape}."
        )
    return v
