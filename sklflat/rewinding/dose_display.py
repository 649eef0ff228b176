"""DoseDisplay: what changes as the rewind point moves, and how large the basin is there."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sklflat.probing.display import axes_for
from sklflat.rewinding.basin_size import BasinSize
from sklflat.rewinding.onset import Instability, OnsetCurve

#: of one basin's size after the other, readable in greys
_STYLES = (("black", "o", "-"), ("0.45", "s", "--"), ("0.65", "^", ":"), ("0.3", "D", "-."))


class DoseDisplay:
    """Instability and consistency against the rewind point, and sizes of the basin at some.

    Parameters
    ----------
    curve : OnsetCurve
        As :meth:`~sklflat.rewinding.Parent.dose_response` returns it.
    sizes : sequence of BasinSize, default=()
        As :meth:`~sklflat.rewinding.Parent.basin_size` returns them.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    """

    def __init__(self, curve: OnsetCurve, sizes: Sequence[BasinSize] = ()) -> None:
        self.curve = curve
        self.sizes = tuple(sizes)

    @classmethod
    def from_curve(
        cls, curve: OnsetCurve, sizes: Sequence[BasinSize] = (), *, axes: Any = None
    ) -> "DoseDisplay":
        """Draw two pictures, and a third of the sizes if there are any.

        Parameters
        ----------
        curve : OnsetCurve
        sizes : sequence of BasinSize, default=()
        axes : array-like of two (three with sizes) matplotlib axes, default=None
        """
        return cls(curve, sizes).plot(axes)

    def plot(self, axes: Any = None) -> "DoseDisplay":
        """Draw all pictures.

        Parameters
        ----------
        axes : array-like of two (three with sizes) matplotlib axes, default=None
            ``None`` makes a new figure.

        Returns
        -------
        self : DoseDisplay
        """
        n = 3 if self.sizes else 2
        self.axes_ = axes_for(axes, n, figsize=(5.5 * n, 4.5), layout="constrained")
        self.figure_ = self.axes_[0].figure
        self.plot_instability(self.axes_[0])
        self.plot_consistency(self.axes_[1])
        if self.sizes:
            self.plot_sizes(self.axes_[2])
        return self

    def plot_instability(self, ax: Any) -> Any:
        """Draw the mean barrier at each step with its standard error, and the tolerance."""
        steps = [p.step for p in self.curve.points]
        _errorbar(ax, steps, self.curve.points, color="black", marker="o", ms=4)
        ax.axhline(100 * self.curve.tol, color="0.4", linestyle="--", label="stability_tol")
        self._along_steps(ax, "instability (% error)")
        return ax

    def plot_consistency(self, ax: Any) -> Any:
        """Draw the mean correlation of a unit over copies from each step."""
        steps = [p.step for p in self.curve.points]
        ax.plot(steps, [p.consistency for p in self.curve.points], "ko-", ms=4)
        self._along_steps(ax, "mean consistency of units")
        return ax

    def _along_steps(self, ax: Any, label: str) -> None:
        onset = self.curve.onset
        if onset is not None:
            ax.axvline(onset, color="0.4", linestyle=":", label=f"onset: step {onset}")
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xlim(left=-0.2)
        ax.set(xlabel="step of the rewind point", ylabel=label)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize="small")

    def plot_sizes(self, ax: Any) -> Any:
        """Draw instability against the noise that copies start with, a line for each step."""
        for k, size in enumerate(self.sizes):
            color, marker, line = _STYLES[k % len(_STYLES)]
            text = f"step {size.step}: " + _words(size)
            style = {"color": color, "marker": marker, "linestyle": line, "ms": 5}
            _errorbar(ax, size.radii, size.points, label=text, **style)
        ax.axhline(100 * self.sizes[0].tol, color="0.4", linestyle="--", label="stability_tol")
        radii = [r for size in self.sizes for r in size.radii]
        if min(radii) > 0:
            ax.set_xscale("log")
        else:
            ax.set_xscale("symlog", linthresh=min((r for r in radii if r > 0), default=1.0))
            ax.set_xlim(left=0.0)
        ax.set(xlabel="noise (share of each parameter's length)", ylabel="instability (% error)")
        ax.legend(fontsize="small")
        return ax


def _words(size: BasinSize) -> str:
    """How far the basin reaches, in words."""
    if np.isnan(size.radius):
        return "not connected"
    return f"connected to {size.radius:g}" + ("" if size.is_bounded else " at least")


def _errorbar(ax: Any, x: Sequence[float], points: Sequence[Instability], **style: Any) -> None:
    """Means over pairs with standard errors; what has failed is left out."""
    values = np.array([p.value for p in points])
    errors = np.nan_to_num([p.standard_error for p in points])
    good = np.isfinite(values)
    ax.errorbar(np.asarray(x)[good], 100 * values[good], 100 * errors[good], capsize=2, **style)
