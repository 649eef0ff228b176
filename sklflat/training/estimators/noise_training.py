"""What the estimators with noise share: its parameters, its record, and warnings about it."""

from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from sklflat._compat import Interval
from sklflat.curvature import Landscape
from sklflat.exceptions import NoiseWarning, warn
from sklflat.networks.batch_statistics import recompute_batch_statistics
from sklflat.training.engine.protocols import TrainedNet
from sklflat.training.estimators.parameters import Constraints, NetworkParameters
from sklflat.training.perturbations.noise import DRIFTED, LONGEST, FlatNoise
from sklflat.training.perturbations.subspace_check import BACKED_OFF, CAPPED, EMPTY, SubspaceCheck

#: what is left of a subspace that is another one now, and the share of the steps it may serve
_GONE, _TOO_LONG = 0.5, 0.25
#: checks from which on lesser drift is judged
_FEWEST = 5
#: share of the checks at which a subspace may have drifted, as it does when training begins
_TOO_OFTEN = 0.4


@dataclass(kw_only=True, eq=False, repr=False)
class FlatNoiseTraining(NetworkParameters):
    """Training at noisy points, and a record of what the noise was."""

    subspace: str = "flat"
    sigma: float | str = 0.05
    budget: str | None = "loss"
    n_directions: int = 10
    refresh: int = 1000
    antithetic: bool | str = True
    accuracy_budget: float = 0.01
    max_samples: int = 256

    _parameter_constraints: ClassVar[Constraints] = {
        **FlatNoise._parameter_constraints,
        "max_samples": [Interval(Integral, 1, None, closed="left")],
    }

    def _make_perturbation(self) -> FlatNoise:
        own = {name: getattr(self, name) for name in FlatNoise._parameter_constraints}
        return FlatNoise(**own).validate()

    def _finish_perturbation(self, net: TrainedNet) -> None:
        steps = net.steps_
        landscape, steps.landscape = steps.landscape, None
        if landscape is not None:
            recompute_batch_statistics(net.module_, landscape.network.batches(landscape.inputs))
        self.n_products_ = 0 if landscape is None else landscape.n_matvec
        self.n_loss_evaluations_ = 0 if landscape is None else landscape.n_passes
        self._read_record(steps.state or {}, landscape)

    def _read_record(self, state: dict[str, torch.Tensor], landscape: Landscape | None) -> None:
        fields = SubspaceCheck._fields
        checks = state.get("looks", torch.zeros(0, len(fields))).double().cpu().numpy()
        self.noise_history_ = dict(zip(fields, checks.T, strict=True))
        length, overlap = self.noise_history_["length"], self.noise_history_["overlap"]
        self.noise_scale_ = float(length[-1]) if len(length) else 0.0
        self.subspace_overlap_ = overlap[np.isfinite(overlap)]
        self.null_dimensions_ = {}
        if landscape is not None and "null_0" in state:
            names = [name for name, _, _ in landscape.affine_layers]
            self.null_dimensions_ = {
                name: state[f"null_{i}"].shape[1] for i, name in enumerate(names)
            }
        for message in self._noise_warnings():
            warn(message, NoiseWarning)

    def _steps_since_refresh(self) -> NDArray:
        """For each check, how many steps the subspace that it checked had been in use."""
        step = self.noise_history_["step"]
        refreshed = np.isfinite(self.noise_history_["overlap"])
        since = np.maximum.accumulate(np.where(refreshed, step, 0.0))
        return step - np.concatenate([[0.0], since])[: len(step)]

    def _noise_warnings(self) -> list[str]:
        """Warnings about the noise achieved."""
        states = self.noise_history_["state"]
        n = len(states)
        found = []
        if (states == BACKED_OFF).any():
            found.append(
                f"At {(states == BACKED_OFF).sum()} of {n} checks the loss was not finite under "
                f"the noise that sigma={self.sigma} asks for, so the noise was made smaller. Lower "
                "sigma, or see noise_history_."
            )
        capped = states == CAPPED
        if n and (capped[-1] or capped.mean() > 0.5) and self.sigma != "max":
            why = " The null space does not change the training loss: use budget='norm'."
            found.append(
                f"At {capped.sum()} of {n} checks noise of {LONGEST} times the parameters' length "
                f"did not raise the loss by the share sigma={self.sigma}, and longer noise was not "
                "used." + (why if self.subspace == "null" else "")
            )
        if (states == EMPTY).any():
            found.append(
                f"At {(states == EMPTY).sum()} of {n} checks there was no direction for noise in "
                f"subspace={self.subspace!r}: the parameters or the Hessian are zero."
            )
        step, retained = self.noise_history_["step"], self.noise_history_["kept"]
        n_checks, n_drifted = np.isfinite(retained).sum(), (retained < DRIFTED).sum()
        drifts = n_checks >= _FEWEST and n_drifted > _TOO_OFTEN * n_checks
        drifts |= (
            n_checks > 0
            and self._steps_since_refresh()[retained < _GONE].sum() > _TOO_LONG * step[-1]
        )
        if drifts and not (states == EMPTY).any():
            found.append(
                f"The subspace drifts: at {n_drifted} of {n_checks} checks less than {DRIFTED} of "
                f"it was left (at the worst {np.nanmin(retained):.2f}), so the noise was in "
                f"directions that were not those asked for. Lower refresh={self.refresh} or the "
                "learning rate, or see noise_history_."
            )
        empty = [name for name, r in self.null_dimensions_.items() if r == 0]
        if empty:
            found.append(
                f"The null space of the inputs of {', '.join(map(repr, empty))} is empty, so "
                "there is no noise in these layers."
            )
        return found
