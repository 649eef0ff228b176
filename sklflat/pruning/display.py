"""PruningDisplay: the score against the number of units that are kept."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklflat.probing.display import axes_for
from sklflat.pruning.table import PathTable

#: of baselines, readable in greyscale
_STYLES = ("--", ":", "-.", (0, (1, 3)))


class PruningDisplay:
    """How much of a network's score is left with fewer and fewer units.

    Parameters
    ----------
    table : PathTable
    n_units : int
        The number that is selected.
    tol : float
        The drop that is allowed.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    """

    def __init__(self, *, table: PathTable, n_units: int, tol: float) -> None:
        self.table = table
        self.n_units = n_units
        self.tol = tol

    @classmethod
    def from_estimator(cls, path: Any, ax: Any = None) -> "PruningDisplay":
        """Draw a fitted :class:`~sklflat.PruningPath`.

        Parameters
        ----------
        path : PruningPath
        ax : matplotlib.axes.Axes, default=None

        Returns
        -------
        display : PruningDisplay
        """
        check_is_fitted(path)
        return cls(table=path.path_, n_units=path.n_units_, tol=path.tol).plot(ax=ax)

    def plot(self, ax: Any = None) -> "PruningDisplay":
        """Draw path, interval, random sets and baselines.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            ``None`` makes a new figure.

        Returns
        -------
        self : PruningDisplay
        """
        ax = axes_for(ax, 1)[0]
        table, some = self.table, self.table.sizes > 0
        sizes, random_some = table.sizes[some], table.random_sizes > 0
        low, high = np.quantile(table.random_scores, [0.025, 0.975], axis=0)
        ax.fill_between(
            table.random_sizes[random_some],
            low[random_some],
            high[random_some],
            color="0.85",
            label="95 % of random sets",
        )
        for (name, curve), style in zip(table.baselines.items(), _STYLES, strict=False):
            ax.plot(sizes, curve.scores[some], color="0.45", linestyle=style, label=name)
        path = table.path
        ends = table.full_score - np.array([path.high[some], path.low[some]])
        ax.vlines(sizes, *ends, color="black", linewidth=0.8, label="95 % interval of the drop")
        ax.plot(sizes, path.scores[some], color="black", marker="o", markersize=3, label="path")
        within = {"color": "black", "linewidth": 0.8, "linestyle": (0, (5, 5))}
        ax.axhline(table.full_score - self.tol, label=f"whole network less {self.tol:g}", **within)
        ax.axvline(self.n_units, color="black", linewidth=0.8)
        ax.annotate(
            f"{self.n_units} units ",
            (self.n_units, 0.8),
            xycoords=("data", "axes fraction"),
            ha="right",
            va="top",
        )
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:.0f}")
        bottom = max(min(path.scores[some].min(), low[random_some].min()), -0.1)
        ax.set_ylim(bottom - 0.02, max(table.full_score, path.scores.max()) + 0.05)
        ax.set_xlabel("units kept, the others silenced at their means")
        ax.set_ylabel(f"{table.score_name}, judged rows")
        ax.legend(loc="lower right")
        self.ax_, self.figure_ = ax, ax.figure
        return self
