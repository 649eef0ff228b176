"""UnitConsensus: the units of one network that several probes put first."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator

from sklflat.consensus.members import checked, default_probes, for_network, named, replaced
from sklflat.consensus.rank_aggregation import permuted_shares, rho_scores
from sklflat.consensus.sample import ConsensusSample
from sklflat.exceptions import NothingFoundWarning, warn
from sklflat.probing.false_discovery import FDR, Discoveries
from sklflat.probing.nulls import Null
from sklflat.probing.resolve import is_frozen
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows
from sklflat.probing.unit_probe import UnitProbe


class UnitConsensus(UnitProbe):
    r"""The units of one network that several probes put first.

    The network is trained once. Every probe scores its units on the same rows held out, and ranks
    those of a layer that are alive. With :math:`r_1 \le \dots \le r_K` a unit's ranks divided by
    the number of units in its layer, sorted over the K probes, its score is
    :math:`-\log_{10} \rho` with the rho of robust rank aggregation [1]_,

    .. math:: \rho = \min_k \; P(U_{(k)} \le r_k), \qquad U_{(k)} \sim \mathrm{Beta}(k, K - k + 1)

    so that some probes may know nothing of a unit that the others agree on. Equal scores of a probe
    have the mean of their ranks. A dead unit scores 0. Scores are permuted with the units, and do
    not change when a ReLU unit's scale is moved from incoming to outgoing weights, if the scores
    of no probe do, as is so for the default ones. A further unit, be it a copy, changes the ranks
    of the others.

    **What** ``p_values_`` **reject** is that the probes order the units independently of each
    other: in the draws the ranks of each probe are in random orders of their own within the
    layers, ties as they are. So a small p says that probes agree on a unit, and not that they are
    right: two that measure nearly the same agree in any network. ``agreement_`` says which do.

    Parameters
    ----------
    estimator : estimator, default=None
        What is trained, or a frozen network: see :class:`~sklflat.AblationProbe`. ``None`` is
        ``SAMClassifier()``.
    probes : list of probes or of (str, probe), default=None
        Two at least, unfitted and without an ``estimator``. They have to score one network that
        they are given, which ``ModeConnectivityProbe``, ``UniversalityProbe`` and
        ``BasinRewinder`` do not, and units one by one, which ``PruningPath`` does not. Of their
        parameters those that say how a score is computed are used; ``n_units``, ``n_null``,
        ``holdout`` and ``dtype`` are not. Those without a name are called by their ``unit_score``
        or class.
        ``None`` is the rise of the loss under ablation, the correlation with the target, and the
        curvature of the loss in the unit's parameters::

            [
                ("ablation", AblationProbe()),
                ("correlation", ActivationProbe(unit_score="correlation")),
                ("curvature", HessianSpectrum(unit_score="curvature", metric="adaptive")),
            ]
    layers : "hidden" or tuple of str, default="hidden"
        All hidden layers, or some by name. Units are ranked within their layer, as scores of
        several layers need not be on one scale.
    n_units : "auto", int, float or None, default="auto"
        How many units to select: those that pass a false discovery rate of 5 % (with a warning and
        the best unit, if none does), the so many best, that share of those that are alive, or all
        that are alive.
    n_null : "auto" or int, default="auto"
        Null draws, pooled over units; ``"auto"`` is ``max(2000, n_units / 0.05)``.
    holdout : float, cross-validator or None, default=0.25
        Share of the rows on which units are scored and the network is not trained; with ``None``
        it is trained and scored on all. Not used for a frozen network, which should be given rows
        that it has not seen.
    n_jobs : int or None, default=None
        Not used: one network is trained. Every probe has it.
    dtype : "float32" or "float64", default=None
        Precision in which the network is run; None is its own, of float32 at least.
    random_state : int, RandomState instance or None, default=None
        Of the held-out rows, of the null draws, and of the network and of probes that have none of
        their own.

    Attributes
    ----------
    estimator_ : estimator
        The fitted network.
    unit_scores_ : ndarray of shape (n_units,)
        :math:`-\log_{10} \rho`.
    unit_ranks_ : ndarray of shape (n_probes, n_units)
        1 for the unit of its layer that a probe scores highest; NaN for dead units.
    probe_scores_ : ndarray of shape (n_probes, n_units)
        Each probe's own scores.
    probe_names_ : ndarray of shape (n_probes,)
    agreement_ : RankAgreement
        Rank correlations of the probes, with p-values; ``print`` it.
    unit_names_ : ndarray of shape (n_units,)
    p_values_, q_values_ : ndarray of shape (n_units,)
        Against chance; and adjusted for the number of units (Benjamini-Hochberg).
    support_ : ndarray of shape (n_units,), bool
    nulls_ : tuple of Null
        The null, with its draws.
    units_ : Units
    dead_ : ndarray of shape (n_units,), bool
        Units that do the same for all rows.
    unit_means_, unit_variances_ : ndarray of shape (n_units,)
        Of the activations.

    References
    ----------
    .. [1] R. Kolde, S. Laur, P. Adler, J. Vilo, "Robust rank aggregation for gene list integration
       and meta-analysis", Bioinformatics 28, 2012. https://doi.org/10.1093/bioinformatics/btr709

    Examples
    --------
    Of four ReLU units the output reads the first most, and the last not at all:

    >>> import numpy as np, torch
    >>> from sklflat import UnitConsensus, from_module
    >>> module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    >>> with torch.no_grad():
    ...     _ = module[0].weight.copy_(torch.eye(4)), module[0].bias.zero_()
    ...     _ = module[2].weight.copy_(torch.tensor([[4.0, 2.0, 1.0, 0.0]]))
    >>> X = np.random.RandomState(0).normal(size=(500, 4))
    >>> y = np.maximum(X, 0) @ [4.0, 2.0, 1.0, 0.0]
    >>> probe = UnitConsensus(from_module(module), n_units=2, random_state=0).fit(X, y)
    >>> probe.get_feature_names_out()
    array(['1[0]', '1[1]'], dtype=object)
    >>> probe.unit_ranks_[0]
    array([1., 2., 3., 4.])
    """

    _parameter_constraints = {**UnitProbe._parameter_constraints, "probes": "no_validation"}

    _score_name = "-log10 rho"

    def __init__(
        self,
        estimator: Any = None,
        probes: Any = None,
        *,
        layers: Any = "hidden",
        n_units: Any = "auto",
        n_null: Any = "auto",
        holdout: Any = 0.25,
        n_jobs: int | None = None,
        dtype: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.probes = probes
        self.layers = layers
        self.n_units = n_units
        self.n_null = n_null
        self.holdout = holdout
        self.n_jobs = n_jobs
        self.dtype = dtype
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters, those of the probes as ``name__parameter``.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return those of estimator and probes, too.

        Returns
        -------
        params : dict
        """
        found: dict[str, Any] = super().get_params(deep=deep)
        if not deep or not isinstance(self.probes, list | tuple):
            return found
        own = super().get_params(deep=False)
        for name, probe in named(self.probes):
            if isinstance(probe, UnitProbe) and name not in own:  # fit says that it may not be
                found[name] = probe
                found |= {f"{name}__{key}": value for key, value in probe.get_params().items()}
        return found

    def set_params(self, **params: Any) -> "UnitConsensus":
        """Set parameters; a probe's name replaces it, ``name__parameter`` sets one of its own.

        The default probes are reached by their names, too, and a probe that was reached by a name
        keeps it, whatever its ``unit_score`` has become.

        Parameters
        ----------
        **params
            ``probes`` come first, then single ones, then parameters of these.

        Returns
        -------
        self : UnitConsensus

        Raises
        ------
        ValueError
            If there is no parameter and no probe of a name; says which there are.
        """
        if "probes" in params:
            self.probes = params.pop("probes")
        probes = default_probes() if self.probes is None else self.probes
        if isinstance(probes, list | tuple):
            own = super().get_params(deep=False)
            present = {name: probe for name, probe in named(probes) if name not in own}
            asked = [key.partition("__")[0] for key in params]
            for name in asked:
                if name not in own and name not in present:
                    raise ValueError(
                        f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: "
                        f"{list(own)!r}, and the names of the probes: {list(present)!r}."
                    )
            changes = {k: params.get(k, present[k]) for k in asked if k in present}
            if changes:  # a list of its own, as the other may be another consensus's, too
                self.probes = replaced(probes, changes)
            params = {key: value for key, value in params.items() if key not in present}
        super().set_params(**params)
        return self

    # --- fit, step by step --------------------------------------------------------------------

    def _prepare(self, rows: Rows, rng: np.random.RandomState) -> ConsensusSample:
        members = checked(self.probes, self.layers, list(self.get_params(deep=False)))
        sample = super()._prepare(rows, rng)
        network = self.estimator if is_frozen(self.estimator) else FrozenEstimator(self.estimator_)
        ready = for_network(members, network, rng)
        *seeds, last = (int(rng.randint(2**31 - 1)) for _ in range(len(ready) + 1))
        return ConsensusSample.extending(sample, members=ready, seeds=tuple(seeds), seed=last)

    def _score_units(self, sample: Sample) -> NDArray:
        assert isinstance(sample, ConsensusSample)
        return sample.scores

    def _draw_nulls(self, sample: Sample, n_draws: int, rng: np.random.RandomState) -> list[Null]:
        assert isinstance(sample, ConsensusSample)
        shares = sample.shares_of_living
        n = int(np.ceil(n_draws / max(1, shares.shape[1])))
        draws = -np.log10(rho_scores(permuted_shares(shares, sample.layer_of_living, n, rng)))
        return [Null("independent orders", draws if draws.size else np.zeros(1), matched=False)]

    def _discoveries(self, sample: Sample) -> Discoveries:
        assert isinstance(sample, ConsensusSample)
        found = super()._discoveries(sample)
        n_probes, n_units = sample.shares_of_living.shape
        largest = float(sample.n_of_layer.max(initial=0))
        if n_units and largest**-n_probes > FDR / n_units:
            more = (
                f" Of {n_units} units, in layers of {largest:g} at most, by {n_probes} probes one "
                "that is alone cannot pass, even if all put it first. Give more probes."
            )
            found = replace(found, if_none=found.if_none + more)
        return found

    def _record(self, sample: Sample) -> None:
        assert isinstance(sample, ConsensusSample)
        super()._record(sample)
        self.probe_names_ = np.array([name for name, _ in sample.members], dtype=object)
        self.probe_scores_ = sample.probe_scores
        self.unit_ranks_ = sample.ranks
        self.agreement_ = sample.agreement()
        _warn_of_undecided(sample)

    # --- what people look at ------------------------------------------------------------------

    def to_frame(self) -> Any:
        """The units as a tidy DataFrame.

        Returns
        -------
        frame : pandas.DataFrame
            As of every probe, and ``rank_NAME`` for each of ``probe_names_``.
        """
        frame = super().to_frame()
        for name, ranks in zip(self.probe_names_, self.unit_ranks_, strict=True):
            frame[f"rank_{name}"] = ranks
        return frame

    def _on_card(self, u: int) -> dict[str, Any]:
        pairs = zip(self.probe_names_, self.unit_ranks_[:, u], strict=True)
        places = ", ".join(f"{rank:g} by {name}" for name, rank in pairs)
        n = int((~self.dead_ & (self.units_.layer_of == self.units_.layer_of[u])).sum())
        finding = "" if self.dead_[u] else f"rank among the {n} units of its layer: {places}"
        return super()._on_card(u) | {"finding": finding}


def _warn_of_undecided(sample: ConsensusSample) -> None:
    """Say which probes put no unit before another."""
    ranks, layer_of = sample.ranks[:, ~sample.dead], sample.layer_of_living
    if len(np.unique(layer_of)) == len(layer_of):  # nothing to order
        return
    layers = [ranks[:, layer_of == layer] for layer in np.unique(layer_of)]
    same = np.all([np.ptp(own, axis=1) == 0 for own in layers], axis=0)
    if same.any():
        names = ", ".join(
            name for (name, _), tied in zip(sample.members, same, strict=True) if tied
        )
        warn(
            f"probes: {names} scored all {ranks.shape[1]} units the same, so nothing of it is in "
            "the consensus. Leave it out, or give it data on which units differ.",
            NothingFoundWarning,
        )
