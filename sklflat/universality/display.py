"""UniversalityDisplay: what comes back beside chance, and a unit's matches in other networks."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklflat.probing.display import axes_for


class UniversalityDisplay:
    """Each unit's return beside what it is by chance, and one unit in every other network.

    Parameters
    ----------
    returns : ndarray of shape (n_models, n_units)
    chance, low, high : ndarray of shape (n_units,)
        What the mean over networks is by chance, and the ends of 95 % of it.
    selected, dead : ndarray of shape (n_units,), bool
    null_name : str
    names : ndarray of shape (n_units,)
    partners : ndarray of shape (n_models, n_units)
        Their names.
    unit : int
        The unit that is shown in every network.

    Attributes
    ----------
    axes_ : ndarray of shape (2,)
    figure_ : matplotlib.figure.Figure
    """

    def __init__(
        self,
        *,
        returns: Any,
        chance: Any,
        low: Any,
        high: Any,
        selected: Any,
        dead: Any,
        null_name: str,
        names: Any,
        partners: Any,
        unit: int,
    ) -> None:
        self.returns = returns
        self.chance = chance
        self.low = low
        self.high = high
        self.selected = selected
        self.dead = dead
        self.null_name = null_name
        self.names = names
        self.partners = partners
        self.unit = unit

    @classmethod
    def from_estimator(
        cls, probe: Any, *, unit: str | None = None, axes: Any = None
    ) -> "UniversalityDisplay":
        """Draw a fitted :class:`~sklflat.UniversalityProbe`.

        Parameters
        ----------
        probe : UniversalityProbe
        unit : str, default=None
            The unit that is shown in every network, as in ``unit_names_``; that of the highest
            score, if None.
        axes : two matplotlib axes, default=None

        Returns
        -------
        display : UniversalityDisplay
        """
        check_is_fitted(probe)
        null = probe.nulls_[0]
        low, high = null.range(len(probe.unit_scores_))
        best = int(np.argmax(np.where(probe.dead_, -np.inf, probe.unit_scores_)))
        return cls(
            returns=probe.returns_,
            chance=probe.chance_,
            low=probe.chance_ + low,
            high=probe.chance_ + high,
            selected=probe.support_,
            dead=probe.dead_,
            null_name=null.name,
            names=probe.unit_names_,
            partners=probe.partners_,
            unit=best if unit is None else probe.units_.index(unit),
        ).plot(axes=axes)

    def plot(self, axes: Any = None) -> "UniversalityDisplay":
        """Draw both.

        Parameters
        ----------
        axes : two matplotlib axes, default=None
            ``None`` makes a new figure.

        Returns
        -------
        self : UniversalityDisplay
        """
        self.axes_ = axes_for(axes, 2, figsize=(11, 4.5), layout="constrained")
        self.figure_ = self.axes_[0].figure
        self._plot_units(self.axes_[0])
        self._plot_matches(self.axes_[1])
        return self

    def _plot_units(self, ax: Any) -> None:
        mean = self.returns.mean(axis=0)
        order = np.lexsort((self.chance - mean, self.dead))
        rank = np.arange(1, len(order) + 1)
        width = max(1.0, min(6.0, 240 / len(order)))
        label = f"95 % of chance ({self.null_name})"
        ends = self.low[order], self.high[order]
        ax.vlines(rank, *ends, color="0.75", linewidth=width, label=label)
        mean_of_chance = {"s": 30, "marker": "_", "color": "0.3", "zorder": 2.5}
        ax.scatter(rank, self.chance[order], label="mean of chance", **mean_of_chance)
        for mask, style, name in (
            (self.selected, {"color": "black"}, "selected"),
            (
                ~self.selected & ~self.dead,
                {"facecolor": "white", "edgecolor": "black"},
                "not selected",
            ),
            (self.dead, {"color": "0.5", "marker": "x"}, "dead"),
        ):
            own = mask[order]
            if own.any():
                ax.scatter(rank[own], mean[order][own], s=18, zorder=3, label=name, **style)
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        ax.set_xlabel("units, most above chance first")
        ax.set_ylabel(f"return: mean correlation in {len(self.returns)} networks")
        ax.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)

    def _plot_matches(self, ax: Any) -> None:
        values, names = self.returns[:, self.unit], self.partners[:, self.unit]
        at = np.arange(len(values))
        ax.barh(at, values, color="0.55", edgecolor="black")
        ax.axvline(self.chance[self.unit], color="black", linestyle="--", label="mean of chance")
        labels = [f"network {k + 1}: {name or 'none'}" for k, name in enumerate(names)]
        ax.set_yticks(at, labels, fontsize="small")
        ax.invert_yaxis()
        ax.set_xlim(min(0.0, values.min()), 1.0)
        ax.set_xlabel(f"correlation with {self.names[self.unit]}")
        ax.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14))
