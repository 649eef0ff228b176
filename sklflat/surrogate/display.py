"""SurrogateDisplay: fidelity by size, where surrogate and network differ, and the surrogate."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklflat.probing.display import axes_for
from sklflat.surrogate.disagreement_map import DisagreementMap
from sklflat.surrogate.fidelity import FidelityReport
from sklflat.surrogate.stability import has_splits
from sklflat.surrogate.summary import said_at_nodes
from sklflat.surrogate.tree_drawing import draw_tree

#: colour, line and marker of each model, to be told apart in grey, too
_STYLES = [("C0", "-", "o"), ("C1", "--", "s"), ("C2", "-.", "^"), ("0.5", ":", None)]
#: coefficients that are drawn
_MAX_BARS = 12


class SurrogateDisplay:
    """Fidelity against size with baselines, the map of disagreement, and the surrogate itself.

    Parameters
    ----------
    reports : dict of size to FidelityReport
        As :func:`~sklflat.surrogate.fidelity_by_size` gives them; or that of one surrogate.
    disagreement : DisagreementMap
        Of held-out rows.
    surrogate : estimator
        Fitted.
    feature_names : sequence of str
    class_names : sequence of str or None
    said : sequence or None
        What a tree predicts at each of its nodes.
    size_name : str, default="depth"

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    """

    def __init__(
        self,
        *,
        reports: Mapping[Any, FidelityReport],
        disagreement: DisagreementMap,
        surrogate: Any,
        feature_names: Any,
        class_names: Any,
        said: Any = None,
        size_name: str = "depth",
    ) -> None:
        self.reports = reports
        self.disagreement = disagreement
        self.surrogate = surrogate
        self.feature_names = feature_names
        self.class_names = class_names
        self.said = said
        self.size_name = size_name

    @classmethod
    def from_estimator(
        cls,
        aligner: Any,
        *,
        reports: Mapping[Any, FidelityReport] | None = None,
        size_name: str = "depth",
        axes: Any = None,
    ) -> "SurrogateDisplay":
        """Draw a fitted aligner.

        Parameters
        ----------
        aligner : SurrogateAligner
            Fitted.
        reports : dict of size to FidelityReport, default=None
            Of :func:`~sklflat.surrogate.fidelity_by_size`. None shows the aligner's own only.
        size_name : str, default="depth"
            What their keys are.
        axes : sequence of three matplotlib.axes.Axes, default=None

        Returns
        -------
        display : SurrogateDisplay
        """
        check_is_fitted(aligner)
        classes, student = aligner._student.classes, aligner._student
        return cls(
            reports={"surrogate_": aligner.fidelity_} if reports is None else reports,
            disagreement=aligner._map,
            surrogate=aligner.surrogate_,
            feature_names=aligner.surrogate_feature_names_,
            class_names=None if classes is None else [str(c) for c in classes],
            said=said_at_nodes(student) if has_splits(student.model) else None,
            size_name=size_name,
        ).plot(axes)

    def plot(self, axes: Any = None) -> "SurrogateDisplay":
        """Draw.

        Parameters
        ----------
        axes : sequence of three matplotlib.axes.Axes, default=None

        Returns
        -------
        self
        """
        layout = {"gridspec_kw": {"width_ratios": [1, 1.2, 2.6]}}
        axes = axes_for(axes, 3, figsize=(19, 5.5), layout="constrained", **layout)
        self._draw_sizes(axes[0])
        self._draw_map(axes[1])
        self._draw_surrogate(axes[2])
        self.axes_, self.figure_ = axes, axes[0].figure
        return self

    def _draw_sizes(self, ax: Any) -> None:
        reports = list(self.reports.values())
        places = np.arange(len(reports))
        names = reports[0].models[:4]
        for name, (colour, line, marker) in zip(names, _STYLES, strict=True):
            value = [report.of(name) for report in reports]
            ends = [[report.of(name, end) for report in reports] for end in ("low", "high")]
            ax.plot(places, value, line, color=colour, marker=marker, label=name)
            if name == names[0]:
                ax.vlines(places, *ends, color=colour, lw=4, alpha=0.3)
        ax.set_xticks(places, [str(size) for size in self.reports])
        one = len(reports) == 1
        ax.set(
            xlabel="" if one else self.size_name,
            ylabel="fidelity (held out)",
            title="Fidelity" if one else "Fidelity by size",
        )
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False, ncols=2)

    def _draw_map(self, ax: Any) -> None:
        m = self.disagreement
        known = np.isfinite(m.variance).all()
        colours: Any = {"c": np.sqrt(m.variance), "cmap": "viridis"} if known else {"color": "0.7"}
        points = ax.scatter(*m.places.T, s=18, **colours)
        if known:
            label = "standard deviation over the basin"
            ax.figure.colorbar(points, ax=ax, label=label)
        x, y = m.places[m.differs].T
        label = f"surrogate and network differ ({m.differs.mean():.1%})"
        ax.scatter(x, y, s=60, facecolors="none", edgecolors="C3", linewidths=1.5, label=label)
        ax.set(xlabel=m.names[0], ylabel=m.names[1], title="Disagreement and the basin")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)

    def _draw_surrogate(self, ax: Any) -> None:
        hint = ""
        if has_splits(self.surrogate):
            hint = ": yes goes up, shares of what it was taught"
            draw_tree(ax, self.surrogate, self.feature_names, self.said, self.class_names)
        elif hasattr(self.surrogate, "coef_"):
            coef = np.atleast_2d(self.surrogate.coef_)
            order = np.argsort(-np.abs(coef).sum(axis=0))[:_MAX_BARS][::-1]
            for k, row in enumerate(coef):
                label = None if self.class_names is None else self.class_names[-len(coef) :][k]
                height = 0.8 / len(coef)
                ax.barh(np.arange(len(order)) + k * height, row[order], height, label=label)
            ax.set_yticks(np.arange(len(order)), [self.feature_names[j] for j in order])
            ax.set_xlabel("coefficient")
            if self.class_names is not None:
                ax.legend(frameon=False)
        else:
            ax.text(0.5, 0.5, "neither a tree nor coefficients", ha="center", va="center")
            ax.set_axis_off()
        ax.set_title(f"{type(self.surrogate).__name__}{hint}")
