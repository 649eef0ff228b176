"""SurrogateAligner: a small model that mimics a network, and what their disagreement says."""

from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.utils import get_tags

from sklflat._compat import Interval, StrOptions
from sklflat.exceptions import SurrogateWarning, warn
from sklflat.probing.false_discovery import n_pooled_draws
from sklflat.probing.nulls import Null, n_untrained
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows, check_classes, with_column_as_vector
from sklflat.probing.unit_probe import UnitProbe
from sklflat.surrogate.basin_tests import (
    bisection_of,
    degeneracy_of,
    given_models,
    given_sources,
    leaves_of,
    sampled_models,
)
from sklflat.surrogate.disagreement_map import DisagreementMap
from sklflat.surrogate.readings import Readings
from sklflat.surrogate.summary import regions_tables, rules_of
from sklflat.surrogate.taught import Lesson, TaughtSample
from sklflat.training import SAMClassifier


class SurrogateAligner(Readings):
    r"""A small model that mimics a network, how faithful it is, and what their disagreement says.

    A student, by default a tree of depth 4 whose splits are improved together, is taught what the
    network says about the rows that it was trained on and about *oracle samples*, which stay on the
    distribution of the data. All that is said about it is measured on held-out rows. A network that
    fits its training rows gives back their labels, so a student of those rows alone would be taught
    the truth and not the network.

    A small model that has never seen the network gives most rows the network's label, too. So
    ``fidelity_`` leads with the *gain*: the fidelity less that of the same student taught the true
    targets, with its interval.

    Units are scored by how well a small tree of the inputs explains them: the cross-validated
    :math:`R^2`, less its mean over the units of that layer in untrained networks, which are the
    null. The score does not change when units are permuted, or a ReLU unit's incoming weights are
    multiplied and its outgoing ones divided by a positive number; a duplicate scores the same as
    its original. A dead unit scores 0.

    **What** ``p_values_`` **reject**: that units of networks which were not trained are explained
    as well. That a unit is needed is not said.

    Parameters
    ----------
    estimator : estimator, default=None
        The network: see :class:`~sklflat.AblationProbe`; ``None`` is ``SAMClassifier()``. The
        student reads the inputs as they come, before the steps of a pipeline, so its rules are in
        their units.
    surrogate : estimator, default=None
        The student: any classifier or regressor of scikit-learn, or one like it. ``None`` is an
        :class:`~sklflat.surrogate.AlternatingTreeClassifier` of depth 4, or the regressor.
    target : {"proba", "label", "logit"}, default="proba"
        What it is taught: see :func:`~sklflat.surrogate.teach`. Of a regressor it is the
        prediction, whatever is asked for.
    oracle_samples : "auto" or int, default="auto"
        How many are drawn: ``"auto"`` is 40 for each row, and 10,000 at most; 0 is none.
    n_redraws : int, default=10
        Students of rows and samples drawn again, for the stability of the top splits.
    n_basin_models : int, default=32
        Models of :func:`~sklflat.probing.sample_basin` that disagreement is compared with; 0 is
        none, and there are none where fewer than 80 rows were taught on.
    loss_rise : float, default=0.05
        Budget of these, in units of the loss.
    basin_models : list of fitted estimators, or dict of str to such lists, default=None
        Further models of the same targets, such as ``ModeConnectivityProbe.estimators_``. Each
        list is a source of its own.
    min_fidelity : float, default=0.8
        Below this fidelity there is a warning.
    layers : "hidden" or tuple of str, default="hidden"
        All hidden layers, or some by name.
    n_units : "auto", int, float or None, default="auto"
        How many units to select: see :class:`~sklflat.AblationProbe`.
    n_null : "auto" or int, default="auto"
        Null draws, one for each living unit of an untrained network; ``"auto"`` is
        ``max(2000, n_units / 0.05)``.
    holdout : float or None, default=0.25
        Share of the rows that neither network nor student is taught on. Of a frozen network, which
        should be given rows that it has not seen, the student is taught on the rest of these. With
        ``None`` nothing is held out.
    n_jobs : int or None, default=None
        Not used by this probe.
    dtype : "float32" or "float64", default=None
        Precision in which the network is run; None is its own, of float32 at least.
    random_state : int, RandomState instance or None, default=None
    verbose : int, default=0
        1 shows a progress bar of each part that takes more than a second.

    Attributes
    ----------
    estimator_ : estimator
        The fitted network.
    surrogate_ : estimator
        The fitted student; ``export_text`` and ``plot_tree`` of scikit-learn draw a tree, with
        ``surrogate_feature_names_``.
    surrogate_feature_names_ : ndarray of shape (n_surrogate_features,)
    fidelity_ : FidelityReport
        Print it.
    rules_ : pandas.DataFrame
        One row a leaf: condition, prediction (and, of a classifier, its probability), coverage,
        fidelity, support on held-out rows. Of a linear model one row a coefficient, in the order
        of what a standard deviation of its feature changes.
    agreement_, disagreement_ : pandas.DataFrame
        Regions in which surrogate, network and all models of the (first) basin say the same, and
        all others, with coverage and held-out accuracy.
    agreement_gain_ : Estimate
        How much more often the network is right in the former, at equal margin.
    degeneracy_ : dict of str to DegeneracyTest
        By the source of the models: whether disagreement shows where these vary.
    bisection_ : dict of str to BisectionTest
        Whether the surrogate groups these as their mechanisms do.
    classes_ : ndarray of shape (n_classes,)
        Of a classifier.
    unit_scores_, unit_names_, p_values_, q_values_, support_, nulls_, units_, dead_
        As of every probe; the others are listed at :class:`~sklflat.AblationProbe`.

    Warns
    -----
    SurrogateWarning
        If the fidelity is below ``min_fidelity``, or the network says the same of all rows.

    References
    ----------
    M. Craven, J. Shavlik: Extracting tree-structured representations of trained networks. 1995.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import export_text
    >>> from sklflat import SAMClassifier, SurrogateAligner
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> network = SAMClassifier((16,), learning_rate_init=0.02)
    >>> aligner = SurrogateAligner(network, n_null=50, n_units=4, random_state=0).fit(X, y)
    >>> aligner.fidelity_.value > 0.9, aligner.fidelity_.verdict
    (True, 'as faithful as a student that never saw the network')
    >>> list(aligner.rules_.columns)
    ['condition', 'prediction', 'probability', 'coverage', 'fidelity', 'support']
    """

    _parameter_constraints = {
        **UnitProbe._parameter_constraints,
        "surrogate": "no_validation",  # check_surrogate says what is accepted
        "target": [StrOptions({"label", "proba", "logit"})],
        "oracle_samples": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "n_redraws": [Interval(Integral, 0, None, closed="left")],
        "n_basin_models": [Interval(Integral, 0, None, closed="left")],
        "loss_rise": [Interval(Real, 0, None, closed="neither")],
        "basin_models": "no_validation",  # given_sources says what is accepted
        "min_fidelity": [Interval(Real, 0, 1, closed="both")],
        "verbose": ["verbose"],
    }

    _score_name = "R² of a small tree above that of untrained units"

    def __init__(
        self,
        estimator: Any = None,
        surrogate: Any = None,
        *,
        target: str = "proba",
        oracle_samples: Any = "auto",
        n_redraws: int = 10,
        n_basin_models: int = 32,
        loss_rise: float = 0.05,
        basin_models: Any = None,
        min_fidelity: float = 0.8,
        layers: Any = "hidden",
        n_units: Any = "auto",
        n_null: Any = "auto",
        holdout: float | None = 0.25,
        n_jobs: int | None = None,
        dtype: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.surrogate = surrogate
        self.target = target
        self.oracle_samples = oracle_samples
        self.n_redraws = n_redraws
        self.n_basin_models = n_basin_models
        self.loss_rise = loss_rise
        self.basin_models = basin_models
        self.min_fidelity = min_fidelity
        self.layers = layers
        self.n_units = n_units
        self.n_null = n_null
        self.holdout = holdout
        self.n_jobs = n_jobs
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    # --- fit, step by step --------------------------------------------------------------------

    def _prepare(self, rows: Rows, rng: np.random.RandomState) -> TaughtSample:
        """Train the network, unless it is frozen; part the rows to teach on from those held out."""
        rows = with_column_as_vector(rows)
        if is_classifier(self):
            check_classes(rows, type(self).__name__)
        sample = super()._prepare(rows, rng)
        n_draws = n_pooled_draws(self.n_null, len(sample.units))
        lesson = Lesson(
            self.surrogate,
            self.target,
            self.oracle_samples,
            self.n_redraws,
            n_untrained(n_draws, sample.units.layer_of),
            int(rng.randint(2**31 - 1)),
            self.verbose,
        )
        return TaughtSample.parted(sample, self.holdout, lesson, rng)

    def _score_units(self, sample: Sample) -> NDArray:
        assert isinstance(sample, TaughtSample)
        return sample.explained - sample.by_chance[sample.units.layer_of]

    def _draw_nulls(self, sample: Sample, n_draws: int, rng: np.random.RandomState) -> list[Null]:
        assert isinstance(sample, TaughtSample)
        found, layers = sample.untrained_explained
        draws = found - sample.by_chance[layers]
        strata = layers, sample.units.layer_of
        return [Null("untrained twins", draws, matched=False, layers=strata)]

    def _record(self, sample: Sample) -> None:
        assert isinstance(sample, TaughtSample)
        super()._record(sample)
        self._columns = sample.columns
        self._student = sample.student
        self.surrogate_ = sample.student.model
        self.surrogate_feature_names_ = np.array(sample.columns.feature_names, dtype=object)
        self._n_outputs = sample.taught_answers.values.shape[1]
        if sample.trained.classes is not None:
            self.classes_ = sample.trained.classes
        self.fidelity_ = replace(sample.fidelity(), min_fidelity=self.min_fidelity)
        self._warn_of_fidelity(sample)
        self._rules = rules_of(sample)
        sources = [given_models(sample, *item) for item in given_sources(self.basin_models).items()]
        if self.n_basin_models:
            settings = self.n_basin_models, self.loss_rise
            sources.insert(0, sampled_models(sample, self.estimator_, *settings))
        self.degeneracy_ = {m.source: degeneracy_of(sample, m) for m in sources}
        self.bisection_ = {m.source: bisection_of(sample, m) for m in sources}
        members = sources[0].answers if sources else []
        *regions, self.agreement_gain_ = regions_tables(sample, leaves_of(sample), members)
        self._regions = tuple(regions)
        self._map = DisagreementMap.of(sample, members)

    def _warn_of_fidelity(self, sample: TaughtSample) -> None:
        report = self.fidelity_
        if len(np.unique(sample.taught_answers.labels, axis=0)) == 1:
            warn(
                "The network says the same of all rows that the surrogate was taught on, so there "
                "is nothing to mimic. Check the scale of X and the training of the network.",
                SurrogateWarning,
            )
        elif report.value < self.min_fidelity:
            warn(
                f"The surrogate's fidelity on held-out rows is {report.value:.3f}, where "
                f"min_fidelity={self.min_fidelity} is asked for: {report.verdict}. Its rules are "
                "not the network's. A larger surrogate, or more oracle_samples, may be more "
                "faithful.",
                SurrogateWarning,
            )

    # --- what scikit-learn asks ---------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        network = SAMClassifier() if self.estimator is None else self.estimator
        if hasattr(network, "__sklearn_tags__"):
            own = get_tags(network)
            tags.estimator_type = own.estimator_type
            tags.classifier_tags = own.classifier_tags
            if own.classifier_tags is not None:
                own.classifier_tags.multi_label = False
            tags.regressor_tags = own.regressor_tags
        return tags
