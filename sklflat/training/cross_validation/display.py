"""RadiusDisplay: the score of every radius that was tried."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

#: of L2 penalties, readable in greyscale
_STYLES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"), ("-", "x"))


class RadiusDisplay:
    """Cross-validated score against the radius, a curve for each L2 penalty.

    Parameters
    ----------
    rhos : ndarray of shape (n_rhos,)
    alphas : ndarray of shape (n_alphas,)
    scores : ndarray of shape (n_folds, n_rhos, n_alphas)
        NaN where training failed; such candidates are not drawn.
    rho, alpha : float
        What was chosen.
    score_name : str

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat import RadiusDisplay
    >>> scores = np.array([[[0.8], [0.9]], [[0.7], [0.9]]])
    >>> given = {"rhos": np.array([0, 1]), "alphas": np.array([1e-4]), "scores": scores}
    >>> display = RadiusDisplay(**given, rho=1.0, alpha=1e-4, score_name="accuracy").plot()
    >>> display.ax_.get_lines()[0].get_ydata().tolist()
    [0.75, 0.9]
    """

    def __init__(
        self,
        *,
        rhos: NDArray,
        alphas: NDArray,
        scores: NDArray,
        rho: float,
        alpha: float,
        score_name: str,
    ) -> None:
        self.rhos = rhos
        self.alphas = alphas
        self.scores = scores
        self.rho = rho
        self.alpha = alpha
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: Any, ax: Any = None) -> "RadiusDisplay":
        """Draw a fitted :class:`~sklflat.SAMClassifierCV` or :class:`~sklflat.SAMRegressorCV`.

        Parameters
        ----------
        estimator : SAMClassifierCV or SAMRegressorCV
            Or a pipeline that ends in one.
        ax : matplotlib.axes.Axes, default=None

        Returns
        -------
        display : RadiusDisplay
        """
        estimator = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
        check_is_fitted(estimator)
        scoring = estimator.scoring
        name = (
            getattr(scoring, "__name__", type(scoring).__name__) if callable(scoring) else scoring
        )
        name = name or ("accuracy" if is_classifier(estimator) else "R²")
        return cls(
            rhos=estimator.rhos_,
            alphas=estimator.alphas_,
            scores=estimator.scores_,
            rho=estimator.rho_,
            alpha=estimator.alpha_,
            score_name=name.replace("_", " "),
        ).plot(ax=ax)

    def plot(self, ax: Any = None) -> "RadiusDisplay":
        """Draw the means over folds, and the single folds of the chosen penalty.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            ``None`` makes a new figure.

        Returns
        -------
        self : RadiusDisplay
        """
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        order = np.argsort(self.rhos)
        mean = self.scores.mean(axis=0)
        for k, alpha in enumerate(self.alphas):
            line, marker = _STYLES[k % len(_STYLES)]
            is_chosen = alpha == self.alpha or np.isnan(alpha)
            ax.plot(
                self.rhos[order],
                mean[order, k],
                color="black" if is_chosen else "0.5",
                linestyle=line,
                marker=marker,
                markersize=4,
                label="mean of the folds" if np.isnan(alpha) else f"alpha = {alpha:g}",
            )
            if is_chosen:
                folds = self.scores[:, order, k]
                ax.plot(self.rhos[order], folds.T, color="0.8", linewidth=0.8, zorder=0)
        ax.axvline(self.rho, color="black", linewidth=0.8)
        ax.annotate(
            f" rho = {self.rho:g} ",
            (self.rho, 0.02),
            xycoords=("data", "axes fraction"),
            va="bottom",
            ha="right" if self.rho == self.rhos.max() > self.rhos.min() else "left",
        )
        ax.set_title(self._at_the_end(), fontsize="small")
        positive = self.rhos[self.rhos > 0]
        if len(positive):
            ax.set_xscale("symlog", linthresh=float(positive.min()))
            ax.set_xlim(left=-0.1 * positive.min() if self.rhos.min() == 0 else None)
        ax.set_xticks(np.unique(self.rhos), [f"{rho:g}" for rho in np.unique(self.rhos)])
        ax.minorticks_off()
        ax.set_xlabel("radius rho (units of the parameters; 0: no perturbation)")
        ax.set_ylabel(f"{self.score_name}, held-out folds (grey: one by one)")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _at_the_end(self) -> str:
        """What there is to say of a choice at an end of the grid; 0 is none."""
        least, largest = self.rhos.min(), self.rhos.max()
        if least == largest or least < self.rho < largest or self.rho == 0:
            return ""
        which, others = ("largest", "larger") if self.rho == largest else ("least", "smaller")
        return f"the {which} radius of the grid was chosen: {others} ones were not tried"
