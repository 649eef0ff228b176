"""BasinDisplay: tickets beside their controls, the onset, and units against chance."""

from typing import Any, Self

import numpy as np

from sklflat.probing.display import PanelsDisplay, UnitDisplay
from sklflat.rewinding.tickets import RANDOM, REINITIALISED, TICKET

_STYLES = {
    TICKET: {"color": "black", "marker": "o", "linestyle": "-"},
    REINITIALISED: {"color": "0.35", "marker": "s", "linestyle": "--", "markerfacecolor": "white"},
    RANDOM: {"color": "0.6", "marker": "^", "linestyle": ":", "markerfacecolor": "white"},
}
#: units whose names are written
_N_NAMED = 3


class BasinDisplay(PanelsDisplay):
    """Pictures of a fitted :class:`~sklflat.BasinRewinder`.

    Parameters
    ----------
    estimator : BasinRewinder
        Fitted.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    """

    def plot(self, axes: Any = None) -> Self:
        """Draw scores and epochs of tickets and controls, the onset, and the units.

        Parameters
        ----------
        axes : array-like of four matplotlib axes, default=None
            ``None`` makes a new figure.

        Returns
        -------
        self : BasinDisplay
        """
        self._panels(axes, 4, figsize=(20, 4.5))
        self.plot_rounds(self.axes_[0], "score")
        self.plot_rounds(self.axes_[1], "epochs", "epochs until training stopped")
        self.plot_onset(self.axes_[2])
        self.plot_units(self.axes_[3])
        return self

    def plot_rounds(self, ax: Any, column: str = "score", label: str | None = None) -> Any:
        """Draw a column of ``rounds_`` against the weights that are left, means of each kind.

        Parameters
        ----------
        ax : matplotlib.axes.Axes
        column : {"score", "epochs", "train_loss"}, default="score"
        label : str, default=None
            Of the axis. ``None`` says what a score is, or names the column.

        Returns
        -------
        ax : matplotlib.axes.Axes
        """
        table = self.estimator.rounds_
        if label is None:
            trained_on = self.estimator.holdout is None
            of_score = "score on rows trained on" if trained_on else "held-out score"
            label = of_score if column == "score" else column
        for name, style in _STYLES.items():
            own = table[table.network == name]
            if len(own):
                means = own.groupby("remaining")[column].mean()
                ax.plot(100 * means.index, means, label=name, **style)
        if column == "epochs":
            ax.yaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        ax.set_xscale("log")
        ax.invert_xaxis()
        levels = 100 * np.sort(table.remaining.unique())[::-1]
        ticks = levels[:: max(1, len(levels) // 12)]
        ax.set_xticks(ticks, [f"{t:.3g}" for t in ticks])
        ax.minorticks_off()
        ax.set(xlabel="weights left (%)", ylabel=label)
        ax.legend(fontsize="small")
        return ax

    def plot_onset(self, ax: Any) -> Any:
        """Draw instability at the steps that were looked at, each pair of copies a dot.

        Parameters
        ----------
        ax : matplotlib.axes.Axes

        Returns
        -------
        ax : matplotlib.axes.Axes
        """
        curve = self.estimator.onset_curve_
        if curve is None:
            ax.text(0.5, 0.5, f"rewound to step {self.estimator.step_}, as was asked", ha="center")
            ax.set_axis_off()
            return ax
        steps = np.array([p.step for p in curve.points])
        for p in curve.points:
            ax.plot(np.full(len(p.barriers), p.step), 100 * p.barriers, "o", color="0.7", ms=4)
        ax.plot(steps, [100 * p.value for p in curve.points], "k.-", label="mean over pairs")
        ax.axhline(100 * curve.tol, color="0.4", linestyle="--", label="stability_tol")
        if curve.onset is not None:
            ax.axvline(curve.onset, color="0.4", linestyle=":", label=f"onset: step {curve.onset}")
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xlim(left=-0.2)
        title = "in its basin from the start" if curve.entered_at_init else ""
        if curve.contradictions:
            title = f"contradicted at steps {list(curve.contradictions)}"
        ax.set(xlabel="step of the rewind point", ylabel="instability (% error)", title=title)
        ax.legend(fontsize="small")
        return ax

    def plot_units(self, ax: Any) -> Any:
        """Draw the units' consistency against the highest null, the best of them named.

        Parameters
        ----------
        ax : matplotlib.axes.Axes

        Returns
        -------
        ax : matplotlib.axes.Axes
        """
        probe = self.estimator
        hardest = int(np.argmax([np.median(null.draws) for null in probe.nulls_]))
        UnitDisplay.from_estimator(probe, null=hardest, ax=ax)
        best = np.argsort(-np.where(probe.dead_, -np.inf, probe.unit_scores_))[:_N_NAMED]
        names = ", ".join(f"{probe.unit_names_[u]} {probe.unit_scores_[u]:.2f}" for u in best)
        ax.set_title(f"highest: {names}", fontsize="x-small")  # above, where nothing is drawn
        return ax
