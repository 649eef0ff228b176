"""UnitDisplay: scores of units beside what chance gives."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

#: units whose names are written below the axis
_MOST_NAMES = 40


def axes_for(axes: Any, n: int, **figure: Any) -> NDArray:
    """The n axes given, or those of a new figure side by side."""
    import matplotlib.pyplot as plt

    if axes is None:
        _, axes = plt.subplots(1, n, **figure)
    axes = np.asarray(axes, dtype=object).ravel()
    if len(axes) != n:
        raise ValueError(f"axes must be {n} in number, got {len(axes)}.")
    return axes


class PanelsDisplay:
    """Pictures of a fitted estimator side by side; ``plot`` of a display says which.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    """

    axes_: NDArray
    figure_: Any

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    @classmethod
    def from_estimator(cls, estimator: Any, *, axes: Any = None) -> Self:
        """Draw all pictures of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        axes : array-like of matplotlib axes, default=None
            One for each picture; ``None`` makes a new figure.

        Returns
        -------
        display : display
        """
        check_is_fitted(estimator)
        display = cls(estimator)
        display.plot(axes)
        return display

    def plot(self, axes: Any = None) -> Self:
        """Draw all pictures.

        Parameters
        ----------
        axes : array-like of matplotlib axes, default=None
            ``None`` makes a new figure.

        Returns
        -------
        self : display
        """
        raise NotImplementedError

    def _panels(self, axes: Any, n: int, **figure: Any) -> NDArray:
        """The axes to draw on, which are kept."""
        self.axes_ = axes_for(axes, n, layout="constrained", **figure)
        self.figure_ = self.axes_[0].figure
        return self.axes_


class UnitDisplay:
    """Scores of units, highest first, against the range of their null.

    Parameters
    ----------
    scores : ndarray of shape (n_units,)
    low, high : ndarray of shape (n_units,)
        The 2.5 % and 97.5 % quantiles of each unit's null draws (of all draws, where they do
        not belong to single units).
    selected, dead : ndarray of shape (n_units,), bool
    null_name : str
    names : ndarray of shape (n_units,)

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    """

    def __init__(
        self,
        *,
        scores: Any,
        low: Any,
        high: Any,
        selected: Any,
        dead: Any,
        null_name: str,
        names: Any,
    ) -> None:
        self.scores = scores
        self.low = low
        self.high = high
        self.selected = selected
        self.dead = dead
        self.null_name = null_name
        self.names = names

    @classmethod
    def from_estimator(
        cls, probe: Any, *, null: int = 0, selected: Any = None, ax: Any = None
    ) -> "UnitDisplay":
        """Draw a fitted probe.

        Parameters
        ----------
        probe : UnitProbe
            Fitted.
        null : int, default=0
            Which of ``probe.nulls_``.
        selected : ndarray of shape (n_units,), bool, default=None
            Units that are drawn filled; None is ``probe.support_``.
        ax : matplotlib.axes.Axes, default=None

        Returns
        -------
        display : UnitDisplay
        """
        check_is_fitted(probe)
        chosen = probe.nulls_[null]
        low, high = chosen.range(len(probe.unit_scores_))
        return cls(
            scores=probe.unit_scores_,
            low=low,
            high=high,
            selected=probe.support_ if selected is None else selected,
            dead=probe.dead_,
            null_name=chosen.name,
            names=probe.unit_names_,
        ).plot(ax=ax, label=getattr(probe, "unit_score", probe._score_name))

    def plot(self, ax: Any = None, *, label: str = "score") -> "UnitDisplay":
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            ``None`` makes a new figure.
        label : str, default="score"
            Of the vertical axis.

        Returns
        -------
        self : UnitDisplay
        """
        ax = axes_for(ax, 1, layout="constrained")[0]
        order = np.lexsort((-self.scores, self.dead))
        rank = np.arange(1, len(order) + 1)
        ax.vlines(
            rank,
            self.low[order],
            self.high[order],
            color="0.75",
            linewidth=max(1.0, min(6.0, 240 / len(order))),
            label=f"95 % of chance ({self.null_name})",
        )
        for mask, style, name in (
            (self.selected, {"color": "black"}, "selected"),
            (
                ~self.selected & ~self.dead,
                {"facecolor": "white", "edgecolor": "black"},
                "not selected",
            ),
            (self.dead, {"color": "0.5", "marker": "x"}, "dead"),
        ):
            chosen = mask[order]
            if chosen.any():
                ax.scatter(
                    rank[chosen], self.scores[order][chosen], s=18, zorder=3, label=name, **style
                )
        self._focus(ax)
        self._mark_outside(ax, rank, order)
        ax.set_xlabel("units, highest score first")
        if len(order) <= _MOST_NAMES:
            ax.set_xticks(rank, self.names[order], rotation=90, fontsize="small")
        ax.set_ylabel(label)
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _mark_outside(self, ax: Any, rank: NDArray, order: NDArray) -> None:
        """Triangles at the edge towards ranges of chance that are outside of the axes."""
        bottom, top = ax.get_ylim()
        for outside, at, marker, where in (
            (self.high[order] < bottom, bottom, "v", "below"),
            (self.low[order] > top, top, "^", "above"),
        ):
            if outside.any():
                edge = np.full(outside.sum(), at)
                label = f"chance lies {where} the axes"
                style = {"color": "0.6", "s": 24, "clip_on": False, "zorder": 4}
                ax.scatter(rank[outside], edge, marker=marker, label=label, **style)

    def _focus(self, ax: Any) -> None:
        """Let scores fill a third of the height at least; ranges of chance may leave the axes."""
        low, high = self.scores.min(), self.scores.max()
        span = max(high - low, np.finfo(float).tiny)
        top = min(self.high.max(), high + span) if self.high.max() > high else high
        bottom = max(self.low.min(), low - span) if self.low.min() < low else low
        ax.set_ylim(bottom - 0.05 * span, top + (0.05 if top > high else 0.1) * span)
