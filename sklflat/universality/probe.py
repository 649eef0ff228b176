"""UniversalityProbe: the units that come back when a network is trained again."""

import os
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sklflat._compat import Interval, StrOptions
from sklflat.exceptions import UniversalityWarning, warn
from sklflat.probing.false_discovery import Discoveries, discovered, n_pooled_draws
from sklflat.probing.nulls import Null
from sklflat.probing.resolve import is_frozen
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows
from sklflat.probing.unit_probe import UnitProbe
from sklflat.universality.networks import (
    MIN_OTHERS,
    Networks,
    check_given,
    refuse_alone,
    train_networks,
)
from sklflat.universality.returns import Matching
from sklflat.universality.sample import MIN_ROWS, ROTATION, SHUFFLED, UNTRAINED, ReturnSample

#: untrained networks that are scored as the first is, at most, unless a number of draws is given
_MAX_REFERENCES = 100


class UniversalityProbe(UnitProbe):
    r"""The units that come back when the network is trained again from other seeds.

    The field calls them universal [1]_, or convergent [2]_. With :math:`\rho_{uv}^m` the
    correlation, over rows held out, of unit u with unit v of the same layer in another network m,
    and :math:`\bar\rho` the same with networks that have learned nothing,

    .. math:: s_u = \frac{1}{M} \sum_m \left( \max_v \rho_{uv}^m
              - \mathrm{E} \max_v \bar\rho_{uv} \right)

    is the return less what it is by chance. A largest correlation grows with the number of units,
    so chance is that of layers of the same widths. It does not change when units of any network
    are permuted, or a ReLU unit's scale is moved from incoming to outgoing weights. A dead unit
    scores 0.

    **What** ``p_values_`` **reject** is that the unit is one of a network that has learned nothing,
    in the sense of ``null``: draws are the scores of such networks in the place of this one, whose
    units return in the same other networks. That the unit is needed, or true, is not said: an easy
    spurious cue is learned every time.

    Parameters
    ----------
    estimator : estimator or list of frozen estimators, default=None
        What is trained ``n_models + 1`` times, with a seed of its own each: see
        :class:`~sklflat.AblationProbe`; ``None`` is ``SAMClassifier()``. A list of frozen ones
        (``FrozenEstimator(fitted)`` or :func:`~sklflat.from_module`) is taken as it is, and its
        first is scored; X and y should be rows that none of them has seen. Layers of the others
        may have other widths; inputs, labels and the number of layers are the same.
    n_models : int, default=8
        Further networks to train, at least 2; not used for a list.
    null : {"untrained", "rotation", "shuffled_labels"}, default="untrained"
        What is subtracted, and tested against.

        - ``"untrained"``: networks of fresh random weights. What exceeds these is not given by the
          inputs and the architecture.
        - ``"rotation"``: the other networks' layers, each times a random orthogonal matrix. What
          exceeds these is in the units, and not only in the subspace that they span [1]_. A layer
          of one unit has no rotations.
        - ``"shuffled_labels"``: networks trained on labels that were shuffled anew for each. What
          exceeds these is not given by training as such. Four times as many networks are trained.
    matching : {"best", "one_to_one"}, default="best"
        Whether each unit returns as the unit that it correlates most with, or no two as the same
        one, so that the sum of correlations is greatest [2]_. Where the other layer is narrower,
        the units that are left over have no partner, and return 0.
    signed : bool, default=True
        Whether a unit and its negative differ. For odd activations such as tanh they do the same,
        and ``False`` is the better choice.
    within_layers : bool, default=True
        Whether a unit returns in the same layer only. Reference [1]_ looks in all layers.
    n_untrained : int, default=200
        Untrained networks that chance is the mean of; two for each further network at least.
    layers : "hidden" or tuple of str, default="hidden"
        All hidden layers, or some by name.
    n_units : "auto", int, float or None, default="auto"
        How many units to select: see :class:`~sklflat.AblationProbe`.
    n_null : "auto" or int, default="auto"
        Null draws, pooled over units; ``"auto"`` is ``max(2000, n_units / 0.05)``. Untrained
        networks give one draw a unit, 100 networks at most unless a number says more. Of rotations
        30 are drawn at least, of networks with shuffled labels ``4 * n_models`` are trained.
    holdout : float or None, default=0.25
        Share of the rows that units are scored on, and no network is trained on. With None the
        return is on rows trained on. Not used for a list.
    n_jobs : int or None, default=None
        Networks that are trained at once, by joblib, where they cannot be stacked.
    cache_dir : path or None, default=None
        A directory in which trainings are kept, so that a run that was cut off goes on: see
        :func:`~sklflat.training.stacking.train`.
    dtype : "float32" or "float64", default=None
        Precision in which the networks are run; None is their own, of float32 at least.
    random_state : int, RandomState instance or None, default=None
    verbose : int, default=0
        1 shows how far trainings are.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted networks, without those that diverged.
    estimator_ : estimator
        The first, whose units are scored.
    n_failed_ : int
        Further networks that diverged and were left out.
    returns_ : ndarray of shape (n_models, n_units)
        Each unit's correlation with its partner in each other network.
    partners_ : ndarray of shape (n_models, n_units)
        The partners' names.
    chance_ : ndarray of shape (n_units,)
        What the mean of ``returns_`` is by chance; ``unit_scores_`` is what exceeds it.
    reliability_ : Reliability
        How well other networks again would give the same order of units;
        ``reliability_.with_models(24)`` says what more networks would bring.
    universal_units_ : ndarray of str
        Names of the units that pass a false discovery rate of 5 %, however many were to be
        selected. It may be empty.
    explained_ : ndarray of shape (n_units,)
        Share of each unit's variance that the layer of another network explains, cross-validated
        and averaged over these. A subspace can come back where units do not.
    alignment_ : dict of str to float
        Debiased CKA of each layer with those of the other networks, the mean over these.
    duplicates_ : tuple of tuple of str
        Names of units that do the same but for scale and shift; they return together.
    unit_scores_, unit_names_, p_values_, q_values_, support_, nulls_, units_, dead_
        As of every probe; the others are listed at :class:`~sklflat.AblationProbe`.

    Raises
    ------
    DivergenceError
        If the first network or more than a quarter of the further ones diverge.
    ValueError
        If a frozen network comes without others, or others read other inputs, know other labels,
        have another number of layers, or are the same network as one before.

    Warns
    -----
    DivergenceWarning
        If further networks, or some trained on shuffled labels, diverged and are left out.
    UniversalityWarning
        On fewer than 20 rows (or groups), where all scores are 0 and all p-values 1.

    References
    ----------
    .. [1] W. Gurnee et al., "Universal neurons in GPT2 language models", TMLR 2024.
       https://arxiv.org/abs/2401.12181
    .. [2] Y. Li et al., "Convergent learning: do different neural networks learn the same
       representations?", ICLR 2016. https://arxiv.org/abs/1511.07543

    Examples
    --------
    A network whose siblings have the same units on other scales returns in full:

    >>> import numpy as np, torch
    >>> from sklflat import UniversalityProbe, from_module
    >>> W = torch.nn.Linear(2, 8).weight.detach()
    >>> def network(scale):
    ...     first, last = torch.nn.Linear(2, 8, bias=False), torch.nn.Linear(8, 2)
    ...     _ = first.weight.data.copy_(scale * W)
    ...     return from_module(torch.nn.Sequential(first, torch.nn.ReLU(), last), classes=[0, 1])
    >>> X = np.random.RandomState(0).normal(size=(50, 2))
    >>> siblings = [network(scale) for scale in (1, 2, 3)]
    >>> probe = UniversalityProbe(siblings, n_units=2, random_state=0).fit(X, X[:, 0] > 0)
    >>> probe.returns_.round(6).min(), probe.transform(X).shape
    (np.float64(1.0), (50, 2))
    """

    _parameter_constraints = {
        **UnitProbe._parameter_constraints,
        "n_models": [Interval(Integral, MIN_OTHERS, None, closed="left")],
        "null": [StrOptions({UNTRAINED, ROTATION, SHUFFLED})],
        "matching": [StrOptions({"best", "one_to_one"})],
        "signed": ["boolean"],
        "within_layers": ["boolean"],
        "n_untrained": [Interval(Integral, 1, None, closed="left")],
        "cache_dir": [str, os.PathLike, None],
        "verbose": ["verbose"],
    }

    _scores_one_network = False
    _score_name = "return less chance"

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_models: int = 8,
        null: str = "untrained",
        matching: str = "best",
        signed: bool = True,
        within_layers: bool = True,
        n_untrained: int = 200,
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
        self.null = null
        self.matching = matching
        self.signed = signed
        self.within_layers = within_layers
        self.n_untrained = n_untrained
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

    def _prepare(self, rows: Rows, rng: np.random.RandomState) -> ReturnSample:
        """Train the networks, unless they are frozen."""
        settings = {"cache_dir": self.cache_dir, "verbose": self.verbose}
        if isinstance(self.estimator, (list, tuple)):
            check_given(self.estimator)
            networks = Networks.of(list(self.estimator), rows, self.layers, None, self.dtype)
        elif is_frozen(self.estimator):
            refuse_alone(self.estimator)
        else:
            networks = train_networks(
                self.estimator,
                self.n_models,
                rows,
                self.holdout,
                self.layers,
                self.dtype,
                self.n_jobs,
                settings,
                rng,
            )
        self.estimators_, self.estimator_ = networks.estimators, networks.estimators[0]
        self.n_failed_ = networks.n_failed
        if self.null == ROTATION:
            _check_rotatable(networks)
        n_draws = n_pooled_draws(self.n_null, len(networks.sample.units))
        sample = ReturnSample.extending(
            networks.sample,
            others=networks.others,
            matching=Matching(self.matching == "one_to_one", self.signed, self.within_layers),
            null=self.null,
            n_untrained=self.n_untrained,
            n_draws=n_draws,
            max_references=_MAX_REFERENCES if self.n_null == "auto" else n_draws,
            settings=settings,
            seed=int(rng.randint(2**31 - 1)),
        )
        return sample

    def _score_units(self, sample: Sample) -> NDArray:
        assert isinstance(sample, ReturnSample)
        return sample.scores

    def _draw_nulls(self, sample: Sample, n_draws: int, rng: np.random.RandomState) -> list[Null]:
        assert isinstance(sample, ReturnSample)
        return [sample.draws(rng)]

    def _discoveries(self, sample: Sample) -> Discoveries:
        assert isinstance(sample, ReturnSample)
        found, few = super()._discoveries(sample), few_rows(sample)
        if few and self.n_units != "auto":
            warn(few, UniversalityWarning)
        return replace(found, if_none=few, warning=UniversalityWarning) if few else found

    def _record(self, sample: Sample) -> None:
        assert isinstance(sample, ReturnSample)
        super()._record(sample)
        self.returns_, self.partners_ = sample.returns, sample.partners
        self.chance_ = sample.chance.mean(axis=0)
        self.explained_ = sample.explained.mean(axis=0)
        self.alignment_ = sample.alignment()
        self.reliability_ = sample.reliability()
        self.duplicates_ = sample.duplicates()
        passes = discovered(self.q_values_, self.dead_, self.unit_scores_)
        self.universal_units_ = self.unit_names_[passes]

    # --- what people look at ------------------------------------------------------------------

    def to_frame(self) -> Any:
        """The units as a tidy DataFrame.

        Returns
        -------
        frame : pandas.DataFrame
            As of every probe, and the mean ``return``, its ``chance``, and the share of variance
            ``explained`` by the layers of the other networks.
        """
        frame = super().to_frame()
        frame["return"] = self.returns_.mean(axis=0)
        frame["chance"] = self.chance_
        frame["explained"] = self.explained_
        return frame

    def partners_of(self, name: str) -> Any:
        """What a unit returns as in every other network.

        Parameters
        ----------
        name : str
            As in ``unit_names_``.

        Returns
        -------
        frame : pandas.DataFrame
            A row for each of ``estimators_[1:]``: ``partner`` and ``correlation``.
        """
        check_is_fitted(self)
        import pandas as pd

        u = self.units_.index(name)
        columns = {"partner": self.partners_[:, u], "correlation": self.returns_[:, u]}
        index = pd.RangeIndex(1, len(self.returns_) + 1, name="network")
        return pd.DataFrame(columns, index=index)

    def __sklearn_tags__(self) -> Any:
        if not isinstance(self.estimator, (list, tuple)):
            return super().__sklearn_tags__()
        first = type(self)(self.estimator[0] if self.estimator else None)
        return first.__sklearn_tags__()


def _check_rotatable(networks: Networks) -> None:
    """Raise for a layer of one unit, of which a rotation changes nothing but the sign."""
    for number, units in enumerate([networks.sample.units, *(o.units for o in networks.others)]):
        for layer in units.layers:
            if layer.n_units == 1:
                raise ValueError(
                    f"Layer {layer.name!r} of network {number} has one unit, so null='rotation' "
                    "says nothing about it. Use null='untrained', or name other layers."
                )


def few_rows(sample: ReturnSample) -> str:
    """A sentence where the rows are too few to correlate units on; empty where they are not."""
    if sample.n_deciding >= MIN_ROWS:
        return ""
    of = "rows" if sample.groups is None else "groups"
    return (
        f"{sample.n_deciding} {of} are left to correlate units on, of {MIN_ROWS} that the "
        "largest of many correlations needs: no unit scores above 0. Give more samples, or a "
        "greater holdout."
    )
