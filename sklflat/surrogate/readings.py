"""What a fitted aligner says about data, and what people look at."""

from typing import Any

from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import check_is_fitted, validate_data

from sklflat._compat import check_feature_names_in
from sklflat.probing.unit_probe import UnitProbe
from sklflat.surrogate.columns import Columns
from sklflat.surrogate.comparison import compared, compared_names
from sklflat.surrogate.regions import Regions
from sklflat.surrogate.rules import Rules
from sklflat.surrogate.student import Student
from sklflat.surrogate.teacher import Answers, answers_of


class Readings(UnitProbe):
    """Predictions, columns and tables of a fitted aligner."""

    estimator_: Any
    surrogate_: Any
    _rules: Rules | None
    _regions: tuple[Regions, ...]
    _columns: Columns
    _student: Student
    _n_outputs: int

    # --- what it says about data --------------------------------------------------------------

    def predict(self, X: Any) -> NDArray:
        """What the surrogate says.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Labels of the network's classes, or numbers.
        """
        features, _ = self._read(X)
        return self._student.answers(features).labels

    def network_predict(self, X: Any) -> NDArray:
        """What the network says.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._read(X)[1].labels

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy (or R²) of the surrogate on y; its fidelity is ``surrogate_fidelity``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
        """
        measure = accuracy_score if is_classifier(self) else r2_score
        return float(measure(y, self.predict(X), sample_weight=sample_weight))

    def transform(self, X: Any) -> NDArray:
        """Outputs of surrogate and network, and where they differ.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        columns : ndarray of shape (n_samples, 2 n_outputs + 2), float64
            Probabilities (or predictions) of the surrogate, then of the network; whether their
            labels differ (how far predictions are apart); and the network's margin, the best logit
            less the second (of a regressor its first prediction). Activations of the selected
            units are what ``transform_units`` gives.
        """
        return compared(self._student, *self._read(X))

    def transform_units(self, X: Any) -> NDArray:
        """Activations of the selected units, as ``transform`` of other probes gives.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        activations : ndarray of shape (n_samples, n_selected), float64
        """
        return self._selected_activations(X)

    def _read(self, X: Any) -> tuple[NDArray, Answers]:
        """What the surrogate reads, and what the network says."""
        check_is_fitted(self)
        network = answers_of(self._trained_network(), X)  # the network's own errors say more
        validate_data(self, X, reset=False, skip_check_array=True)
        return self._columns.to_features(self._columns.codes(X)), network

    def get_feature_names_out(self, input_features: Any = None) -> NDArray:
        """Names of the columns of ``transform``, such as ``"network[setosa]"`` and ``"margin"``.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Only checked.

        Returns
        -------
        names : ndarray of str objects
        """
        check_is_fitted(self)
        check_feature_names_in(self, input_features, generate_names=False)
        return compared_names(self._student.classes, self._n_outputs)

    # --- what people look at ------------------------------------------------------------------

    @property
    def rules_(self) -> Any:
        """The surrogate as a table, in the words of the data."""
        if self._rules is None:
            raise AttributeError(
                f"A {type(self.surrogate_).__name__} has neither a tree nor coefficients, so there "
                "are no rules_. What it has of its own is in surrogate_."
            )
        return self._rules.to_frame()

    @property
    def agreement_(self) -> Any:
        """Regions in which all say the same, the widest first."""
        return self._regions[0].to_frame()

    @property
    def disagreement_(self) -> Any:
        """All other regions."""
        return self._regions[1].to_frame()

    @property
    def _n_features_out(self) -> int:
        return len(self.get_feature_names_out())
