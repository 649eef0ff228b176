"""SpectrumDisplay: eigenvalues with their residuals, the density, and the units against chance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sklflat.probing.display import UnitDisplay, axes_for

#: bins of the density
_N_BINS = 60


class SpectrumDisplay:
    """Three panels: the ladder of eigenvalues, their density if it was asked for, the units.

    Parameters
    ----------
    eigenvalues, residuals : ndarray of shape (n_components,)
    converged : bool
    density : SpectralDensity or None
    trace, trace_std : float or None

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    """

    def __init__(
        self,
        *,
        eigenvalues: NDArray,
        residuals: NDArray,
        converged: bool,
        density: Any = None,
        trace: float | None = None,
        trace_std: float | None = None,
    ) -> None:
        self.eigenvalues = eigenvalues
        self.residuals = residuals
        self.converged = converged
        self.density = density
        self.trace = trace
        self.trace_std = trace_std

    @classmethod
    def from_estimator(cls, spectrum: Any, *, axes: Any = None) -> "SpectrumDisplay":
        """Draw a fitted :class:`~sklflat.HessianSpectrum`.

        Parameters
        ----------
        spectrum : HessianSpectrum
            Fitted; the density is drawn, and the trace said, if it was fitted with them.
        axes : sequence of three matplotlib.axes.Axes, default=None
            None makes a new figure.

        Returns
        -------
        display : SpectrumDisplay
        """
        check_is_fitted(spectrum)
        display = cls(
            eigenvalues=spectrum.eigenvalues_,
            residuals=spectrum.residuals_,
            converged=spectrum.converged_,
            density=getattr(spectrum, "density_", None),
            trace=getattr(spectrum, "trace_", None),
            trace_std=getattr(spectrum, "trace_std_", None),
        ).plot(axes)
        ax = display.axes_[2]
        if len(spectrum.unit_names_):
            UnitDisplay.from_estimator(spectrum, ax=ax)
            ax.set_title("units")
        else:
            ax.set_axis_off()
            ax.text(0.5, 0.5, "no hidden units", ha="center")
        return display

    def plot(self, axes: Any = None) -> "SpectrumDisplay":
        """Draw the eigenvalues and the density; the third panel is left to the units.

        Parameters
        ----------
        axes : sequence of three matplotlib.axes.Axes, default=None

        Returns
        -------
        self : SpectrumDisplay
        """
        axes = axes_for(axes, 3, figsize=(14, 4), constrained_layout=True)
        self._ladder(axes[0])
        if self.density is None:
            axes[1].set_axis_off()
            axes[1].text(0.5, 0.5, "no density: fit with density=True", ha="center")
        else:
            self._density(axes[1])
        self.axes_, self.figure_ = axes, axes[0].figure
        return self

    def _ladder(self, ax: Any) -> None:
        rank = np.arange(1, len(self.eigenvalues) + 1)
        ax.errorbar(rank, self.eigenvalues, yerr=self.residuals, fmt="o", color="black", capsize=3)
        ax.axhline(0, color="0.7", linewidth=0.8)
        ax.set_xlabel("rank")
        ax.set_ylabel("eigenvalue, bars: residual")
        certified = "certified" if self.converged else "not all certified"
        ax.set_title(f"eigenvalues ({certified})")

    def _density(self, ax: Any) -> None:
        nodes = self.density.nodes
        span = max(float(np.ptp(nodes)), np.finfo(float).tiny)
        edges = np.linspace(nodes[0] - 0.05 * span, nodes[-1] + 0.05 * span, _N_BINS + 1)
        count, error = self.density.histogram(edges, width=span / _N_BINS / 2)
        centres = (edges[1:] + edges[:-1]) / 2
        floor = 0.1
        ax.fill_between(
            centres,
            np.maximum(count - 2 * np.nan_to_num(error), floor),
            np.maximum(count + 2 * np.nan_to_num(error), floor),
            color="0.8",
            label="two standard errors",
        )
        ax.plot(centres, np.maximum(count, floor), color="black", linewidth=1)
        ax.set_yscale("log")
        ax.set_ylim(bottom=floor)
        ax.set_xlabel("eigenvalue")
        ax.set_ylabel(f"eigenvalues a bin (of {self.density.size})")
        trace = "" if self.trace is None else f", trace {self.trace:.4g} ± {self.trace_std:.2g}"
        ax.set_title("density" + trace)
        ax.legend(loc="upper right")
