"""Regressors: real targets in, real predictions out."""

from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import Tags

from sklflat._compat import check_sample_weight, fit_context
from sklflat.training.engine.epochs import run_alone
from sklflat.training.estimators.base import PerturbedEstimator
from sklflat.training.estimators.data import Inputs
from sklflat.training.estimators.parameters import RegressorParameters, TrainingParameters
from sklflat.training.estimators.targets import RealTargets


class PerturbedRegressor(RegressorMixin, PerturbedEstimator, RegressorParameters):
    """What all regressors of this room share."""

    _parameter_constraints = {
        **TrainingParameters._parameter_constraints,
        **RegressorParameters._parameter_constraints,
    }

    _y_numeric = True

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Inputs, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one pass over the data, going on from where training is.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or torch Dataset
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        run_alone(self._fitting(X, y, sample_weight, incremental=True))
        return self

    def _check_y(self, y: NDArray) -> None:
        if self.loss == "poisson" and (np.any(y < 0) or np.sum(y) <= 0):
            raise ValueError(
                "loss='poisson' needs y >= 0 with at least one positive value; got a minimum "
                f"of {np.min(y)!r}."
            )

    def _make_targets(self, y: NDArray, classes: ArrayLike | None) -> RealTargets:
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        targets = RealTargets(y, self.loss)
        self.n_outputs_ = targets.n_outputs
        return targets

    def _check_continues(self, y: NDArray, incremental: bool) -> None:
        n_outputs = RealTargets(y, self.loss).n_outputs
        if n_outputs != self._targets.n_outputs:
            raise ValueError(
                f"y has {n_outputs} targets, but training began with {self._targets.n_outputs}."
            )

    def _weights(
        self, X: Inputs, y: NDArray, sample_weight: ArrayLike | None, incremental: bool
    ) -> NDArray | None:
        if sample_weight is None:
            return None
        return check_sample_weight(sample_weight, y, ensure_non_negative=True)

    def _stratify(self, y: NDArray) -> None:
        return None

    def _score_outputs(self, z: NDArray, y: NDArray, weight: NDArray | None) -> float:
        return float(r2_score(y, self._targets.predict(z), sample_weight=weight))

    def predict(self, X: Inputs) -> NDArray:
        """Predictions.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or torch Dataset

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            In the precision of training.
        """
        z = self._raw_predict(X)
        y = self._targets.predict(z)
        return y.astype(np.float32) if self._dtype == torch.float32 else y

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags
