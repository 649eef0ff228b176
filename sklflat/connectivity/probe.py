"""ModeConnectivityProbe: whether networks are in one basin, and which units stay the same."""

import os
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat._compat import Interval, StrOptions
from sklflat.connectivity.aligned_networks import AlignedNetworks
from sklflat.connectivity.core import InvariantCore
from sklflat.connectivity.core_gain import PathGain, gain_over_endpoints
from sklflat.connectivity.core_nulls import connectivity_nulls
from sklflat.connectivity.networks import check_several, given_networks, train_networks
from sklflat.connectivity.path_builder import ALIGNMENTS
from sklflat.exceptions import ConnectivityWarning, warn
from sklflat.paths.barrier_table import BarrierTable
from sklflat.paths.paths import Path
from sklflat.probing.false_discovery import (
    FDR,
    Discoveries,
    discovered,
    n_to_pass,
    nothing_above_chance,
    q_values,
)
from sklflat.probing.nulls import Null
from sklflat.probing.resolve import is_frozen
from sklflat.probing.restricted import with_module
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows
from sklflat.probing.unit_probe import UnitProbe
from sklflat.symmetry.symmetry import Symmetry


class ModeConnectivityProbe(UnitProbe):
    r"""Units that stay what they are on a path between independently trained networks.

    Networks are trained from several seeds (or given), the units of all are aligned with those of
    the first, and paths lead from the first to each of the others. A unit's score is its least
    correlation along the path with its own activations at the start,

    .. math:: s_u = \min_t \mathrm{corr}_x(a_u(x, 0), a_u(x, t)),

    on rows that neither training nor matching has seen. It does not change when units are permuted
    in any of the networks. Dead units and such without a signal at both ends score 0.

    A score has to beat four nulls: units that have nothing to do with each other, matched all the
    same; random rotations of the layers; matched untrained twins; and networks that were trained on
    shuffled labels (the last for networks that can be trained). They are drawn for the path to the
    second network; with several networks, whose least score counts, they are stricter than need be.

    **What** ``p_values_`` **reject** is that one of these four explains the score. That a unit is
    needed, or true, is not said by any.

    Shared is not true: what all seeds learn from a spurious cue is shared, too. And theory says
    that a path adds little to the correlation of its ends [3]_: ``gain_over_endpoints_`` says how
    much.

    Parameters
    ----------
    estimator : estimator or list of frozen estimators, default=None
        What is trained ``n_models`` times, with a seed of its own each: see
        :class:`~sklflat.AblationProbe`; ``None`` is ``SAMClassifier()``. A list of frozen ones
        (``FrozenEstimator(fitted)`` or :func:`~sklflat.from_module`) is taken as it is; X and y
        should then be rows that they have not seen, of which one half is matched on and the
        other scored on. Networks have to be of one architecture and for the same targets, in the
        same order.
    n_models : int, default=2
        Networks to train; not used for a list.
    path : {"linear", "bezier", "polychain"}, default="linear"
        A straight line, or a curve that is trained to be low.
    align : {"activations", "weights", "ot", "straight_through"} or None, default="activations"
        How units are matched: by what they do on the rows matched on, by their weights, by optimal
        transport (needs POT), or by gradients of the midpoint's loss. Weights need no data, but
        suffer where units of ReLU networks have scales of their own. None joins the networks
        as they are.
    repair : bool, default=True
        Whether moments of hidden layers are restored along the path (REPAIR), and units are scored
        on the repaired path. The statistics of batch normalisation are computed anew on the rows
        matched on at every point of every path, with and without it, ends included: mixed ones mean
        nothing.
    n_points : int, default=25
        Points of the path, ends and middle included; more are added around the peaks, until they
        are 0.01 apart.
    barrier_tol : float, default=0.02
        Networks are connected if the barrier of the held-out *error* along the aligned, not
        repaired path, against the mean of the ends, is at most this [2]_: 2 % of the rows for a
        classifier, of the variance of the targets for a regressor.
    layers : "hidden" or tuple of str, default="hidden"
        All hidden layers, or some by name.
    n_units : "auto", int, float or None, default="auto"
        How many units to select: see :class:`~sklflat.AblationProbe`.
    n_null : "auto" or int, default="auto"
        Null draws, pooled over units; ``"auto"`` is ``max(2000, n_units / 0.05)``, but of networks
        trained on shuffled labels a thousand draws or ten pairs at most. A number takes as many
        pairs as it needs.
    holdout : float or None, default=0.25
        Share of the rows that units are scored on, and networks not trained. With None networks
        are trained on all rows, half of which are matched and half scored on, so that nothing is
        held out from training.
    n_jobs : int or None, default=None
        Networks that are trained at once, by joblib, where they cannot be stacked.
    cache_dir : path or None, default=None
        A directory in which trainings are kept: see :func:`~sklflat.training.stacking.train`.
    dtype : "float32" or "float64", default=None
        Precision in which the network is run; None is its own, of float32 at least.
    random_state : int, RandomState instance or None, default=None
    verbose : int, default=0
        1 shows how far trainings are.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted networks.
    estimator_ : estimator
        The first, whose units are scored.
    barriers_ : BarrierTable
        Three definitions, of loss and error, on the rows trained on (or matched on) and held out;
        naive, aligned and repaired. ``barriers_.to_frame()`` is a table.
    connected_ : bool
    path_ : Path
        From the first network to the second. ``paths_`` has those to all others.
    permutations_ : list of dict of str to ndarray
        For every network, the order of each group of units that aligns it with the first: unit i
        of the aligned network is unit ``order[i]`` of the network as it is. Where blocks such as
        attention heads are permuted, ``name.parts_0`` of shape (n_blocks, n_parts) has the order
        within each of them.
    verified_ : bool or None
        Whether permutations were seen to leave the function as it is; None for ``align=None``.
    symmetry_ : Symmetry or None
    core_ : InvariantCore
        Its units (it may be empty), scores before and after repair, ``restrict`` and
        ``sensitivity``.
    gain_over_endpoints_ : PathGain
        What the path adds; ``print`` it.
    merged_ : fitted classifier or regressor
        The (repaired) network halfway to the second.
    unit_scores_, unit_names_, p_values_, q_values_, support_, nulls_, units_, dead_
        As of every probe; the others are listed at :class:`~sklflat.AblationProbe`.

    Raises
    ------
    DivergenceError
        If the first network or more than a quarter of the others diverge, or of those trained on
        shuffled labels.

    Warns
    -----
    DivergenceWarning
        If others diverged and are left out.
    ConnectivityWarning
        If operations that are not understood keep some units from being aligned, a path is not
        finite somewhere, or a null has so few draws that no unit of a layer could beat it.

    References
    ----------
    .. [1] S. Ainsworth, J. Hayase, S. Srinivasa, "Git Re-Basin", ICLR 2023.
       https://arxiv.org/abs/2209.04836
    .. [2] J. Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis",
       ICML 2020. https://arxiv.org/abs/1912.05671
    .. [3] Z. Zhou et al., "Going beyond linear mode connectivity: the layerwise linear feature
       connectivity", NeurIPS 2023. https://arxiv.org/abs/2307.08286

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from sklflat import ModeConnectivityProbe, SAMClassifier
    >>> X, y = make_moons(400, noise=0.1, random_state=0)
    >>> clf = SAMClassifier((16,), alpha=0.1, learning_rate_init=0.05, max_iter=30)
    >>> probe = ModeConnectivityProbe(clf, n_null=100, n_units=4, random_state=0).fit(X, y)
    >>> probe.verified_, len(probe.estimators_), probe.transform(X).shape
    (True, 2, (400, 4))
    """

    _parameter_constraints = {
        **UnitProbe._parameter_constraints,
        "n_models": [Interval(Integral, 2, None, closed="left")],
        "path": [StrOptions({"linear", "bezier", "polychain"})],
        "align": [StrOptions(set(ALIGNMENTS)), None],
        "repair": ["boolean"],
        "n_points": [Interval(Integral, 3, None, closed="left")],
        "barrier_tol": [Interval(Real, 0, None, closed="left")],
        "cache_dir": [str, os.PathLike, None],
        "verbose": ["verbose"],
    }

    _scores_one_network = False
    _score_name = "least correlation along the path"
    symmetry_: Symmetry | None
    path_: Path

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_models: int = 2,
        path: str = "linear",
        align: str | None = "activations",
        repair: bool = True,
        n_points: int = 25,
        barrier_tol: float = 0.02,
        layers: Any = "hidden",
        n_units: Any = "auto",
        n_null: Any = "auto",
        holdout: float | None = 0.25,
        n_jobs: int | None = None,
        cache_dir: Any = None,
        dtype: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_models = n_models
        self.path = path
        self.align = align
        self.repair = repair
        self.n_points = n_points
        self.barrier_tol = barrier_tol
        self.layers = layers
        self.n_units = n_units
        self.n_null = n_null
        self.holdout = holdout
        self.n_jobs = n_jobs
        self.cache_dir = cache_dir
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    # --- fit, step by step --------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        """How networks are trained."""
        return {"cache_dir": self.cache_dir, "verbose": self.verbose}

    def _prepare(self, rows: Rows, rng: np.random.RandomState) -> AlignedNetworks:
        """Train the networks, unless they are frozen; align them and join them."""
        if isinstance(self.estimator, (list, tuple)):
            networks = given_networks(self.estimator, rows, self.layers, self.dtype, rng)
        elif is_frozen(self.estimator):
            check_several([self.estimator])
        else:
            networks = train_networks(
                self.estimator,
                self.n_models,
                rows,
                self.holdout,
                self.layers,
                self.dtype,
                self.n_jobs,
                self._settings(),
                rng,
            )
        self.estimators_ = networks.estimators
        self.estimator_ = networks.estimators[0]
        sample = AlignedNetworks.align(
            networks,
            align=self.align,
            path=self.path,
            repair=self.repair,
            n_points=self.n_points,
            rng=rng,
        )
        _warn_of_pinned(sample.builder.symmetry)
        return sample

    def _score_units(self, sample: Sample) -> NDArray:
        assert isinstance(sample, AlignedNetworks)
        _warn_of_infinite(sample.barriers)
        return sample.scores

    def _draw_nulls(self, sample: Sample, n_draws: int, rng: np.random.RandomState) -> list[Null]:
        assert isinstance(sample, AlignedNetworks)
        return connectivity_nulls(sample, n_draws, self.n_null != "auto", self._settings(), rng)

    def _discoveries(self, sample: Sample) -> Discoveries:
        assert isinstance(sample, AlignedNetworks)
        found, few = super()._discoveries(sample), few_draws(sample, self.nulls_)
        if few and (found.found.any() or self.n_units != "auto"):
            warn(few, ConnectivityWarning)
        # one warning where nothing is found, by the sentence that names the layers
        said = nothing_above_chance(self.p_values_)
        return replace(found, if_none=f"{said} {few}") if few else found

    def _record(self, sample: Sample) -> None:
        assert isinstance(sample, AlignedNetworks)
        super()._record(sample)
        self.symmetry_ = sample.builder.symmetry
        self.verified_ = None if self.symmetry_ is None else self.symmetry_.verified
        self.permutations_ = sample.orders
        self.paths_, self.path_ = sample.paths, sample.paths[0]
        self.barriers_ = sample.barriers
        barrier = self.barriers_.largest("aligned", "error", "held-out", "mean")
        self.connected_ = bool(barrier <= self.barrier_tol * sample.error_scale)
        self.gain_over_endpoints_ = _gain(sample, self.nulls_)
        self.merged_ = with_module(self.estimator_, sample.trained, sample.midpoint())
        fitted = copy(self)  # the core is that of this fit, whatever is fitted later
        fitted.__dict__.pop("core_", None)
        self.core_ = InvariantCore.of(*sample.path_scores, fitted)

    # --- what people look at ------------------------------------------------------------------

    def to_frame(self) -> Any:
        """The units as a tidy DataFrame.

        Returns
        -------
        frame : pandas.DataFrame
            As of every probe, and ``before`` and ``after`` repair, ``icc_before``, ``icc_after``,
            ``ends`` (their correlation, without a path), ``path_variance`` and ``eligible``.
        """
        frame = super().to_frame()
        core = self.core_
        for name in ("before", "after", "icc_before", "icc_after", "ends", "path_variance"):
            frame[name] = getattr(core, name)
        frame["eligible"] = core.eligible
        return frame

    def __sklearn_tags__(self) -> Any:
        if not isinstance(self.estimator, (list, tuple)):
            return super().__sklearn_tags__()
        first = type(self)(self.estimator[0] if self.estimator else None)
        return first.__sklearn_tags__()


# --- what the path adds, and what may be wrong ----------------------------------------------------


def _gain(sample: AlignedNetworks, nulls: Sequence[Null]) -> PathGain:
    """The score beside the correlation of the ends, over units that have both."""
    dead = sample.dead | ~sample.eligible
    scores = [np.where(dead, 0.0, s) for s in (sample.scores, sample.path_scores[0].ends)]
    own = [null for null in nulls if null.matched]  # by the ends alone, so fair to both
    chosen = [
        discovered(q_values(np.max([null.p_values(s) for null in own], axis=0), dead), dead)[~dead]
        for s in scores
    ]
    return gain_over_endpoints(
        scores[0][~dead], scores[1][~dead], path_selected=chosen[0], end_selected=chosen[1]
    )


def _warn_of_pinned(symmetry: Symmetry | None) -> None:
    if symmetry is not None and symmetry.pinned:
        axes = "; ".join(f"{op}: {', '.join(a)}" for op, a in symmetry.pinned.items())
        warn(
            f"Only {symmetry.n_movable} of {symmetry.n_hidden} hidden channels can "
            f"be aligned; the others keep their places ({axes}) and are compared as they are.",
            ConnectivityWarning,
        )


def _warn_of_infinite(barriers: BarrierTable) -> None:
    for (other, kind), ts in barriers.non_finite.items():
        warn(
            f"The loss is not finite at t = {np.round(ts, 4).tolist()} of the {kind} path to "
            f"network {other}, so its barrier is NaN.",
            ConnectivityWarning,
        )


def few_draws(sample: AlignedNetworks, nulls: Sequence[Null]) -> str:
    """A sentence on layers of which no unit that is alone could be in the core; empty for none."""
    dead = sample.dead | ~sample.eligible
    scores = np.where(dead, 0.0, sample.scores)
    p = np.max([null.p_values(scores) for null in nulls], axis=0)
    layer_of = sample.units.layer_of
    hopeless: dict[str, list[str]] = {}
    for null in nulls:
        least = null.least_p_values(len(p))
        for layer in np.unique(layer_of[~dead]):
            own = np.flatnonzero((layer_of == layer) & ~dead)
            alone = p.copy()
            alone[own[0]] = least[own[0]]  # the others keep theirs, so what is found counts
            if q_values(alone, sample.dead)[own[0]] > FDR:
                k = n_to_pass(np.where(layer_of == layer, least, 1.0), sample.dead)
                enough = f"{k} units at once would" if k else "all units at once would not"
                name = f"{sample.units.layers[layer].name} ({enough})"
                hopeless.setdefault(null.name, []).append(name)
    which = "; ".join(f"{name}: {', '.join(of)}" for name, of in hopeless.items())
    return which and (
        "A null has too few draws for a unit of some layers to be in the core, if it is alone, "
        f"whatever its score ({which}). Raise n_null, or probe one layer by layers=."
    )
