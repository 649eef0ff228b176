"""The base of all probes: fit scores units against chance, transform returns their activations."""

from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, is_classifier
from sklearn.utils import check_random_state, get_tags, indexable
from sklearn.utils.validation import check_is_fitted, validate_data

from sklflat._compat import (
    EstimatorMixin,
    HasMethods,
    Interval,
    StrOptions,
    check_feature_names_in,
    fit_context,
)
from sklflat.exceptions import NoUnitsError
from sklflat.probing.false_discovery import (
    FDR,
    Discoveries,
    above_chance,
    n_pooled_draws,
    q_values,
    select,
)
from sklflat.probing.null_hypotheses import NOT_SAID, in_words
from sklflat.probing.nulls import Null, seeded
from sklflat.probing.resolve import (
    ends_frozen,
    is_frozen,
    is_search,
    preprocessing,
    resolve,
    unfitted,
)
from sklflat.probing.restricted import Restriction, restrict
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows, check_only_weights, split_rows
from sklflat.probing.subclass_checks import checked_nulls, checked_scores, require_parameters
from sklflat.probing.time_series import check_in_time, is_in_time, too_short
from sklflat.probing.training_set import TrainingSet
from sklflat.probing.unit_card import CardData, UnitCard
from sklflat.probing.unit_table import unit_table
from sklflat.training.estimators.containers import as_arrays, is_several
from sklflat.training.estimators.trained_network import TrainedNetwork


