"""TemperatureDisplay: the tree of classes, their similarity and the units over temperatures."""

from typing import Any, Self

import numpy as np
from scipy.cluster import hierarchy
from sklearn.decomposition import PCA

from sklflat.probing.display import PanelsDisplay, axes_for
from sklflat.temperature.softened import logits_of, softened

#: points of a picture along each axis
_N_GRID = 120

#: shares of the points that are below the lines of confidence
_SHARES = (0.2, 0.4, 0.6, 0.8)


class TemperatureDisplay(PanelsDisplay):
    """Pictures of a fitted :class:`~sklflat.TemperatureProbe`.

    Parameters
    ----------
    estimator : TemperatureProbe
        Fitted.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    """

    def plot(self, axes: Any = None) -> Self:
        """Draw the tree, the stability over temperatures, and the units' profiles.

        Parameters
        ----------
        axes : array-like of three matplotlib axes, default=None
            ``None`` makes a new figure.

        Returns
        -------
        self : TemperatureDisplay
        """
        self._panels(axes, 3, figsize=(15, 5))
        self.plot_tree(self.axes_[0])
        self.plot_stability(self.axes_[1])
        self.plot_profiles(self.axes_[2])
        return self

    def plot_tree(self, ax: Any) -> Any:
        """Draw the most stable tree; branches carry their bootstrap support in per cent.

        Where it is unknown, see :class:`~sklflat.temperature.ClassTree`, there is no number.

        Parameters
        ----------
        ax : matplotlib.axes.Axes

        Returns
        -------
        ax : matplotlib.axes.Axes
        """
        tree = self.estimator.tree_
        drawn = hierarchy.dendrogram(
            tree.linkage,
            labels=[str(c) for c in tree.classes],
            orientation="left",
            color_threshold=0,
            above_threshold_color="black",
            ax=ax,
        )
        places = _places(tree.linkage, drawn["leaves"])
        low, high = tree.linkage[[0, -1], 2]
        room = 0.15 * (high - low) or 0.05
        ax.set_xlim(high + room, low - room / 2)  # leaves begin at 0, which may be far away
        for k in np.flatnonzero(np.isfinite(tree.support[:-1])):  # the root is in every tree
            ax.annotate(
                f"{tree.support[k]:.0%}",
                (tree.linkage[k, 2], places[k]),
                xytext=(-2, 2),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize="small",
            )
        shown = self.estimator.hierarchy_ is not None
        found = "hierarchy" if shown else "no hierarchy beyond chance"
        ax.set(
            title=f"T = {tree.temperature:.3g}: {found}",
            xlabel="distance between classes (1: never confused)",
        )
        return ax

    def plot_stability(self, ax: Any) -> Any:
        """Draw how well each temperature's tree holds on other rows, and where classes merge.

        Parameters
        ----------
        ax : matplotlib.axes.Axes

        Returns
        -------
        ax : matplotlib.axes.Axes
        """
        p = self.estimator
        ax.semilogx(p.temperatures_, p.stability_, "k-", label="stability on other rows")
        pairs = np.triu_indices(len(p.classes_), 1)
        merges = np.sort(p.merge_temperatures_[pairs])
        share = np.searchsorted(merges, p.temperatures_, side="right") / len(merges)
        ax.semilogx(p.temperatures_, share, "k:", label="pairs of classes that have merged")
        for T, style, name in (
            (p.tree_.temperature, "-", "most stable"),
            (p.calibrated_temperature_, "--", "calibrated"),
        ):
            ax.axvline(T, color="0.6", linestyle=style, label=f"{name}: T = {T:.3g}")
        ax.set(xlabel="temperature T", ylabel="correlation, share of pairs", ylim=(-0.05, 1.05))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, fontsize="small")
        return ax

    def plot_profiles(self, ax: Any, *, n_units: int = 10) -> Any:
        """Draw shares in the importance of all units: the coarsest and the finest.

        Parameters
        ----------
        ax : matplotlib.axes.Axes
        n_units : int, default=10
            How many, half of each kind.

        Returns
        -------
        ax : matplotlib.axes.Axes
        """
        p = self.estimator
        alive = np.flatnonzero(~p.dead_)
        order = alive[np.argsort(p.unit_scores_[alive])]
        n = max(1, min(n_units, len(order)) // 2)
        even = 1 / len(order)
        for chosen, style, name in ((order[-n:], "k-", "coarsest"), (order[:n], "k:", "finest")):
            lines = ax.semilogx(p.temperatures_, p.unit_profiles_[:, chosen] / even, style, lw=1)
            lines[0].set_label(f"{len(chosen)} {name}")
        ax.axhline(1, color="0.6", label="even share")
        ax.set(
            xlabel="temperature T",
            ylabel="importance of a unit, in even shares",
            title=f"profiles at both ends correlate by {p.vacuity_:.2f}",
        )
        ax.legend(fontsize="small")
        return ax

    def plot_similarity(self, axes: Any = None, *, temperatures: Any = None) -> Any:
        """Draw the similarity of classes at some temperatures, in the order of the tree.

        Parameters
        ----------
        axes : array-like of matplotlib axes, default=None
            One a temperature.
        temperatures : array-like of float, default=None
            Taken to the nearest ones of the grid; ``None`` is the lowest, the tree's and the
            highest.

        Returns
        -------
        axes : ndarray of matplotlib.axes.Axes
        """
        p = self.estimator
        grid = p.temperatures_
        wanted = (grid[0], p.tree_.temperature, grid[-1]) if temperatures is None else temperatures
        axes = axes_for(axes, len(wanted), figsize=(4.5 * len(wanted), 4), layout="constrained")
        order = hierarchy.leaves_list(p.tree_.linkage)
        names = [str(c) for c in p.classes_[order]]
        size = min(10, 160 / len(names))  # in points, of which a picture is about 200 high
        for ax, T in zip(axes, wanted, strict=True):
            k = int(np.abs(np.log(grid / T)).argmin())
            S = p.similarity_[k][np.ix_(order, order)]
            # at a high temperature all are about one in the number of classes
            image = ax.imshow(S, cmap="Greys", vmin=S.min(), vmax=S.max())
            ax.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
            ax.set_yticks(range(len(names)), names, fontsize=size)
            ax.set(title=f"T = {grid[k]:.3g}", xlabel="class predicted", ylabel="class of the rows")
            ax.figure.colorbar(image, ax=ax, label="mean probability")
        return axes

    def plot_confidence(self, X: Any, axes: Any = None, *, temperatures: Any = None) -> Any:
        """Draw the network's confidence in the plane of two leading directions of the inputs.

        The plane goes through the mean of X, along its first two principal components. Lines are
        those of equal greatest probability; they move with the temperature, and the borders of
        the predicted classes (grey) stay. Each picture has values of its own on its lines, as all
        probabilities come close to each other at a high temperature.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        axes : array-like of matplotlib axes, default=None
            One a temperature.
        temperatures : array-like of float, default=None
            ``None`` is a third of the calibrated temperature, that, and three and ten times it.

        Returns
        -------
        axes : ndarray of matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If X has no plane.
        """
        p = self.estimator
        T = p.calibrated_temperature_
        wanted = (T / 3, T, 3 * T, 10 * T) if temperatures is None else temperatures
        axes = axes_for(axes, len(wanted), figsize=(4 * len(wanted), 4), layout="constrained")
        X = np.asarray(X, dtype=float)
        if min(X.shape) < 2 or X.ndim > 2:
            raise ValueError(f"A plane needs two features and two rows at least, got {X.shape}.")
        plane = PCA(2).fit(X)
        low, high = np.quantile(plane.transform(X), [0.01, 0.99], axis=0)
        u, v = np.meshgrid(*(np.linspace(a, b, _N_GRID) for a, b in zip(low, high, strict=True)))
        points = plane.inverse_transform(np.column_stack([u.ravel(), v.ravel()]))
        logits = logits_of(p.estimator_, points.astype(X.dtype))
        ahead = [_ahead(logits, k).reshape(u.shape) for k in np.unique(logits.argmax(axis=1))]
        for ax, T in zip(axes, wanted, strict=True):
            greatest = softened(logits, T).max(axis=1).reshape(u.shape)
            for margin in ahead if len(ahead) > 1 else ():
                ax.contour(u, v, margin, levels=[0], colors="0.7", linewidths=2)
            if np.ptp(greatest) > 0:
                levels = np.quantile(greatest, _SHARES)
                lines = ax.contour(u, v, greatest, np.unique(levels), colors="black", linewidths=1)
                ax.clabel(lines, fontsize="small", fmt="%.2g")
            ax.set(
                title=f"T = {T:.3g}",
                xlabel="first principal component",
                ylabel="second principal component",
            )
        return axes


def _places(linkage: np.ndarray, leaves: list[int]) -> np.ndarray:
    """Where SciPy draws each branch (n_classes - 1,) along the axis of the leaves."""
    n = len(leaves)
    places = np.empty(2 * n - 1)
    places[leaves] = 10 * np.arange(n) + 5
    for k, below in enumerate(linkage[:, :2].astype(int)):
        places[n + k] = places[below].mean()
    return places[n:]


def _ahead(logits: np.ndarray, k: int) -> np.ndarray:
    """By how much the logit of class k is above all others, (n_samples,)."""
    return logits[:, k] - np.delete(logits, k, axis=1).max(axis=1)
