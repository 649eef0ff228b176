"""PruningPath: how many units a network needs, and which."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from sklflat._compat import HasMethods, Interval, StrOptions
from sklflat.exceptions import NothingFoundWarning, warn
from sklflat.networks.network import cast, copy_module
from sklflat.probing.nulls import seeded
from sklflat.probing.resolve import is_frozen, is_search, unfitted
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows, check_only_weights, split_rows
from sklflat.probing.time_series import is_in_time
from sklflat.probing.unit_probe import UnitProbe
from sklflat.probing.unit_table import unit_table
from sklflat.pruning.baselines import baseline_orders
from sklflat.pruning.findings import MIN_JUDGED, findings, shortage
from sklflat.pruning.losses import check_targets
from sklflat.pruning.sample import MAX_CHOOSING, PathSample, with_judged
from sklflat.pruning.smaller import smaller_module
from sklflat.pruning.table import (
    judged_sizes,
    kept_sets,
    random_scores,
    sizes_of_random_sets,
    table_of,
)

#: numbers of units that are judged in a network that has to be run for each
_N_PASSES = 16


class PruningPath(UnitProbe):
    r"""How many units a network needs, and which: a joint greedy order, judged on other rows.

    Units share their work: silenced one at a time they tell little, silenced together much. So
    units are taken one after the other, each time the one without which the network is least
    worse given all that are silenced already (or, forward, the one with which it is best), and
    the score is measured for every number of units that are kept. Silenced units are fixed at
    their means.

    With ``refit=True`` the output layer is refitted to what the kept units say,

    .. math:: \min_{W, b} \sum_i s_i \| W a_S(x_i) + b - z(x_i) \|^2,

    with :math:`z` what it said with all units. Targets are not used, and the order is that of this
    error in closed form where the output layer reads the units themselves; for other layers,
    and with ``refit=False``, it is that of the loss.

    **What is selected**: numbers of units are read from the whole network downwards, up to the
    first at which the 95 % interval of the drop of accuracy (or R^2), paired over rows that
    neither trained nor chose, ends above ``tol``. The last one before is selected. A smaller one
    further down, whose own interval is within ``tol``, is not: of many intervals the smallest may
    be so by chance. So of forty such selections at most one is expected to lose more; of
    regressors whose squared errors are few and large, more (the user guide has a table). The
    units of ``support_`` are needed *together*; every other unit can go, if all these stay.

    Parameters
    ----------
    estimator : estimator, default=None
        Any classifier or regressor of this package, a skorch net, a ``Pipeline`` or search that
        ends in one, a ``FrozenEstimator`` of one, or what :func:`~sklflat.from_module` returns.
        ``None`` is ``SAMClassifier()``. What is not frozen is cloned and fitted.
    direction : {"backward", "forward"}, default="backward"
        Whether units are taken from the whole network, or added to none.
    refit : bool, default=True
        Whether the output layer is refitted to the units that are kept.
    tol : float, default=0.01
        The drop of accuracy (or R^2) that is allowed.
    n_random : int, default=200
        Random sets of units, judged at doublings of their number and at that selected.
    layers : "hidden" or tuple of str, default="hidden"
        All hidden layers, whose units are ordered together, or some by name.
    n_units : "auto", int, float or None, default="auto"
        How many units to select: the last number, read downwards, that is shown to be within
        ``tol``, the so many first of the order, that share of those that are alive, or all that
        are alive.
    holdout : float or cross-validator, default=0.25
        Share of the rows that judge, and neither train nor choose. The others train the
        network and choose the order. A frozen network should be given rows that it has not seen.
        A cross-validator's last split; with ``TimeSeriesSplit`` rows are one series, and judged
        by blocks.
    n_jobs : int or None, default=None
        Not used: one network is trained.
    dtype : "float32" or "float64", default=None
        Precision in which the network is run; None is its own, of float32 at least.
    random_state : int, RandomState instance or None, default=None
        Of the judging rows and the random sets; and of the network, unless that has its own.

    Attributes
    ----------
    estimator_ : estimator
        The fitted network.
    path_ : PathTable
        Score, drop and interval at every number of units, beside the baselines: single
        ablation, magnitude (product of the norms of incoming and outgoing weights), spread times
        outgoing norm, ``SelectKBest`` on the activations, random sets.
    order_ : ndarray of shape (n_units,), int
        Numbers of all units, the most needed first, dead ones last.
    n_units_ : int
        How many are selected.
    support_ : ndarray of shape (n_units,), bool
    random_scores_ : ndarray of shape (n_random,)
        Scores of as many random units.
    p_value_ : float
        Share of random sets, this one included, that score at least as high. It rejects that any
        units would have done as well.
    findings_ : tuple of str
        What was found, in words.
    unit_scores_ : ndarray of shape (n_units,)
        The share of the units that come later in the order, 0 for dead units.
    unit_names_ : ndarray of shape (n_units,)
    units_ : Units
    dead_ : ndarray of shape (n_units,), bool
    unit_means_, unit_variances_ : ndarray of shape (n_units,)
        Of the activations on the choosing rows.

    Notes
    -----
    The order is chosen on 2,000 rows at most. Where the output layer does not read the units
    themselves (earlier layers, several layers together, channels of a convolution before others)
    the network is run for every candidate, a step moves a sixteenth of the units that are left,
    and sixteen numbers of units are judged.

    References
    ----------
    B. Hassibi, D. Stork: Second order derivatives for network pruning: optimal brain surgeon.
    NeurIPS 1992. Y. He, X. Zhang, J. Sun: Channel pruning for accelerating very deep neural
    networks. ICCV 2017. https://arxiv.org/abs/1707.06168

    Examples
    --------
    Of three ReLU units the second is a copy of the first, and the third is not read:

    >>> import numpy as np, torch
    >>> from sklflat import PruningPath, from_module
    >>> module = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    >>> with torch.no_grad():
    ...     values = ([[1.0], [1.0], [-1.0]], [0, 0, 0], [[0.5, 0.5, 0.0]], [0])
    ...     for p, value in zip(module.parameters(), values):
    ...         _ = p.copy_(torch.tensor(value))
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> path = PruningPath(from_module(module), random_state=0).fit(X, np.maximum(X[:, 0], 0))
    >>> path.n_units_
    1
    >>> small = path.to_module()
    >>> small(torch.tensor([[0.25], [-1.0]])).detach().flatten().round(decimals=3).tolist()
    [0.25, 0.0]
    """

    _parameter_constraints = {
        **{k: v for k, v in UnitProbe._parameter_constraints.items() if k != "n_null"},
        "direction": [StrOptions({"backward", "forward"})],
        "refit": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_random": [Interval(Integral, 1, None, closed="left")],
        "holdout": [Interval(Real, 0, 1, closed="neither"), HasMethods(["split"])],
    }
    _score_name = "place in the order"
    _takes_series = True

    def __init__(
        self,
        estimator: Any = None,
        *,
        direction: str = "backward",
        refit: bool = True,
        tol: float = 0.01,
        n_random: int = 200,
        layers: Any = "hidden",
        n_units: Any = "auto",
        holdout: Any = 0.25,
        n_jobs: int | None = None,
        dtype: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.direction = direction
        self.refit = refit
        self.tol = tol
        self.n_random = n_random
        self.layers = layers
        self.n_units = n_units
        self.holdout = holdout
        self.n_jobs = n_jobs
        self.dtype = dtype
        self.random_state = random_state

    # --- fit ----------------------------------------------------------------------------------

    def _prepare(self, rows: Rows, rng: np.random.RandomState) -> PathSample:
        frozen, in_time = is_frozen(self.estimator), is_in_time(self.holdout)
        if frozen:
            check_only_weights(rows.params)
            rows = rows if in_time else rows.with_weight()
        fresh = self.estimator if frozen else seeded(unfitted(self.estimator), rng)
        chosen, judged = split_rows(rows, self.holdout, is_classifier(fresh), rng)
        if frozen:
            self.estimator_ = fresh
        else:
            fitted = chosen if is_search(fresh) else chosen.without_groups()
            self.estimator_ = fitted.train(fresh)
        if not in_time:  # a series has no gaps
            chosen, judged = chosen.with_weight(), judged.with_weight()
        chosen = chosen.at_most(MAX_CHOOSING, rng)
        choosing, judging = (
            Sample.of(
                self.estimator_,
                r.X,
                r.y,
                layers=self.layers,
                weight=r.weight,
                numbers=r.numbers,
                groups=r.groups,
                dtype=self.dtype,
                in_time=r is judged and in_time,
            )
            for r in (chosen, judged)
        )
        forward = self.direction == "forward"
        sample = with_judged(choosing, judging, forward=forward, refit=bool(self.refit))
        for part in (sample, sample.judged):
            check_targets(part)
            part.require_finite(outputs=True)
        return sample

    def _score(self, sample: PathSample, rng: np.random.RandomState) -> None:  # type: ignore[override]
        n_units, judge = len(sample.units), sample.judge
        n_sizes = {} if judge.readout is not None else {"n_most": _N_PASSES}
        sizes = judged_sizes(n_units, **n_sizes)
        random = sample.random_orders(self.n_random, rng)
        self.order_ = sample.order()
        self.path_ = table_of(
            judge,
            self.order_,
            baseline_orders(sample, sample.free),
            random,
            sizes,
            sizes_of_random_sets(n_units, coarse=judge.readout is None),
        )
        self.n_units_ = self._chosen_number(sample)
        self.support_ = kept_sets(self.order_, np.array([self.n_units_]))[0]
        self.unit_scores_ = np.where(sample.dead, 0.0, 1 - np.argsort(self.order_) / n_units)
        self.random_scores_ = random_scores(judge, random, np.array([self.n_units_]))[:, 0]
        own = 1 - float(judge.errors(self.support_[None])[0] @ sample.judged.weights)
        b = np.count_nonzero(self.random_scores_ >= own - 1e-12)
        self.p_value_ = float((b + 1) / (self.n_random + 1))
        self._refitted = judge.refitted(self.support_)
        self.findings_ = findings(self, own, len(sample.free))

    def _chosen_number(self, sample: PathSample) -> int:
        """How many units are selected: one at least, as a transformer has a column."""
        n_living = max(len(sample.free), 1)
        if self.n_units is None:
            return n_living
        if self.n_units != "auto":
            share = isinstance(self.n_units, Real) and not isinstance(self.n_units, Integral)
            wanted = int(np.ceil(self.n_units * n_living)) if share else int(self.n_units)
            return min(wanted, n_living)
        smallest = self.path_.smallest_within(self.tol)
        if self.path_.n_independent < MIN_JUDGED:
            smallest = n_living
        text = shortage(self.path_, sample.judged, smallest, n_living, self.tol)
        if text:
            warn(text, NothingFoundWarning)
        return min(max(smallest, 1), n_living)

    def _record(self, sample: Sample) -> None:
        super()._record(sample)
        self._output: Any = sample.output  # type: ignore[attr-defined]
        self._examples = sample.X[:5].clone()

    # --- what is left -------------------------------------------------------------------------

    def to_module(self) -> Any:
        """The network without the units that were not selected, as a smaller module.

        Rows and columns of weight matrices (filters and channels of convolutions) are cut out;
        biases absorb the means of what is gone, and the output layer is the refitted one. Where
        a convolution pads with zeros, so that a constant channel is none at the border, all
        silenced channels become one.

        Returns
        -------
        module : torch.nn.Module
            In evaluation mode, with the outputs of the network whose other units are silenced.

        Raises
        ------
        UnsupportedNetworkError
            If the network cannot be cut, as it adds up layers or counts on their width; or if
            its outputs would be others.
        """
        check_is_fitted(self)
        trained = self._trained_network()
        trained.network.forward(self._examples)  # settles its precision
        module = copy_module(trained.network.module)
        small = smaller_module(
            trained.network,
            module,
            self.units_,
            self.support_,
            self.unit_means_,
            self._examples,
            None if self._refitted is None else (self._output, self._refitted),
        )
        cast(small, trained.network.native)
        return small.eval()

    def _on_card(self, u: int) -> dict[str, Any]:
        """Of a card: the score is the unit's place in the order, as units are chosen together."""
        result = {"score": float(self.unit_scores_[u]), "selected": bool(self.support_[u])}
        return result | {"p_value": np.nan, "q_value": np.nan}

    def to_frame(self) -> Any:
        """The units as a tidy DataFrame, one row a unit; ``path_.to_frame()`` is the path.

        Returns
        -------
        frame : pandas.DataFrame
            Columns ``layer``, ``channel``, ``place`` (1 for the most needed), ``selected``,
            ``dead``, ``mean`` and ``variance``; indexed by the units' names.
        """
        check_is_fitted(self)
        return unit_table(self, {"place": np.argsort(self.order_) + 1})
