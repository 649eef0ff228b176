"""What displacements in flat, sharp and random directions do to a trained network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length

from sklflat.curvature import Landscape, normal
from sklflat.networks.units import Units
from sklflat.probing.display import axes_for
from sklflat.probing.resolve import resolve
from sklflat.training.perturbations.noise import FlatNoise

_SUBSPACES = ("flat", "isotropic", "random", "sharp")


def noise_profile(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    subspaces: Sequence[str] = _SUBSPACES,
    lengths: Any = None,
    n_directions: int = 10,
    n_draws: int = 8,
    seed: int = 0,
) -> dict[str, dict[str, NDArray]]:
    """Loss and activations of a trained network under noise, by subspace and length.

    Parameters
    ----------
    estimator : estimator
        Fitted: see :func:`~sklflat.probing.resolve`.
    X : array-like of shape (n_samples, ...)
    y : array-like of shape (n_samples, ...)
    subspaces : sequence of str, default=("flat", "isotropic", "random", "sharp")
    lengths : array-like of shape (n_lengths,), default=None
        Of the noise (root of mean squares), relative to the parameters'. None is 8 lengths from
        0.01 to 0.5.
    n_directions : int, default=10
    n_draws : int, default=8
        Pairs of opposite displacements.
    seed : int, default=0

    Returns
    -------
    dict of str to dict
        For each subspace arrays of shape (n_lengths,): ``length``, ``rise`` of the loss,
        ``std_error`` of it, and ``activation_change``: the root mean square change of the hidden
        units' activations, relative to their standard deviation. Points of equal ``rise`` compare
        subspaces at equal loss, points of equal ``length`` at equal norm.
    """
    trained = resolve(estimator)
    network = trained.network
    x, target = trained.to_input(X), trained.to_target(np.asarray(y))
    check_consistent_length(x, target)
    lengths = np.geomspace(0.01, 0.5, 8) if lengths is None else np.asarray(lengths, dtype=float)
    landscape = Landscape(network, x, target)
    units = Units.find(landscape.network.module, x[:5])
    w = landscape.vector.read()

    def activations(v: torch.Tensor) -> torch.Tensor:
        landscape.vector.write(v)
        return units.activations(landscape.network.module, x, max(len(x), 1)).double()

    base, A = landscape.loss(w), activations(w)
    typical = A.std(0)
    alive = typical > 0
    found = {}
    for subspace in subspaces:
        noise = FlatNoise(1.0, subspace, "norm", n_directions).at(landscape, w, seed)
        unit = float(w.norm()) / max(float(noise.length()), np.finfo(float).tiny)
        Z = torch.stack([normal((seed, i), w) for i in range(n_draws)])
        rows = []
        for length in lengths:
            rises, changes = [], []
            for xi in noise.scaled(unit * length)(Z):
                ends = [landscape.loss(w + sign * xi) for sign in (1, -1)]
                rises.append(np.mean(ends) - base)
                change = ((activations(w + xi) - A)[:, alive] / typical[alive]).square().mean()
                changes.append(float(change.sqrt()))
            error = np.std(rises, ddof=1) / len(rises) ** 0.5 if len(rises) > 1 else np.nan
            rows.append((length, np.mean(rises), error, np.mean(changes)))
        names = ("length", "rise", "std_error", "activation_change")
        found[subspace] = dict(zip(names, np.array(rows).T, strict=True))
    return found


class NoiseDisplay:
    """Loss against displacement by subspace, and the overlap of the subspace over time.

    Parameters
    ----------
    profile : dict
        From :func:`noise_profile`.
    history : dict or None
        ``noise_history_`` of an estimator that was trained with noise.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    """

    def __init__(
        self, *, profile: dict[str, dict[str, NDArray]], history: dict[str, NDArray] | None
    ) -> None:
        self.profile = profile
        self.history = history

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, axes: Any = None, **profile: Any
    ) -> "NoiseDisplay":
        """Measure and draw.

        Parameters
        ----------
        estimator : estimator
            Fitted, with noise or without: see :func:`~sklflat.probing.resolve`.
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples, ...)
        axes : sequence of matplotlib.axes.Axes, default=None
            Two, or one where there is no history of noise.
        **profile : dict
            Parameters of :func:`noise_profile`.

        Returns
        -------
        display : NoiseDisplay
        """
        last = estimator[-1] if hasattr(estimator, "steps") else estimator
        history = getattr(last, "noise_history_", None)
        display = cls(profile=noise_profile(estimator, X, y, **profile), history=history)
        return display.plot(axes)

    def plot(self, axes: Any = None) -> "NoiseDisplay":
        """Draw.

        Parameters
        ----------
        axes : sequence of matplotlib.axes.Axes, default=None
            Two, or one where there is no history of noise. None makes a new figure.

        Returns
        -------
        self : NoiseDisplay
        """
        n = 1 + self._has_history
        if axes is not None:
            n = max(n, np.size(axes))  # a second one that was given stays empty
        axes = axes_for(axes, n, figsize=(5.5 * n, 4), constrained_layout=True)
        self._losses(axes[0])
        if n > 1:
            self._overlaps(axes[1])
        self.axes_, self.figure_ = axes, axes[0].figure
        return self

    def _losses(self, ax: Any) -> None:
        for name, marker in zip(self.profile, "osDv^<>", strict=False):
            p = self.profile[name]
            ax.errorbar(
                p["length"], p["rise"], yerr=p["std_error"], marker=marker, capsize=2, label=name
            )
        ax.set_xscale("log")
        rises = np.concatenate([p["rise"] for p in self.profile.values()])
        small = max(float(np.abs(rises).max()), 1e-12) * 1e-5
        ax.set_yscale("symlog", linthresh=small)
        ax.set_ylim(bottom=min(1.5 * float(rises.min()), -small))
        ax.set_xlabel("length of the noise / length of the weights")
        ax.set_ylabel("rise of the loss")
        ax.set_title("loss against displacement")
        ax.legend()

    @property
    def _has_history(self) -> bool:
        return self.history is not None and bool(np.isfinite(self.history["kept"]).any())

    def _overlaps(self, ax: Any) -> None:
        if self.history is None or not self._has_history:
            ax.set_axis_off()
            return
        step, overlap, kept = (self.history[name] for name in ("step", "overlap", "kept"))
        ax.plot(step, kept, "o", color="0.6", label="kept at a check")
        ax.plot(step, overlap, "s", color="black", label="overlap at a refresh")
        ax.axhline(0.8, color="0.8", linewidth=0.8)
        ax.set_ylim(0, 1.05)
        ax.set_xlabel("step")
        ax.set_ylabel("share of the subspace")
        ax.set_title("subspace over time")
        ax.legend(loc="lower right")
