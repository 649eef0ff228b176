"""BasinRewinder: the ticket, the onset of the basin, and the units that come back from there."""

import os
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklflat._compat import Interval, StrOptions
from sklflat.exceptions import DivergenceError
from sklflat.probing.nulls import Null, seeded
from sklflat.probing.resolve import is_frozen, unfitted
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows, check_classes, with_column_as_vector
from sklflat.probing.unit_probe import UnitProbe
from sklflat.rewinding.recipe import check_rewindable
from sklflat.rewinding.rewinding_nulls import beside_chance, rewinding_nulls
from sklflat.rewinding.rewound_sample import AFTER, RewoundSample
from sklflat.rewinding.study import rewound_sample
from sklflat.training import SAMClassifier


def _ticket_has(method: str) -> Any:
    def check(self: Any) -> bool:
        estimator = SAMClassifier() if self.estimator is None else self.estimator
        return hasattr(getattr(self, "ticket_", estimator), method)

    return check


class BasinRewinder(UnitProbe):
    r"""The part of a network that is enough, and the units that come back when it is retrained.

    A network is trained (the *parent*). Copies go on from earlier and earlier of its steps, with
    the rows in other orders, until they no longer end in one basin; the first step from which they
    do is the *onset*. From there the network is pruned by iterative magnitude pruning: train, drop
    the smallest weights, go back to the onset, and so on, to the *ticket*. The ticket is retrained
    from just after the onset, and from just before it, in ``n_retrains`` orders each, and a unit's
    score is how consistently it comes back: with :math:`a_{ur}` its activations in network r, its
    units matched to the ticket's on rows trained on,

    .. math:: s_u = \frac{2}{R (R - 1)} \sum_{r < r'} \mathrm{corr}_x(a_{ur}, a_{ur'})

    on rows held out, the intraclass correlation ICC(C,1) of standardised activations. It does not
    change when units are permuted or a ReLU unit's scale is moved from incoming to outgoing
    weights. Dead units score 0.

    **What** ``p_values_`` **reject** is that units of one of three nulls, matched and scored in
    the same way, are as consistent: of networks of fresh initialisations, of children of a parent
    that was trained on shuffled labels, of untrained networks, all with the ticket's mask.

    Consistent is not true: a spurious cue that is easy is learned every time. What differs between
    children is what a unit is tested against; ``bootstrap=True`` or ``groups`` in ``fit`` let the
    data differ, too.

    Parameters
    ----------
    estimator : estimator, default=None
        What is trained: an estimator of this package, alone or as the last step of a pipeline.
        ``None`` is ``SAMClassifier()``. It has to shuffle; a frozen or pretrained network has no
        training to rewind, and is refused.
    sparsity : float in (0, 1), default=0.8
        Share of the weights to prune. Biases and normalisation are kept. Layer by layer it is that
        of all but the output layer.
    n_rounds : "auto" or int, default="auto"
        Rounds of pruning; ``"auto"`` takes as many as remove 20 % at most each.
    prune : {"global", "layerwise"}, default="global"
        Whether the magnitudes of all layers are compared, or those of each layer with each other;
        then the output layer is pruned at half the rate.
    rewind : "auto", int or float, default="auto"
        The step to rewind to, as a number of steps or a share of all; ``"auto"`` is the onset. A
        number saves the search.
    rewinding : {"weights", "learning_rate"}, default="weights"
        Whether weights go back to what they were, or only the schedule of the learning rate. Then
        there is no ``"before"``, as the weights are those of the end in any case.
    stability_tol : float, default=0.02
        Instability of a stable step at most: the mean barrier of the training error between copies,
        2 % of the rows (of a regressor, of the variance of the targets).
    n_grid : int, default=32
        Steps to look for the onset among, of which about ``log2(n_grid) + 2`` are looked at.
    n_copies : int, default=3
        Networks that are compared for each of them, the parent among them.
    n_retrains : int, default=8
        Children of each rewind point.
    bootstrap : bool, default=False
        Whether each child is trained on rows of its own, drawn with replacement. The networks of
        the nulls are, too. Neither this nor ``groups`` goes with early stopping, whose validation
        rows would be trained on.
    n_controls : int, default=1
        Networks of each control in each round: fresh weights with the ticket's mask, and the
        ticket's weights with random masks. 0 trains none.
    n_bootstrap : int, default=100
        Resamples, of rows and children, for intervals.
    layers, n_units, n_null, holdout
        As of every probe: see :class:`~sklflat.AblationProbe`. ``n_null`` is that of untrained
        networks; each other null is of as many networks as there are children, and one more. With
        ``holdout=None`` units are matched on one half of all rows and scored on the other; both,
        and every ``score``, are then on rows trained on.
    n_jobs : int or None, default=None
        Trainings at once, by joblib.
    cache_dir : path or None, default=None
        A directory that keeps every training, so that a run that was cut off goes on: see
        :func:`~sklflat.training.stacking.train`.
    random_state : int, RandomState instance or None, default=None
    verbose : int, default=0
        1 shows how far trainings are.

    Attributes
    ----------
    ticket_ : fitted classifier or regressor
        The pruned network. ``predict``, ``predict_proba`` and ``score`` are its own.
    mask_ : dict of str to ndarray of bool
        Weights that are kept, by the names of parameters: see
        :func:`~sklflat.rewinding.write_masks`.
    sparsity_ : float
        Share of the weights that was pruned.
    rounds_ : pandas.DataFrame
        ``remaining`` weights, ``network`` (ticket or control), ``score`` on the rows held out,
        ``epochs`` (that early stopping chose, or until training stopped), and ``train_loss`` of
        every network.
    onset_ : int or None
        The first stable step of the grid. None where no step is, or ``rewind`` was given.
    entered_at_init_ : bool or None
        Whether training is stable from its first step; there is no "before" then. It is the normal
        outcome on small clean tables. None where ``rewind`` was given.
    onset_curve_ : OnsetCurve or None
        Instability at the steps that were looked at; ``onset_curve_.contradictions`` has those that
        speak against the onset.
    step_ : int
        What was rewound to.
    consistency_ : dict of str to Consistency
        Of the children from ``"after"`` the onset, which is scored, and from ``"before"`` it, where
        there is such a step and weights are rewound. Print them.
    estimators_ : dict of str to list of fitted estimators
        The children that have not failed, the reference first.
    estimator_ : estimator
        The ticket, whose units are scored.
    classes_ : ndarray of shape (n_classes,)
        Of a classifier.
    unit_scores_, unit_names_, p_values_, q_values_, support_, nulls_, units_, dead_
        As of every probe; the others are listed at :class:`~sklflat.AblationProbe`.

    Raises
    ------
    DivergenceError
        If more than a quarter of the children from after the onset fail.
    ValueError
        If pruning leaves a layer without weights; names it. With early stopping, if rows are drawn
        by ``bootstrap`` or ``groups``.

    Warns
    -----
    RewindingWarning
        If no step is stable, a step contradicts the onset, children from before it failed, or
        children can hardly differ, as one batch holds all rows. Also if a null is missing or of
        fewer networks, its parent stopped before the rewind point, or there are more groups than
        children.

    References
    ----------
    .. [1] J. Frankle, G. Dziugaite, D. Roy, M. Carbin, "Linear mode connectivity and the lottery
       ticket hypothesis", ICML 2020. https://arxiv.org/abs/1912.05671
    .. [2] J. Frankle, M. Carbin, "The lottery ticket hypothesis", ICLR 2019.
       https://arxiv.org/abs/1803.03635

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from sklflat import BasinRewinder, SAMClassifier
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> clf = SAMClassifier((8,), learning_rate_init=0.05, max_iter=8, batch_size=20)
    >>> rewinder = BasinRewinder(
    ...     clf,
    ...     sparsity=0.5,
    ...     n_rounds=1,
    ...     n_grid=2,
    ...     n_retrains=2,
    ...     n_null=50,
    ...     n_units=3,
    ...     random_state=0,
    ... ).fit(X, y)
    >>> (
    ...     round(rewinder.sparsity_, 2),
    ...     len(rewinder.estimators_["after"]),
    ...     rewinder.transform(X).shape,
    ... )
    (0.5, 3, (200, 3))
    """

    _parameter_constraints = {
        **UnitProbe._parameter_constraints,
        "sparsity": [Interval(Real, 0, 1, closed="neither")],
        "n_rounds": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "prune": [StrOptions({"global", "layerwise"})],
        "rewind": [
            StrOptions({"auto"}),
            Interval(Integral, 0, None, closed="left"),
            Interval(Real, 0, 1, closed="left"),
        ],
        "rewinding": [StrOptions({"weights", "learning_rate"})],
        "stability_tol": [Interval(Real, 0, None, closed="left")],
        "n_grid": [Interval(Integral, 1, None, closed="left")],
        "n_copies": [Interval(Integral, 2, None, closed="left")],
        "n_retrains": [Interval(Integral, 2, None, closed="left")],
        "bootstrap": ["boolean"],
        "n_controls": [Interval(Integral, 0, None, closed="left")],
        "n_bootstrap": [Interval(Integral, 2, None, closed="left")],
        "cache_dir": [str, os.PathLike, None],
        "verbose": ["verbose"],
    }

    _scores_one_network = False
    _score_name = "consistency over retrained children"

    def __init__(
        self,
        estimator: Any = None,
        *,
        sparsity: float = 0.8,
        n_rounds: Any = "auto",
        prune: str = "global",
        rewind: Any = "auto",
        rewinding: str = "weights",
        stability_tol: float = 0.02,
        n_grid: int = 32,
        n_copies: int = 3,
        n_retrains: int = 8,
        bootstrap: bool = False,
        n_controls: int = 1,
        n_bootstrap: int = 100,
        layers: Any = "hidden",
        n_units: Any = "auto",
        n_null: Any = "auto",
        holdout: float | None = 0.25,
        n_jobs: int | None = None,
        cache_dir: Any = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.sparsity = sparsity
        self.n_rounds = n_rounds
        self.prune = prune
        self.rewind = rewind
        self.rewinding = rewinding
        self.stability_tol = stability_tol
        self.n_grid = n_grid
        self.n_copies = n_copies
        self.n_retrains = n_retrains
        self.bootstrap = bootstrap
        self.n_controls = n_controls
        self.n_bootstrap = n_bootstrap
        self.layers = layers
        self.n_units = n_units
        self.n_null = n_null
        self.holdout = holdout
        self.n_jobs = n_jobs
        self.cache_dir = cache_dir
        self.random_state = random_state
        self.verbose = verbose

    # --- fit, step by step --------------------------------------------------------------------

    def _prepare(self, rows: Rows, rng: np.random.RandomState) -> RewoundSample:
        """Train the parent, find the onset, prune to the ticket, and train its children."""
        rows = with_column_as_vector(rows)
        if is_frozen(self.estimator):
            check_rewindable(self.estimator)  # raises
        if is_classifier(self):
            check_classes(rows, type(self).__name__)
        fresh = seeded(unfitted(self.estimator), rng)
        check_rewindable(fresh)
        return rewound_sample(self, fresh, rows, rng)

    def _score_units(self, sample: Sample) -> NDArray:
        assert isinstance(sample, RewoundSample)
        found = sample.consistency[AFTER]
        if found.scores is None:
            sample.recipe.progress.close()
            errors = [t.error for t in sample.experiments[AFTER].children if t.error is not None]
            raise DivergenceError(
                f"{found}. Lower learning_rate_init or rho. The first failed with: {errors[0]}"
            ) from errors[0]
        return found.scores

    def _draw_nulls(self, sample: Sample, n_draws: int, rng: np.random.RandomState) -> list[Null]:
        assert isinstance(sample, RewoundSample)
        try:
            return rewinding_nulls(sample, n_draws, rng)
        finally:
            sample.recipe.progress.close()

    def _record(self, sample: Sample) -> None:
        assert isinstance(sample, RewoundSample)
        super()._record(sample)
        where = ", on rows trained on" if self.holdout is None else ""
        self._score_name = type(self)._score_name + where
        recipe, last = sample.recipe, sample.rounds[-1]
        self.ticket_ = self.estimator_ = recipe.fitted(last.ticket)
        if sample.trained.classes is not None:
            self.classes_ = sample.trained.classes
        self.mask_ = recipe.layers.by_name(last.mask)
        self.sparsity_ = 1.0 - last.remaining
        self._rounds = sample.rounds_table()
        self.onset_curve_ = sample.curve
        self.onset_ = None if self.onset_curve_ is None else self.onset_curve_.onset
        self.entered_at_init_ = (
            None if self.onset_curve_ is None else self.onset_curve_.entered_at_init
        )
        self.step_ = sample.experiments[AFTER].step
        self.consistency_ = beside_chance(sample.consistency, self.nulls_)
        self.estimators_ = {
            name: [recipe.fitted(t) for t in e.good] for name, e in sample.experiments.items()
        }
        sample.warn_of_onset()

    # --- what the ticket says -----------------------------------------------------------------

    def predict(self, X: Any) -> NDArray:
        """What the ticket predicts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        return self.ticket_.predict(X)

    @available_if(_ticket_has("predict_proba"))
    def predict_proba(self, X: Any) -> NDArray:
        """Probabilities (n_samples, n_classes) of the ticket."""
        check_is_fitted(self)
        return self.ticket_.predict_proba(X)

    @available_if(_ticket_has("decision_function"))
    def decision_function(self, X: Any) -> NDArray:
        """Logits (n_samples, n_classes) of the ticket; of two classes the margin (n_samples,)."""
        check_is_fitted(self)
        return self.ticket_.decision_function(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy (or R²) of the ticket.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
        """
        check_is_fitted(self)
        return float(self.ticket_.score(X, y, sample_weight=sample_weight))

    # --- what people look at ------------------------------------------------------------------

    @property
    def rounds_(self) -> Any:
        """Every network of every round, as a table."""
        if not hasattr(self, "_rounds"):
            raise AttributeError(f"{type(self).__name__} has no rounds_ before fit.")
        import pandas as pd

        return pd.DataFrame(self._rounds)

    def to_frame(self) -> Any:
        """The units as a tidy DataFrame.

        Returns
        -------
        frame : pandas.DataFrame
            As of every probe, and of each experiment ``consistency``, its ``low`` and ``high``
            ends, and the ``reliability`` of the mean over children.
        """
        frame = super().to_frame()
        for name, found in self.consistency_.items():
            if not found.is_refused:
                frame[f"consistency_{name}"] = found.scores
                for what in ("low", "high", "reliability"):
                    frame[f"{what}_{name}"] = getattr(found, what)
        return frame

    # --- what scikit-learn asks ---------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        network = SAMClassifier() if self.estimator is None else self.estimator
        if hasattr(network, "__sklearn_tags__"):
            own = get_tags(network)
            tags.estimator_type = own.estimator_type
            tags.classifier_tags = own.classifier_tags
            tags.regressor_tags = own.regressor_tags
        return tags
