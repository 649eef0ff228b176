"""What the estimators with noise share: its parameters, its record, and warnings about it."""

from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import numpy as np
import torch

from sklflat._compat import Interval
from sklflat.curvature import Landscape
from sklflat.exceptions import NoiseWarning, warn
from sklflat.networks.batch_statistics import recompute_batch_statistics
from sklflat.training.engine.protocols import TrainedNet
from sklflat.training.estimators.parameters import Constraints, NetworkParameters
from sklflat.training.perturbations.noise import LONGEST, FlatNoise
from sklflat.training.perturbations.subspace_check import BACKED_OFF, CAPPED, EMPTY, SubspaceCheck

#: overlap with the next one at which a subspace is another one, and the share of the steps, those
#: of the beginning apart, in which subspaces may end as such
_GONE, _TOO_LONG, _BEGINNING = 0.5, 0.25, 0.05
#: noise in these is as harmless as asked for where it costs nothing at its longest
_HARMLESS = ("flat", "soft")


@dataclass(kw_only=True, eq=False, repr=False)
class FlatNoiseTraining(NetworkParameters):
    """Training at noisy points, and a record of what the noise was."""

    subspace: str = "flat"
    sigma: float | str = 0.05
    budget: str | None = "loss"
    n_directions: int = 8
    refresh: int = 1000
    antithetic: bool | str = True
    accuracy_budget: float = 0.01
    max_samples: int = 200

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
        for message in self._noise_warnings(n_steps=steps.t):
            warn(message, NoiseWarning)

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

    def _share_of_steps_gone(self) -> float:
        """Share of the steps, after the beginning, with a subspace that was another one later."""
        step, overlap = self.noise_history_["step"], self.noise_history_["overlap"]
        refreshed = np.isfinite(overlap)
        if not refreshed.any() or step[-1] == 0:
            return 0.0
        beginning = _BEGINNING * step[-1]
        ends = np.concatenate([[0.0], step[refreshed]]).clip(min=beginning)
        used = np.diff(ends)
        return float(used[overlap[refreshed] < _GONE].sum() / (ends[-1] - beginning))

    def _noise_warnings(self, n_steps: int) -> list[str]:
        """Warnings about the noise achieved in ``n_steps`` steps."""
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
        # checks are close together at the beginning: what counts is for how many steps they hold
        steps_held = np.diff(np.append(self.noise_history_["step"], n_steps))
        share = float(steps_held[capped].sum() / max(n_steps, 1))
        free = self.subspace in _HARMLESS
        if n and (capped[-1] or share > 0.5) and self.sigma != "max" and not free:
            why = " The null space does not change the training loss: use budget='norm'."
            found.append(
                f"In {share:.0%} of the steps noise of {LONGEST} times the parameters' length "
                f"did not raise the loss by the share sigma={self.sigma}, and longer noise was not "
                "used." + (why if self.subspace == "null" else "")
            )
        if (states == EMPTY).any():
            found.append(
                f"At {(states == EMPTY).sum()} of {n} checks there was no direction for noise in "
                f"subspace={self.subspace!r}: the parameters or the Hessian are zero."
            )
        gone, overlap = self._share_of_steps_gone(), self.subspace_overlap_
        if gone > _TOO_LONG and not (states == EMPTY).any():
            found.append(
                f"The subspace drifts: in {gone:.0%} of the steps less than {_GONE} of it was left "
                f"when it was computed anew (at the worst {overlap.min():.2f}), so the noise was "
                "in directions that were not those asked for. Lower refresh="
                f"{self.refresh} or the learning rate, or see noise_history_."
            )
        empty = [name for name, r in self.null_dimensions_.items() if r == 0]
        if empty:
            found.append(
                f"The null space of the inputs of {', '.join(map(repr, empty))} is empty, so "
                "there is no noise in these layers."
            )
        return found
