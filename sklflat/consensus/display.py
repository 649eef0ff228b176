"""ConsensusDisplay: which probes agree, and where each of them puts the units."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklflat.probing.display import axes_for

#: units that are drawn, unless a number is given
_N_DRAWN = 20
#: cells on a darker ground than this have white figures
_DARK = 0.5


class ConsensusDisplay:
    """Rank correlations of probes, and the units' ranks by each of them.

    Parameters
    ----------
    correlations : ndarray of shape (n_probes, n_probes)
    ranks : ndarray of shape (n_probes, n_units)
        NaN for dead units.
    n_ranked : ndarray of shape (n_units,)
        Units that each unit is ranked among.
    scores : ndarray of shape (n_units,)
    selected : ndarray of shape (n_units,), bool
    names : ndarray of shape (n_units,)
    probe_names : ndarray of shape (n_probes,)
    n_drawn : int, default=20
        The units of the highest scores that are drawn.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The last that was drawn into.
    axes_ : ndarray of two matplotlib axes
        What :meth:`plot` has drawn into.
    figure_ : matplotlib.figure.Figure
    """

    def __init__(
        self,
        *,
        correlations: Any,
        ranks: Any,
        n_ranked: Any,
        scores: Any,
        selected: Any,
        names: Any,
        probe_names: Any,
        n_drawn: int = _N_DRAWN,
    ) -> None:
        self.correlations = correlations
        self.ranks = ranks
        self.n_ranked = n_ranked
        self.scores = scores
        self.selected = selected
        self.names = names
        self.probe_names = probe_names
        self.n_drawn = n_drawn

    @classmethod
    def from_estimator(
        cls, probe: Any, *, n_drawn: int = _N_DRAWN, axes: Any = None
    ) -> "ConsensusDisplay":
        """Draw a fitted consensus.

        Parameters
        ----------
        probe : UnitConsensus
            Fitted.
        n_drawn : int, default=20
            The units of the highest scores that are drawn.
        axes : two matplotlib axes, default=None
            ``None`` makes a new figure.

        Returns
        -------
        display : ConsensusDisplay
        """
        return cls.of(probe, n_drawn=n_drawn).plot(axes=axes)

    @classmethod
    def of(cls, probe: Any, *, n_drawn: int = _N_DRAWN) -> "ConsensusDisplay":
        """What there is to draw of a fitted consensus, for one of the two pictures.

        Parameters
        ----------
        probe : UnitConsensus
            Fitted.
        n_drawn : int, default=20

        Returns
        -------
        display : ConsensusDisplay
        """
        check_is_fitted(probe)
        layer_of = probe.units_.layer_of
        return cls(
            correlations=probe.agreement_.correlations,
            ranks=probe.unit_ranks_,
            n_ranked=np.bincount(layer_of[~probe.dead_], minlength=layer_of.max() + 1)[layer_of],
            scores=probe.unit_scores_,
            selected=probe.support_,
            names=probe.unit_names_,
            probe_names=probe.probe_names_,
            n_drawn=n_drawn,
        )

    def plot(self, axes: Any = None) -> "ConsensusDisplay":
        """Draw both.

        Parameters
        ----------
        axes : two matplotlib axes, default=None
            ``None`` makes a new figure.

        Returns
        -------
        self : ConsensusDisplay
        """
        size = {"figsize": (11, 5), "layout": "constrained"}
        self.axes_ = axes_for(axes, 2, **size)
        self.plot_agreement(self.axes_[0])
        return self.plot_ranks(self.axes_[1])

    def plot_agreement(self, ax: Any = None) -> "ConsensusDisplay":
        """Draw the rank correlations of the probes.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            ``None`` makes a new figure.

        Returns
        -------
        self : ConsensusDisplay
        """
        ax = axes_for(ax, 1, layout="constrained")[0]
        picture = ax.imshow(self.correlations, cmap="PuOr", vmin=-1, vmax=1)
        for (row, column), value in np.ndenumerate(self.correlations):
            colour = "white" if abs(value) > 0.7 else "black"
            text = "none" if np.isnan(value) else f"{value:.2f}"
            ax.text(column, row, text, ha="center", va="center", color=colour)
        at = np.arange(len(self.probe_names))
        ax.set_xticks(at, self.probe_names, rotation=45, ha="right")
        ax.set_yticks(at, self.probe_names)
        ax.figure.colorbar(picture, ax=ax, label="rank correlation over units", shrink=0.8)
        ax.set_title("which probes agree")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def plot_ranks(self, ax: Any = None) -> "ConsensusDisplay":
        """Draw the ranks of the units of the highest scores, those selected with an asterisk.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            ``None`` makes a new figure.

        Returns
        -------
        self : ConsensusDisplay
        """
        ax = axes_for(ax, 1, layout="constrained")[0]
        living = ~np.isnan(self.ranks).any(axis=0)
        order = np.lexsort((-self.scores, ~living))[: min(self.n_drawn, int(living.sum()))]
        ranks = self.ranks[:, order].T
        shares = ranks / self.n_ranked[order][:, None]
        picture = ax.imshow(shares, cmap="cividis_r", vmin=0, vmax=1, aspect="auto")
        for (row, column), rank in np.ndenumerate(ranks):
            colour = "white" if shares[row, column] > _DARK else "black"
            ax.text(column, row, f"{rank:g}", ha="center", va="center", color=colour, size="small")
        stars = ["* " if chosen else "" for chosen in self.selected[order]]
        labels = [star + str(name) for star, name in zip(stars, self.names[order], strict=True)]
        ax.set_yticks(np.arange(len(order)), labels, fontsize="small")
        ax.set_xticks(np.arange(len(self.probe_names)), self.probe_names, rotation=45, ha="right")
        ax.set_ylabel("units, highest score first (* selected)")
        label = "rank, as a share of the units of the layer"
        ax.figure.colorbar(picture, ax=ax, label=label, shrink=0.8)
        ax.set_title("where each probe puts them")
        self.ax_, self.figure_ = ax, ax.figure
        return self
