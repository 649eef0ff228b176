"""PathDisplay and PlaneDisplay: what the loss does between networks."""

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sklflat.connectivity.path_builder import as_of
from sklflat.networks.state import State, read_state
from sklflat.paths.barrier_table import KINDS, BarrierTable
from sklflat.paths.losses import path_losses
from sklflat.paths.paths import Plane
from sklflat.probing.display import axes_for
from sklflat.probing.resolve import resolve

#: how each kind is drawn: told apart without colours, too
_STYLES = {"naive": ("0.6", ":", "^"), "aligned": ("C0", "-", "o"), "repaired": ("C1", "--", "s")}


class PathDisplay:
    """Loss and error along the path, with the chord between both ends.

    Parameters
    ----------
    barriers : BarrierTable
    data : str
        Which data, ``"train"`` or ``"held-out"``.
    other : int
        The network that the first is joined with.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    """

    def __init__(self, *, barriers: BarrierTable, data: str, other: int) -> None:
        self.barriers = barriers
        self.data = data
        self.other = other

    @classmethod
    def from_estimator(
        cls, probe: Any, *, data: str = "held-out", other: int = 1, axes: Any = None
    ) -> "PathDisplay":
        """Draw a fitted probe.

        Parameters
        ----------
        probe : ModeConnectivityProbe
            Fitted.
        data : {"held-out", "train"}, default="held-out"
        other : int, default=1
            Number of the network that the first is joined with.
        axes : sequence of two matplotlib.axes.Axes, default=None
            One is enough where there is no error.

        Returns
        -------
        display : PathDisplay
        """
        check_is_fitted(probe)
        return cls(barriers=probe.barriers_, data=data, other=other).plot(axes)

    def plot(self, axes: Any = None) -> "PathDisplay":
        """Draw.

        Parameters
        ----------
        axes : sequence of two matplotlib.axes.Axes, default=None
            None makes a new figure.

        Returns
        -------
        self : PathDisplay
        """
        if (self.other, "aligned") not in self.barriers.curves:
            raise ValueError(f"other={self.other}: there are {sorted(self.barriers.curves)}.")
        known = sorted(self.barriers.curves[self.other, "aligned"].curves)
        if self.data not in known:
            raise ValueError(f"data must be one of {known}, got {self.data!r}.")
        axes = axes_for(axes, 2, figsize=(11, 4.8), layout="tight")
        for ax, measure in zip(axes, ("loss", "error"), strict=True):
            self._draw(ax, measure)
        self.axes_, self.figure_ = axes, axes[0].figure
        return self

    def _draw(self, ax: Any, measure: str) -> None:
        for kind in KINDS:
            barriers = self.barriers.curves.get((self.other, kind))
            values = None if barriers is None else getattr(barriers.curves[self.data], measure)
            if barriers is None or values is None:
                continue
            height = self.barriers.value(kind, measure, self.data, "mean", self.other)
            color, line, marker = _STYLES[kind]
            chord = self.barriers.value(kind, measure, self.data, "chord", self.other)
            label = f"{kind}: {height:.3g} / {round(chord, 12):.3g}"
            ax.plot(barriers.ts, values, line, color=color, marker=marker, ms=3, label=label)
            if kind == "aligned":
                ends = [values[0], values[-1]]
                ax.plot([0, 1], ends, color="black", linewidth=0.8, label="between the ends")
        ax.set_xlabel("t, from the first network (0) to the other (1)")
        ax.set_ylabel(f"{measure}, {self.data} rows")
        ax.set_title(f"{measure} along the path")
        if ax.lines:
            title = "barrier above the mean of the ends / above the chord"
            ax.legend(title=title, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


class PlaneDisplay:
    """Loss on the plane through three networks.

    Parameters
    ----------
    plane : Plane
    first, second : ndarray of shape (n,)
        Coordinates, in units of distance between parameters.
    loss : ndarray of shape (n, n)
        Rows along the second coordinate.
    names : sequence of str
        Of the three networks.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    """

    def __init__(
        self, *, plane: Plane, first: NDArray, second: NDArray, loss: NDArray, names: Any
    ) -> None:
        self.plane = plane
        self.first = first
        self.second = second
        self.loss = loss
        self.names = names

    @classmethod
    def from_estimator(
        cls, probe: Any, X: Any, y: Any, *, n_points: int = 21, margin: float = 0.25, ax: Any = None
    ) -> "PlaneDisplay":
        """Compute and draw the plane through the first network and two others.

        With three networks or more, the others are the second and the third, aligned. With two,
        they are the second as it is and aligned: the same function at two places.

        Parameters
        ----------
        probe : ModeConnectivityProbe
            Fitted.
        X : array-like of shape (n_samples, n_features)
            Data whose loss is drawn.
        y : array-like of shape (n_samples,)
        n_points : int, default=21
            Along each axis.
        margin : float, default=0.25
            Around the networks, relative to their extent.
        ax : matplotlib.axes.Axes, default=None

        Returns
        -------
        display : PlaneDisplay
        """
        check_is_fitted(probe)
        trained = probe._trained_network()
        network = trained.network
        states, names = _three(probe, network)
        a, b, c = states
        plane = Plane(a, b, c, [n for n, _ in network.module.named_parameters()])
        low, high = plane.positions.amin(0), plane.positions.amax(0)
        extra = margin * (high - low)
        first, second = (
            np.linspace(float(low[i] - extra[i]), float(high[i] + extra[i]), n_points)
            for i in (0, 1)
        )
        points = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
        x, target = trained.to_input(X), trained.to_target(np.asarray(y))
        loss = path_losses(network, plane, points, x, target).loss.reshape(n_points, n_points)
        return cls(plane=plane, first=first, second=second, loss=loss, names=names).plot(ax)

    def plot(self, ax: Any = None) -> "PlaneDisplay":
        """Draw contours at equal ratios of the loss, and the networks.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            None makes a new figure.

        Returns
        -------
        self : PlaneDisplay
        """
        from matplotlib.colors import LogNorm

        ax = axes_for(ax, 1, figsize=(6, 5), constrained_layout=True)[0]
        low = max(float(np.nanmin(self.loss)), 1e-12)
        levels = np.geomspace(low, max(float(np.nanmax(self.loss)), 1.01 * low), 13)
        loss = np.maximum(self.loss, low)
        filled = ax.contourf(
            self.first, self.second, loss, levels, cmap="viridis_r", norm=LogNorm(), extend="both"
        )
        ax.contour(self.first, self.second, loss, levels, colors="black", linewidths=0.4)
        ax.figure.colorbar(filled, ax=ax, label="loss", ticks=levels[::3], format="%.2g")
        for (u, v), name, marker in zip(
            self.plane.positions.tolist(), self.names, "os^", strict=True
        ):
            ax.plot(u, v, marker, color="white", markeredgecolor="black", markersize=9, label=name)
        ax.legend(loc="upper right")
        ax.set_xlabel("distance between parameters")
        ax.set_ylabel("distance between parameters")
        ax.set_title("loss on the plane through three networks")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _three(probe: Any, network: Any) -> tuple[list[State], list[str]]:
    """States of three networks, and what to call them."""
    own = partial(as_of, network)
    first = own(probe.paths_[0].anchors[0])
    if len(probe.paths_) > 1:
        ends = [own(path.anchors[-1]) for path in probe.paths_[:2]]
        return [first, *ends], ["first", "second, aligned", "third, aligned"]
    second = own(read_state(resolve(probe.estimators_[1]).network.module))
    aligned = own(probe.paths_[0].anchors[-1])
    if all(torch.equal(second[name], aligned[name]) for name in second):
        raise ValueError(
            "There is no plane through two networks: with two, the third is the second one "
            "aligned, but alignment moved nothing here. Fit the probe with n_models=3, or more "
            "frozen networks."
        )
    return [first, second, aligned], ["first", "second", "second, aligned"]
