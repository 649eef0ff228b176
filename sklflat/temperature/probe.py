"""TemperatureProbe: classes and units as the temperature of the softmax moves."""

from collections.abc import Callable, Iterator
from math import factorial
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklflat._compat import Interval, StrOptions
from sklflat.probing.false_discovery import discovered, q_values
from sklflat.probing.nulls import Null, null_by_layer
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows
from sklflat.probing.unit_probe import UnitProbe
from sklflat.temperature.baselines import compare_trees, verdict
from sklflat.temperature.calibration import fit_temperature
from sklflat.temperature.class_tree import ClassTree
from sklflat.temperature.resampled_rows import ResampledRows
from sklflat.temperature.sweep import FEWEST_CLASSES, LEVEL, TemperatureSweep
from sklflat.temperature.temperature_sample import TemperatureSample

#: rank correlation of profiles from which on temperature adds nothing
VACUOUS = 0.95
#: of grids whose ends are not as far apart that is not said
NARROW = 10.0
#: rows of the smallest class below which it is said that they are few
FEW_ROWS = 4


class TemperatureProbe(UnitProbe):
    r"""Classes and units of one network, as the temperature of its softmax moves.

    At temperature T the network says :math:`p(x; T) = \mathrm{softmax}(f(x) / T)`. A low T shows
    its decisions, a high one its centred logits: T moves between the two and adds nothing else.

    *Classes.* How similar two classes are is the mean probability of one over the rows of the
    other, and average linkage makes a tree of that at each T. The tree to use is the one that is
    most stable on rows that did not build it. Where distances are no more those of a tree than the
    same distances given to other pairs of classes, the result is that there is no hierarchy.

    *Units.* A unit's importance at T is the change of the softened output when it is mean-ablated.
    Coarse units matter more at a high T, for the logits as they are, and refinement units at a low
    one, where rows are decided. A unit's score is its coarseness, :math:`I(T_\mathrm{high}) /
    (I(T_\mathrm{high}) + I(T_\mathrm{low}))` of its shares in the importance of all. Nulls are
    the units of untrained networks and, where the estimator can be fitted, of networks trained on
    permuted labels, each at the same temperatures relative to the scale of its logits.

    **What** ``p_values_`` **reject**: that units of networks which were not trained (and of such
    as were trained on labels without meaning) are as coarse. None says that a unit is needed.

    Parameters
    ----------
    estimator : estimator, default=None
        Any classifier of this package, a skorch net, a ``Pipeline`` or search that ends in one, a
        ``FrozenEstimator`` of one, or what :func:`~sklflat.from_module` returns. ``None`` is
        ``SAMClassifier()``. What is not frozen is cloned and fitted.
    temperatures : array-like of float, default=None
        The grid. ``None`` is 25 temperatures from a thirtieth of the root mean square of the
        centred logits to thirty times that.
    linkage : {"average", "single", "complete", "weighted"}, default="average"
        How the tree is built: see :func:`scipy.cluster.hierarchy.linkage`.
    n_bootstrap : int, default=100
        Bootstrap samples of the rows, for the support of branches, and random halves of them, for
        stability and intervals; of every class as many rows as it has.
    importance : {"ablation", "gradient"}, default="ablation"
        Whether a unit is mean-ablated, or its effect taken to first order in its activation, which
        is quicker for units that are not in the last hidden layer.
    layers : "hidden" or tuple of str, default="hidden"
        All hidden layers, or some by name.
    n_units : "auto", int, float or None, default="auto"
        How many units to select: those that pass a false discovery rate of 5 % (with a warning
        and the best unit, if none does), the so many best, that share of those that are alive, or
        all that are alive.
    n_null : "auto" or int, default="auto"
        Null draws, pooled over units; one network gives one draw for every unit that is alive in
        it. ``"auto"`` is ``max(2000, n_units / 0.05)``. Every network is ablated as the first one
        is, and a fit of a large one takes minutes: fewer draws take less, and ``"gradient"`` does.
    holdout : float or None, default=0.25
        Share of the rows on which classes and units are looked at and the network is not trained.
        Not used for a frozen network, which should be given rows that it has not seen.
    n_jobs : int or None, default=None
        Networks of the null that are trained at once, by joblib.
    dtype : "float32" or "float64", default=None
        Precision in which the network is run; None is its own, of float32 at least.
    random_state : int, RandomState instance or None, default=None
        Of the held-out rows, the resampling and the null draws; and of the network, unless that
        has its own.

    Attributes
    ----------
    estimator_ : estimator
        The fitted network.
    classes_ : ndarray of shape (n_classes,)
        Classes of the trees: those that have rows.
    temperatures_ : ndarray of shape (n_temperatures,)
    calibrated_temperature_ : float
        Of least log loss on these rows.
    calibration_ : Calibration
        With the interval of that temperature, and the reasons not to rely on it.
    similarity_ : ndarray of shape (n_temperatures, n_classes, n_classes)
        Row a, column b: mean probability of b over the rows of class a.
    linkages_ : ndarray of shape (n_temperatures, n_classes - 1, 4)
        Trees in SciPy's format.
    support_of_branches_ : ndarray of shape (n_temperatures, n_classes - 1)
        Share of the bootstrap samples that have the branch.
    stability_ : ndarray of shape (n_temperatures,)
        Mean correlation of a tree from half of the rows with the distances on the other half.
    merge_temperatures_ : ndarray of shape (n_classes, n_classes)
        Smallest temperature at which two classes are half as similar as each to itself.
    hierarchy_ : ClassTree or None
        The most stable tree; None where there is no hierarchy.
    tree_ : ClassTree
        The most stable tree, also where it may be chance.
    hierarchy_p_value_ : float
        Of the distances against the same distances given to other pairs, which classes on a line
        pass, too. A hierarchy has at most .001. 1 for fewer than seven classes, which are too few
        to tell.
    reproduced_p_value_ : float
        Of what confusions say of pairs, beyond how hard each class is, against its not coming back
        on other rows. A hierarchy has at most .01.
    n_rows_of_smallest_class_ : int
        Rows that are looked at; groups, where rows have some.
    comparisons_ : tuple of TreeComparison
        The tree beside those by confusion at T = 1, hard confusion, class means of the inputs and
        of the last hidden layer, and the last layer's weights. Their intervals are quantiles over
        random halves of the rows, no confidence intervals.
    unit_profiles_ : ndarray of shape (n_temperatures, n_units)
        Shares of the units in the importance of all, on at most 500 rows.
    coarse_units_, refinement_units_ : ndarray of shape (n_units,), bool
        Units whose coarseness, or whose fineness (1 less that), passes a false discovery rate of
        5 % against all nulls. Often none: the scores of an untrained network's units vary as much.
    vacuity_ : float
        Spearman's correlation of the profiles at the lowest and the highest temperature. Above
        .95 temperature adds nothing about units. NaN where the highest is less than ten times the
        lowest.
    findings_ : list of str
        What was found, and what was not, in words.
    unit_scores_, unit_names_, p_values_, q_values_, support_, nulls_, units_, dead_
        As of every probe; the others are listed at :class:`~sklflat.AblationProbe`.

    References
    ----------
    G. Hinton, O. Vinyals, J. Dean: Distilling the knowledge in a neural network. 2015.
    https://arxiv.org/abs/1503.02531

    Examples
    --------
    Eight classes that halve three times, through products that no class mean sees:

    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklflat import SAMClassifier, TemperatureProbe
    >>> from sklflat.datasets import make_class_tree
    >>> X, y, truth = make_class_tree(2000, warp="product", random_state=0)
    >>> clf = SAMClassifier((64,), learning_rate_init=0.003, max_iter=40, random_state=0)
    >>> frozen = FrozenEstimator(clf.fit(X[:1500], y[:1500]))
    >>> probe = TemperatureProbe(frozen, random_state=0).fit(X[1500:], y[1500:])
    >>> truth.triplet_accuracy(probe.hierarchy_.linkage)
    1.0
    """

    _parameter_constraints = {
        **UnitProbe._parameter_constraints,
        "temperatures": ["array-like", None],
        "linkage": [StrOptions({"average", "single", "complete", "weighted"})],
        "n_bootstrap": [Interval(Integral, 2, None, closed="left")],
        "importance": [StrOptions({"ablation", "gradient"})],
    }
    _score_name = "coarseness"

    def __init__(
        self,
        estimator: Any = None,
        *,
        temperatures: Any = None,
        linkage: str = "average",
        n_bootstrap: int = 100,
        importance: str = "ablation",
        layers: Any = "hidden",
        n_units: Any = "auto",
        n_null: Any = "auto",
        holdout: float | None = 0.25,
        n_jobs: int | None = None,
        dtype: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.temperatures = temperatures
        self.linkage = linkage
        self.n_bootstrap = n_bootstrap
        self.importance = importance
        self.layers = layers
        self.n_units = n_units
        self.n_null = n_null
        self.holdout = holdout
        self.n_jobs = n_jobs
        self.dtype = dtype
        self.random_state = random_state

    # --- fit, step by step --------------------------------------------------------------------

    def _prepare(self, rows: Rows, rng: np.random.RandomState) -> TemperatureSample:
        sample = super()._prepare(rows, rng)
        return TemperatureSample.measured(sample, self.temperatures, self.importance)

    def _score_units(self, sample: Sample) -> NDArray:
        assert isinstance(sample, TemperatureSample)
        return coarseness(sample.profiles)

    def _draw_nulls(self, sample: Sample, n_draws: int, rng: np.random.RandomState) -> list[Null]:
        assert isinstance(sample, TemperatureSample)
        sample.draw_nulls(n_draws, rng)
        return _nulls(sample, coarseness)

    def _record(self, sample: Sample) -> None:
        assert isinstance(sample, TemperatureSample)
        super()._record(sample)
        rng = check_random_state(self.random_state)
        self.classes_ = sample.class_names
        self._record_classes(sample, rng)
        self._record_units(sample)
        self.findings_ = list(self._findings())

    def _record_classes(self, sample: TemperatureSample, rng: np.random.RandomState) -> None:
        y, s = sample.class_numbers, sample.weights
        resampled = ResampledRows.drawn(y, s, self.n_bootstrap, rng, sample.groups)
        self.n_rows_of_smallest_class_ = int(resampled.n_independent.min())
        sweep = TemperatureSweep.of(
            sample.probabilities,
            y,
            s,
            sample.temperatures,
            self.classes_,
            self.linkage,
            resampled,
            rng,
        )
        self.temperatures_ = sweep.temperatures
        self.calibration_ = fit_temperature(
            sample.logits, sample.present[y], s, numbers=sample.groups
        )
        self.calibrated_temperature_ = self.calibration_.temperature
        self.similarity_ = sweep.similarity
        self.linkages_ = sweep.linkages
        self.support_of_branches_ = sweep.support
        self.stability_ = sweep.stability
        self.merge_temperatures_ = sweep.merges
        self.hierarchy_p_value_ = sweep.p_value
        self.reproduced_p_value_ = sweep.reproduced_p_value
        self.tree_ = sweep.tree
        self.hierarchy_: ClassTree | None = sweep.tree if sweep.has_hierarchy else None
        self.comparisons_ = compare_trees(sample, sweep.tree.temperature, self.linkage, resampled)

    def _record_units(self, sample: TemperatureSample) -> None:
        self.unit_profiles_ = sample.profiles
        fine = fineness(sample.profiles)
        p = np.max([null.p_values(fine) for null in _nulls(sample, fineness)], axis=0)
        p = np.where(sample.dead, 1.0, p)
        self.coarse_units_ = discovered(self.q_values_, sample.dead)
        self.refinement_units_ = discovered(q_values(p, sample.dead), sample.dead)
        low, high = sample.profiles[[0, -1]][:, ~sample.dead]
        varies = np.ptp(low) > 0 and np.ptp(high) > 0
        self.vacuity_ = float(spearmanr(low, high).statistic) if varies else 1.0
        if sample.temperatures[-1] < NARROW * sample.temperatures[0]:
            self.vacuity_ = np.nan

    def _findings(self) -> Iterator[str]:
        n = len(self.classes_)
        if n == 1:
            yield "All rows that are scored are of one class: there is no tree."
        elif n == 2:
            yield "Two classes make a tree of one branch, which says nothing."
        elif n < FEWEST_CLASSES:
            yield (
                f"{n} classes are too few to tell a hierarchy from chance, however many rows there "
                f"are: their names can be put in {factorial(n)} orders only, and a tree looks the "
                "same in many of them. tree_ is the most stable tree."
            )
        elif self.hierarchy_ is None:
            why = (
                "distances between classes are not shown to be more those of a tree than by chance "
                f"(p = {self.hierarchy_p_value_:.2g}; at most {LEVEL:g} is asked for)"
                if self.hierarchy_p_value_ > LEVEL
                else "what halves of the rows say of pairs of classes does not come back in the "
                "others, beyond how hard each class is by itself "
                f"(p = {self.reproduced_p_value_:.2g})"
            )
            yield f"No hierarchy: {why}."
        else:
            yield (
                f"A hierarchy of {n} classes at T = {self.hierarchy_.temperature:.3g} "
                f"(p = {self.hierarchy_p_value_:.2g}, correlation on other rows "
                f"{self.stability_.max():.2f}). Classes on a line or a circle pass, too."
            )
        if n > 1 and self.n_rows_of_smallest_class_ < FEW_ROWS:
            yield (
                f"Rows of the smallest class: {self.n_rows_of_smallest_class_}, too few for "
                "support and stability to mean much."
            )
        if n > 2:
            yield verdict(self.comparisons_)
        yield from self.calibration_.doubts()
        if np.isnan(self.vacuity_):
            yield (
                f"From T = {self.temperatures_[0]:.3g} to {self.temperatures_[-1]:.3g} the grid is "
                "too narrow to tell whether temperature adds anything about units."
            )
        if self.vacuity_ > VACUOUS:
            yield (
                "Temperature adds nothing about units: their importance at the lowest and at the "
                f"highest one has a rank correlation of {self.vacuity_:.2f}."
            )
        yield (
            f"Of {int((~self.dead_).sum())} living units {int(self.coarse_units_.sum())} are "
            f"coarser and {int(self.refinement_units_.sum())} finer than chance allows; "
            + "; ".join(self._beyond(null) for null in self.nulls_)
            + "."
        )

    def _beyond(self, null: Null) -> str:
        q = q_values(np.where(self.dead_, 1.0, null.p_values(self.unit_scores_)), self.dead_)
        return f"{int(discovered(q, self.dead_).sum())} are coarser than units of {null.name}"

    # --- results ------------------------------------------------------------------------------

    def to_frame(self) -> Any:
        """The units as a tidy DataFrame.

        Returns
        -------
        frame : pandas.DataFrame
            As of every probe, and ``share_low``, ``share_high`` (in the importance of all, at the
            lowest and the highest temperature), ``coarse``, ``refinement``.
        """
        check_is_fitted(self)
        frame = super().to_frame()
        frame["share_low"], frame["share_high"] = self.unit_profiles_[[0, -1]]
        frame["coarse"], frame["refinement"] = self.coarse_units_, self.refinement_units_
        return frame


# --- statistics of profiles (n_temperatures, n_units) ---------------------------------------


def coarseness(profiles: NDArray) -> NDArray:
    """Share at the highest temperature, relative to that and the share at the lowest one."""
    low, high = profiles[[0, -1]]
    both = low + high
    return np.divide(high, both, out=np.zeros_like(both), where=both > 0)


def fineness(profiles: NDArray) -> NDArray:
    """The same for the lowest temperature: 1 less the coarseness, 0 where that is undefined."""
    return coarseness(profiles[::-1])


def _nulls(sample: TemperatureSample, statistic: Callable[[NDArray], NDArray]) -> list[Null]:
    """One draw for every living unit of every network that was drawn."""
    return [
        null_by_layer(
            name,
            ((statistic(profiles), layers, lives) for profiles, layers, lives in drawn),
            sample.units.layer_of,
        )
        for name, drawn in sample.drawn.items()
    ]
