"""AblationProbe: how much the loss rises when a unit is mean-ablated."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat._compat import Interval
from sklflat.probing.ablated_outputs import ablation_losses
from sklflat.probing.ablation_sample import AblationSample
from sklflat.probing.decisions import Decisions
from sklflat.probing.false_discovery import FDR, Discoveries, discovered, q_values, resolution
from sklflat.probing.nulls import Null, permuted_targets
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows
from sklflat.probing.unit_probe import UnitProbe

#: with fewer permutations than this a unit's own null mean and deviation would be guesses
_MIN_PERMUTATIONS = 100


def needed_beyond_chance(
    decisions: Decisions, p_values: NDArray, dead: NDArray
) -> NDArray[np.bool_]:
    """Mask (n_units,) of units that are needed and beyond shuffled targets.

    A network that has learned labels without meaning needs its units, too: without one its outputs
    are others, and worse.

    Parameters
    ----------
    decisions : Decisions
    p_values : ndarray of shape (n_units,)
        Against shuffled targets.
    dead : ndarray of shape (n_units,), bool
    """
    q = q_values(np.maximum(decisions.p_needed, p_values), dead)
    return (decisions.verdict == "needed") & discovered(q, dead)


class AblationProbe(UnitProbe):
    r"""Units that the loss on unseen data depends on.

    A unit's score is the rise of the loss when its activation is replaced by its mean,

    .. math:: s_u = L(a_u \leftarrow \bar a_u) - L,

    over rows that the network was not trained on. These rows decide, unit by unit, whether the
    expected loss rises (*needed*), falls (*harmful*), changes by no more than a stated share of it
    (*negligible*), or whether they are too few to say (*undecided*): ``decisions_``, from the
    paired differences of every row's loss. Of the units that are said to be needed or harmful at
    most 5 % are expected to be neither.

    **What is selected** are needed units that also pass ``p_values_``: for each is rejected that
    without it the expected loss on rows like these would not rise.

    **What** ``p_values_`` **reject** is something weaker: that the targets have nothing to do with
    what the network says. Under this null the targets of the rows are shuffled among them. A
    network is too sure of itself for random targets, so there the loss mostly falls when a unit
    is silenced, and null scores lie below 0: a small p-value alone does not say that a unit is
    needed.

    The score does not change when a ReLU unit's incoming weights are multiplied and its
    outgoing ones divided by the same positive number. It does change when a unit is duplicated:
    each of two copies that share the work scores less than the one did. A dead unit scores 0, and
    so does one without which no row's loss changes by more than its rounding.

    Parameters
    ----------
    estimator : estimator, default=None
        Any classifier or regressor of this package, a skorch net, a ``Pipeline`` or search that
        ends in one, a ``FrozenEstimator`` of one, or what :func:`~sklflat.from_module` returns.
        ``None`` is ``SAMClassifier()``. What is not frozen is cloned and fitted.
    negligible : float, default=0.01
        Share of the loss up to which a rise or a fall of it is negligible.
    layers : "hidden" or tuple of str, default="hidden"
        All hidden layers, or some by name.
    n_units : "auto", int, float or None, default="auto"
        How many units to select: those that are shown to be needed and tied to the targets (with
        a warning and the best unit, if none is), the so many best, that share of those that are
        alive, or all that are alive.
    n_null : "auto" or int, default="auto"
        Null draws, pooled over units; at least a hundred a unit are made. ``"auto"`` is
        ``max(2000, n_units / 0.05)``.
    holdout : float, cross-validator or None, default=0.25
        Share of the rows on which units are scored and the network is not trained. With
        ``None`` it is trained and scored on all: p-values are then too small, as a network fits
        the noise in its own labels. Not used for a frozen network, which should be given rows
        that it has not seen.
        The last split of a cross-validator is used; ``TimeSeriesSplit`` says that rows are one
        series in the order of time, for a frozen network too: targets are then shifted in time, and
        rises counted by blocks.
    n_jobs : int or None, default=None
        Not used by this probe, which trains one network.
    dtype : "float32" or "float64", default=None
        Precision in which the network is run; None is its own, of float32 at least.
    random_state : int, RandomState instance or None, default=None
        Of the held-out rows and of the null draws; and of the network, unless that has its own.
    verbose : int, default=0
        1 shows the units ablated for scores and null, if that takes longer than a second.

    Attributes
    ----------
    estimator_ : estimator
        The fitted network.
    unit_scores_ : ndarray of shape (n_units,)
        Rise of the loss, in its own units (nats for classifiers).
    decisions_ : Decisions
        Needed, harmful, negligible or undecided; ``print`` it. See
        :class:`~sklflat.probing.Decisions`.
    unit_names_ : ndarray of shape (n_units,)
    null_hypothesis_ : str
        What a small p-value rejects, in a sentence; on every card, too.
    p_values_, q_values_ : ndarray of shape (n_units,)
        Against shuffled targets; and adjusted for the number of units (Benjamini-Hochberg).
    support_ : ndarray of shape (n_units,), bool
    nulls_ : tuple of Null
        The nulls, with their draws.
    units_ : Units
    dead_ : ndarray of shape (n_units,), bool
        Units that do the same for all rows.
    unit_means_, unit_variances_ : ndarray of shape (n_units,)
        Of the activations.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X is a DataFrame.

    References
    ----------
    A. Morcos, D. Barrett, N. Rabinowitz, M. Botvinick: On the importance of single directions
    for generalization. ICLR 2018. https://arxiv.org/abs/1803.06959

    Examples
    --------
    Two ReLU units, of which only the second reaches the output:

    >>> import numpy as np, torch
    >>> from sklflat import AblationProbe, from_module
    >>> module = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> with torch.no_grad():
    ...     for p, value in zip(module.parameters(), ([[1.0], [1.0]], [0, 0], [[0, 1.0]], [0])):
    ...         _ = p.copy_(torch.tensor(value))
    >>> X = np.linspace(-1, 1, 101)[:, None]
    >>> probe = AblationProbe(from_module(module), random_state=0).fit(X, np.maximum(X[:, 0], 0))
    >>> print(probe.decisions_)
    101 rows, 2 units: 1 needed, 0 harmful, 1 negligible, 0 undecided.
    >>> probe.support_
    array([False,  True])
    >>> bool(np.isclose(probe.unit_scores_[1], np.maximum(X, 0).var() / 2))
    True
    """

    _parameter_constraints = {
        **UnitProbe._parameter_constraints,
        "negligible": [Interval(Real, 0, 1, closed="left")],
        "verbose": ["verbose"],
    }

    _takes_series = True

    def __init__(
        self,
        estimator: Any = None,
        *,
        negligible: float = 0.01,
        layers: Any = "hidden",
        n_units: Any = "auto",
        n_null: Any = "auto",
        holdout: Any = 0.25,
        n_jobs: int | None = None,
        dtype: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.negligible = negligible
        self.layers = layers
        self.n_units = n_units
        self.n_null = n_null
        self.holdout = holdout
        self.n_jobs = n_jobs
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def _prepare(self, rows: Rows, rng: np.random.RandomState) -> AblationSample:
        return self._ablated(super()._prepare(rows, rng))

    def _ablated(self, sample: Sample) -> AblationSample:
        if isinstance(sample, AblationSample):
            return sample
        return AblationSample.extending(
            sample, negligible=self.negligible, verbose=int(self.verbose)
        )

    def _score_units(self, sample: Sample) -> NDArray:
        return self._ablated(sample).paired_rises.mean(axis=0)

    def _draw_nulls(self, sample: Sample, n_draws: int, rng: np.random.RandomState) -> list[Null]:
        # units whose loss does not change have no draws, and the others need as many for them
        sample = self._ablated(sample)
        active = ~sample.scoreless
        n = max(int(np.ceil(n_draws / max(1, active.sum()))), _MIN_PERMUTATIONS)
        score = lambda p: ablation_losses(sample, p, active, sample.ablated)  # noqa: E731
        rows = sample.n_samples, n, rng, sample.groups, sample.in_time
        return [permuted_targets(score, *rows)]

    def _discoveries(self, sample: Sample) -> Discoveries:
        decided = self._ablated(sample).decisions
        found = needed_beyond_chance(decided, self.p_values_, sample.dead)
        said = f"No unit is shown to be needed at a false discovery rate of {FDR:.0%}: {decided}"
        if decided.count("needed"):
            said = f"No needed unit is tied to the targets more than shuffled ones are: {decided}"
        said += resolution(self._least_p_values(sample), sample.dead)
        return Discoveries(found, self.p_values_, said)

    def _record(self, sample: Sample) -> None:
        super()._record(sample)
        self.decisions_ = self._ablated(sample).decisions

    def to_frame(self) -> Any:
        """The result as a tidy DataFrame, one row a unit.

        Returns
        -------
        frame : pandas.DataFrame
            As of every probe, and ``verdict``, ``low`` and ``high``: what the rows decide, and
            the 95 % interval of the score.
        """
        frame = super().to_frame()
        for name in ("verdict", "low", "high"):
            frame[name] = getattr(self.decisions_, name)
        return frame

    def _on_card(self, u: int) -> dict[str, Any]:
        said = super()._on_card(u) | {"finding": self.decisions_.finding(u)}
        if self.decisions_.verdict[u] != "needed":
            said["doubt"] = "though not shown to be needed"
        return said
