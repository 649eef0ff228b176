"""Curvature plateau: a cheap guess at the onset, from the parent alone."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from sklflat.curvature import Hessian, eigenpairs
from sklflat.probing.resolve import resolve
from sklflat.rewinding.onset import OnsetCurve
from sklflat.rewinding.rewinds import Comparison
from sklflat.training.runs import Training
from sklflat.training.runs.checkpoint import with_prefix

#: how far the largest eigenvalue may be from its later values on a plateau
FACTOR = 2.0


@dataclass(frozen=True)
class CurvaturePlateau:
    """The largest eigenvalue of the Hessian along a training.

    Parameters
    ----------
    steps : tuple of int
    top : ndarray of shape (n_steps,)
    factor : float
    """

    steps: tuple[int, ...]
    top: NDArray = field(repr=False)
    factor: float

    @property
    def onset(self) -> int:
        """The first step from which on the eigenvalue stays within a factor of its last value.

        Examples
        --------
        >>> import numpy as np
        >>> from sklflat.rewinding.curvature_plateau import CurvaturePlateau
        >>> CurvaturePlateau((0, 1, 4, 16), np.array([1.0, 9.0, 12.0, 10.0]), 2.0).onset
        1
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.top / self.top[-1]
        level = (ratio <= self.factor) & (ratio >= 1 / self.factor)
        outside = np.flatnonzero(~level[:-1])
        return self.steps[0 if len(outside) == 0 else outside[-1] + 1]

    def agreement(self, curve: OnsetCurve) -> float:
        """Share of the steps looked at that it calls as the definition does: stable or not."""
        same = [(p.step >= self.onset) == (p.value <= curve.tol) for p in curve.points]
        return float(np.mean(same))


def curvature_plateau(
    comparison: Comparison, parent: Training, factor: float = FACTOR
) -> CurvaturePlateau:
    """The largest eigenvalue at each step that the parent kept, on rows it was trained on.

    Nothing is trained for it. It is a guess, not the definition: see
    :meth:`CurvaturePlateau.agreement`.

    Parameters
    ----------
    comparison : Comparison
    parent : Training
    factor : float

    References
    ----------
    S. Jastrzebski et al., "The break-even point on optimization trajectories of deep neural
    networks", ICLR 2020. https://arxiv.org/abs/2002.09572
    """
    if not factor > 1:
        raise ValueError(f"factor={factor} must be greater than 1.")
    X, y, weight = comparison.trained_on
    trained = resolve(parent.estimator)
    x, target = trained.to_input(X), trained.to_target(y)
    network, tops = trained.network, []  # a copy, whose weights may be set
    for _, state in sorted(parent.states.items()):
        own = with_prefix(state.arrays, "module")
        network.module.load_state_dict({name: torch.as_tensor(a) for name, a in own.items()})
        found = eigenpairs(Hessian(network, x, target, weight), 1, tol=1e-2, audit=False)
        tops.append(float(found.values[0]))
    return CurvaturePlateau(tuple(sorted(parent.states)), np.array(tops), factor)