class UnitProbe(EstimatorMixin, MetaEstimatorMixin, TransformerMixin, BaseEstimator):
    """Scores the hidden units of a network, each against chance.

    A subclass supplies two functions of a :class:`~sklflat.probing.sample.Sample`: scores, and
    what they would be by chance. Think twice before adding anything here.

    - ``_score_units(sample) -> ndarray of shape (n_units,)``, higher for units that are more
      likely to be real, 0 for those with nothing to show;
    - ``_draw_nulls(sample, n_draws, rng) -> list of Null``, with about ``n_draws`` draws in all,
      one list entry a null hypothesis. A unit's p-value is the greatest over the nulls, as it
      has to beat them all.

    Both read the sample and the constructor's parameters, and set no attribute. A probe that
    needs more than units and rows returns a subclass of ``Sample`` from ``_prepare``, with the
    rest as fields and cached properties; ``_record(sample)`` comes last, and sets the attributes
    that stay.
    """

    _parameter_constraints: dict[str, Any] = {
        "estimator": "no_validation",  # resolve says what is accepted
        "layers": [str, list, tuple],
        "n_units": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="right"),
            None,
        ],
        "n_null": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "holdout": [Interval(Real, 0, 1, closed="neither"), HasMethods(["split"]), None],
        "n_jobs": [Integral, None],
        "dtype": [StrOptions({"float32", "float64"}), None],
        "random_state": ["random_state"],
    }
    #: what a pipeline may be asked to route to ``fit``, by ``set_fit_request``
    __metadata_request__fit: ClassVar[dict[str, Any]] = {"sample_weight": None, "groups": None}
    #: whether there is something to say about a network without hidden units
    _may_lack_units = False
    #: whether rows may be one series in time, ``holdout=TimeSeriesSplit()``
    _takes_series = False
    #: whether one network, given as it is, is enough to score its units
    _scores_one_network = True
    #: what a score is, for displays
    _score_name = "score"
    estimator: Any
    layers: Any
    n_units: Any
    n_null: Any
    holdout: Any
    n_jobs: int | None
    random_state: Any
    dtype: str | None = None

    # --- what a subclass says -----------------------------------------------------------------

    def _score_units(self, sample: Sample) -> NDArray:
        raise NotImplementedError

    def _draw_nulls(self, sample: Sample, n_draws: int, rng: np.random.RandomState) -> list[Null]:
        raise NotImplementedError

    def _discoveries(self, sample: Sample) -> Discoveries:
        """What ``n_units="auto"`` selects: units for which the claim's complement is rejected."""
        least = self._least_p_values(sample)
        return above_chance(self.unit_scores_, self.p_values_, self.q_values_, least, sample.dead)

    def _least_p_values(self, sample: Sample) -> NDArray:
        """What the draws of all nulls allow, (n_units,)."""
        least = [null.least_p_values(len(sample.units)) for null in self.nulls_]
        return np.where(sample.scoreless, 1.0, np.max(least, axis=0))

    # --- fit ----------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Train the network, unless it is frozen, and score its units.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            What the estimator accepts. A share ``holdout`` of the rows is kept from training,
            and the units are scored on these; a frozen network is scored on all rows, which
            should be rows that it was not trained on.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        **fit_params
            Go to the estimator's ``fit``. Those with one entry a row are split like X, and
            ``sample_weight`` also weights the rows that are scored. ``groups``, one label a row,
            says which rows depend on each other: they are held out and shuffled together, and
            decide as one. It goes on to a search's ``fit`` only.

        Returns
        -------
        self : object
        """
        require_parameters(self, self._parameter_constraints)
        X, y = as_arrays(X, y)
        name = type(self).__name__
        if y is None:
            needs = "requires y to be passed, but the target y is None."
            raise ValueError(f"This {name} estimator {needs}")
        validate_data(self, X, skip_check_array=True)
        rng = check_random_state(self.random_state)
        X, y = indexable(X, np.asarray(y))
        check_in_time(self.holdout, fit_params.get("groups"), self._takes_series, name)
        sample = self._prepare(Rows(X, y, fit_params), rng)
        if len(sample.units):
            self._score(sample, rng)
        else:
            self.unit_scores_ = self.p_values_ = self.q_values_ = np.zeros(0)
            self.nulls_: tuple[Null, ...] = ()
            self.support_: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self._record(sample)
        return self

    def _score(self, sample: Sample, rng: np.random.RandomState) -> None:
        sample.require_finite(outputs=False)
        short = too_short(sample.n_samples, sample.n_independent) if sample.in_time else ""
        scores = checked_scores(self, self._score_units(sample), sample.scoreless)
        self.unit_scores_ = np.where(sample.scoreless, 0.0, scores)
        n_draws = n_pooled_draws(self.n_null, len(sample.units))
        nulls = self._draw_nulls(sample, n_draws, rng)
        self.nulls_ = checked_nulls(self, nulls, len(sample.units))
        p = np.max([null.p_values(self.unit_scores_) for null in self.nulls_], axis=0)
        self.p_values_ = np.where(sample.scoreless | bool(short), 1.0, p)
        self.q_values_ = q_values(self.p_values_, sample.dead)
        found = self._discoveries(sample)
        found = replace(found, if_none=short) if short else found
        self.support_ = select(self.n_units, self.unit_scores_, found, sample.dead)

    def _prepare(self, rows: Rows, rng: np.random.RandomState) -> Sample:
        """Train what is to be trained; open the network and find its units."""
        training, in_time = None, is_in_time(self.holdout)
        if is_frozen(self.estimator):
            check_only_weights(rows.params)
            self.estimator_, scored = self.estimator, rows
        else:
            fresh = seeded(unfitted(self.estimator), rng)
            fitted, scored = split_rows(rows, self.holdout, is_classifier(fresh), rng)
            groups = fitted.groups
            fitted = fitted if is_search(fresh) else fitted.without_groups()
            self.estimator_ = fitted.train(fresh)
            if not ends_frozen(fresh):
                training = TrainingSet(
                    fresh, fitted.X, fitted.y, fitted.params, self.n_jobs, groups, in_time
                )
        scored = scored if in_time else scored.with_weight()  # a series has no gaps
        return Sample.of(
            self.estimator_,
            scored.X,
            scored.y,
            layers=self.layers,
            weight=scored.weight,
            training=training,
            numbers=scored.numbers,
            groups=scored.groups,
            in_time=in_time,
            may_lack_units=self._may_lack_units,
            dtype=self.dtype,
        )

    def _trained_network(self) -> TrainedNetwork:
        """The network that is probed, opened."""
        return resolve(self.estimator_, self.dtype)

    def _record(self, sample: Sample) -> None:
        """Keep what is shown or used later, when units are scored and selected.

        A sample that has more to keep (paths, eigenvalues) is recorded by the subclass.
        """
        self.units_ = sample.units
        self.unit_names_ = np.array(sample.units.names, dtype=object)
        self.unit_means_ = sample.means
        self.unit_variances_ = sample.variances
        self.dead_ = sample.dead
        self._cards = CardData.of(sample)

    # --- transform ----------------------------------------------------------------------------

    def transform(self, X: Any) -> NDArray:
        """Activations of the selected units.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        activations : ndarray of shape (n_samples, n_selected), float64
            Averaged over positions, where a unit has several.
        """
        return self._selected_activations(X)

    def _selected_activations(self, X: Any) -> NDArray:
        check_is_fitted(self)
        if not len(self.units_):
            raise NoUnitsError(
                f"The network of this {type(self).__name__} has no hidden units, so there are no "
                "activations to return."
            )
        trained = self._trained_network()
        x = trained.to_input(X)  # the network's own errors say more
        if not is_several(X):  # such have no one number of features
            validate_data(self, X, reset=False, skip_check_array=True)
        A = self.units_.activations(trained.network.module, x, trained.network.batch_size)
        return A.double().numpy()[:, self.support_]

    def get_support(self, indices: bool = False) -> NDArray:
        """Which units are selected.

        Parameters
        ----------
        indices : bool, default=False
            Whether to return their numbers in place of a mask.

        Returns
        -------
        support : ndarray of shape (n_units,), bool, or of shape (n_selected,), int
        """
        check_is_fitted(self)
        return np.flatnonzero(self.support_) if indices else self.support_

    def get_feature_names_out(self, input_features: Any = None) -> NDArray:
        """Names of the selected units, such as ``"hidden.relu_0[3]"``.

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
        return self.unit_names_[self.support_]

    # --- what people look at ------------------------------------------------------------------

    def to_frame(self) -> Any:
        """The result as a tidy DataFrame, one row a unit.

        Returns
        -------
        frame : pandas.DataFrame
            Columns ``layer``, ``channel``, ``score``, ``p_value``, ``q_value``, ``selected``,
            ``dead``, ``mean`` and ``variance``; indexed by the units' names. What a small
            p-value rejects is its ``attrs["p_value"]``.
        """
        check_is_fitted(self)
        p, q = self.p_values_, self.q_values_
        frame = unit_table(self, {"score": self.unit_scores_, "p_value": p, "q_value": q})
        frame.attrs["p_value"] = self.null_hypothesis_
        return frame

    @property
    def null_hypothesis_(self) -> str:
        """What a small p-value rejects, in a sentence; empty where units have none."""
        check_is_fitted(self)
        names = [null.name for null in getattr(self, "nulls_", ())]
        return f"{in_words(names)} {NOT_SAID}" if names else ""

    def unit_card(self, name: str) -> UnitCard:
        """What there is to know about one unit.

        Parameters
        ----------
        name : str
            As in ``unit_names_``.

        Returns
        -------
        card : UnitCard
            The samples that drive it most, the inputs it reads, its mean for every class, its
            score. ``print`` it.

        Raises
        ------
        UnsupportedNetworkError
            If the network has changed since. What inputs do is computed here, on at most 100 of
            the rows that were scored, which the fitted probe keeps (and a pickle of it holds).
        """
        check_is_fitted(self)
        u = self.units_.index(name)
        network = self._cards.opened(self._trained_network())
        return self._cards.card(u, network, self.units_, self._on_card(u), self._input_names())

    def _on_card(self, u: int) -> dict[str, Any]:
        """What the card of unit u says of its score."""
        return {
            "score": float(self.unit_scores_[u]),
            "p_value": float(self.p_values_[u]),
            "q_value": float(self.q_values_[u]),
            "selected": bool(self.support_[u]),
            "null_hypothesis": self.null_hypothesis_,
            "doubt": f"though q is above {FDR:g}" if self.q_values_[u] > FDR else "",
        }

    def _input_names(self) -> NDArray | None:
        """Names of what the network reads; None where they are not known."""
        names = getattr(self, "feature_names_in_", None)
        before = preprocessing(self.estimator_)
        if before is None:
            return names
        try:
            return before.get_feature_names_out(names)
        except (AttributeError, ValueError):  # a step that cannot tell
            return None

    def restrict(
        self, X: Any, y: Any, *, n_random: Any = "auto", random_state: Any = None
    ) -> Restriction:
        """The network reduced to the selected units, and whether it matters which they are.

        Every other unit of the probed layers is mean-ablated: fixed at its mean activation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data to score on, preferably not those that the units were selected on.
        y : array-like of shape (n_samples,)
        n_random : "auto" or int, default="auto"
            Random choices of as many units, of the same layers and about the same variances.
            ``"auto"`` draws what the p-value needs: until ten score as high, and 199 at most.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        restriction : Restriction
            ``estimator`` is the reduced network as a fitted estimator, ``score`` its accuracy
            (or R^2), ``full_score`` the whole network's, ``random_scores`` those of the random
            choices; ``print`` says what they show.
        """
        check_is_fitted(self)
        return restrict(self, X, y, n_random, check_random_state(random_state))

    # --- what scikit-learn asks ---------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        return int(self.support_.sum())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = []
        tags.input_tags.sparse = self.estimator is None
        if hasattr(self.estimator, "__sklearn_tags__"):
            tags.input_tags = get_tags(self.estimator).input_tags
        return tags
