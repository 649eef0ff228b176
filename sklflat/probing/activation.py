"""ActivationProbe: what a unit's activation alone says about it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat._compat import StrOptions
from sklflat.metrics import sparse_probe_explainability
from sklflat.metrics.selectivity import permuted_class_selectivity, permuted_target_correlation
from sklflat.probing.nulls import Null, null_by_layer, permuted_targets
from sklflat.probing.progress import progress
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows
from sklflat.probing.unit_probe import UnitProbe

_MIN_PERMUTATIONS = 100


class ActivationProbe(UnitProbe):
    r"""Units by what their activations show: the baseline that a better probe has to beat.

    **What** ``p_values_`` **reject**: that the targets of rows not trained on have nothing to do
    with the unit; for ``"variance"`` and ``"explainability"``, that the unit is one of a network
    trained on shuffled labels (fresh weights, for a frozen one). None says that it is needed.

    Parameters
    ----------
    estimator : estimator, default=None
        Any classifier or regressor of this package, a skorch net, a ``Pipeline`` or search that
        ends in one, a ``FrozenEstimator`` of one, or what :func:`~sklflat.from_module` returns.
        ``None`` is ``SAMClassifier()``. What is not frozen is cloned and fitted.
    unit_score : {"selectivity", "correlation", "class_variance", "variance", "explainability"}
        What is measured on rows that the network was not trained on; default="selectivity".

        - ``"selectivity"``: :func:`~sklflat.metrics.class_selectivity` of the class means, for
          classifiers. Null: targets shuffled among these rows.
        - ``"correlation"``: :func:`~sklflat.metrics.target_correlation`, for classes and real
          targets. Null: the same.
        - ``"class_variance"``: variance of the activation that the target explains: between class
          means, :math:`\sum_c p_c (\mu_c - \mu)^2`, or, of a real target, by a straight line.
          ``"correlation"`` is its share of the variance. It foretells which units come back in
          another training (:class:`~sklflat.UniversalityProbe`). Null: the same.
        - ``"variance"``: of the activation. Null: the variances in networks that were trained
          on shuffled targets.
        - ``"explainability"``:
          :func:`~sklflat.metrics.sparse_probe_explainability` of the unit by one input. Null:
          as for the variance.

        The first two and the last do not change when a unit's incoming weights are multiplied
        by a positive number and its outgoing ones divided by it; the variances do. None
        changes when a unit is duplicated. A dead unit scores 0.
    layers : "hidden" or tuple of str, default="hidden"
        All hidden layers, or some by name.
    n_units : "auto", int, float or None, default="auto"
        How many units to select: those that score above 0 and pass a false discovery rate of 5 %
        (with a warning and the best unit, if none does), the so many best, that share of those
        that are alive, or all that are alive.
    n_null : "auto" or int, default="auto"
        Null draws, pooled over units. ``"auto"`` is ``max(2000, n_units / 0.05)``. Where
        targets are shuffled, at least a hundred a unit are made; where networks are trained,
        one network gives one draw for every unit that is alive in it. A network that cannot be
        trained again (frozen) is compared with untrained twins in their place, and ``nulls_``
        says so.
    holdout : float, cross-validator or None, default=0.25
        Share of the rows on which units are scored and the network is not trained. With
        ``None`` it is trained and scored on all. Not used for a frozen network, which should be
        given rows that it has not seen.
        The last split of a cross-validator is used; ``TimeSeriesSplit`` says that rows are one
        series in the order of time, for a frozen network too: targets are then shifted in time.
    n_jobs : int or None, default=None
        Networks of the null that are trained at once, by joblib.
    dtype : "float32" or "float64", default=None
        Precision in which the network is run; None is its own, of float32 at least.
    random_state : int, RandomState instance or None, default=None
        Of the held-out rows and of the null draws; and of the network, unless that has its own.
    verbose : int, default=0
        1 shows the draws of the null or its networks, if they take longer than a second.

    Attributes
    ----------
    estimator_ : estimator
        The fitted network.
    unit_scores_ : ndarray of shape (n_units,)
    unit_names_ : ndarray of shape (n_units,)
    p_values_, q_values_ : ndarray of shape (n_units,)
        Against chance; and adjusted for the number of units (Benjamini-Hochberg).
    support_ : ndarray of shape (n_units,), bool
    nulls_ : tuple of Null
        The nulls, with their draws.
    units_ : Units
    dead_ : ndarray of shape (n_units,), bool
        Units that do the same for all rows.
    unit_means_, unit_variances_ : ndarray of shape (n_units,)
        Of the activations.
    null_hypothesis_ : str
        What a small p-value rejects.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X is a DataFrame.

    References
    ----------
    A. Morcos, D. Barrett, N. Rabinowitz, M. Botvinick: On the importance of single directions
    for generalization. ICLR 2018. https://arxiv.org/abs/1803.06959

    Examples
    --------
    Two ReLU units, of which the second is dead:

    >>> import numpy as np, torch
    >>> from sklflat import ActivationProbe, from_module
    >>> module = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
    >>> with torch.no_grad():
    ...     _ = module[0].weight.copy_(torch.tensor([[1.0], [0.0]]))
    ...     _ = module[0].bias.copy_(torch.tensor([0.0, -1.0]))
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> frozen = from_module(module, classes=["left", "right"])
    >>> probe = ActivationProbe(frozen, random_state=0)
    >>> probe.fit(X, np.where(X[:, 0] > 0, "right", "left")).unit_scores_
    array([1., 0.])
    >>> probe.get_feature_names_out()
    array(['1[0]'], dtype=object)
    """

    _parameter_constraints = {
        **UnitProbe._parameter_constraints,
        "unit_score": [
            StrOptions(
                {"selectivity", "correlation", "class_variance", "variance", "explainability"}
            )
        ],
        "verbose": ["verbose"],
    }

    _takes_series = True

    def __init__(
        self,
        estimator: Any = None,
        *,
        unit_score: str = "selectivity",
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
        self.unit_score = unit_score
        self.layers = layers
        self.n_units = n_units
        self.n_null = n_null
        self.holdout = holdout
        self.n_jobs = n_jobs
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def _prepare(self, rows: Rows, rng: np.random.RandomState) -> Sample:
        sample = super()._prepare(rows, rng)
        if sample.trained.classes is None and self.unit_score not in _OF_ACTIVATIONS:
            # labels given to a regressor of several outputs would be taken for numbers
            sample.network.loss(sample.X[:2], sample.target[:2])
        return sample

    def _score_units(self, sample: Sample) -> NDArray:
        if self.unit_score in _OF_ACTIVATIONS:
            return _OF_ACTIVATIONS[self.unit_score](sample)
        return self._with_targets(sample, np.arange(sample.n_samples)[None])[0]

    def _draw_nulls(self, sample: Sample, n_draws: int, rng: np.random.RandomState) -> list[Null]:
        n = int(np.ceil(n_draws / max(1, int((~sample.dead).sum()))))
        if self.unit_score not in _OF_ACTIVATIONS:
            n = max(n, _MIN_PERMUTATIONS)
            rows = sample.n_samples, n, rng, sample.groups, sample.in_time
            with self._progress(n, "draw") as bar:
                return [permuted_targets(_counted(self._with_targets, sample, bar), *rows)]
        trained = sample.training is not None
        if not trained:  # they cost little: every layer gets the draws that one unit needs
            sizes = np.bincount(sample.units.layer_of[~sample.dead])
            n = int(np.ceil(n_draws / max(1, sizes[sizes > 0].min(initial=len(sizes)))))
        twins = sample.untrained_twins(n, rng)
        if trained:
            twins = sample.shuffled_label_twins(n, rng, verbose=int(self.verbose))
        name = "networks trained on permuted labels" if trained else "untrained twins"
        with self._progress(n, "network") as bar:
            scored = _each(twins, lambda t: (self._score_units(t), t.units.layer_of, ~t.dead), bar)
            return [null_by_layer(name, scored, sample.units.layer_of)]

    def _progress(self, total: int, unit: str) -> Any:
        return progress(type(self).__name__, total, unit, self.verbose)

    def _with_targets(self, sample: Sample, permutations: NDArray) -> NDArray:
        """Scores (m, n_units) with the targets in other orders."""
        y, s = sample.labels, sample.weights
        if not sample.weight_is_of_label:
            return self._scores(sample, y, s, permutations)
        # the weights go with the labels
        same = np.arange(sample.n_samples)[None]
        parts = [self._scores(sample, y[p], s[p] / s[p].sum(), same) for p in permutations]
        return np.concatenate(parts)

    def _scores(self, sample: Sample, y: NDArray, s: NDArray, permutations: NDArray) -> NDArray:
        classes = sample.trained.classes
        if self.unit_score == "selectivity":
            if classes is None or y.ndim > 1:
                raise ValueError(
                    "unit_score='selectivity' needs one class label a sample. Use "
                    "unit_score='correlation' for real or multilabel targets."
                )
            return permuted_class_selectivity(sample.activations, y, permutations, s)
        share = permuted_target_correlation(sample.activations, y, permutations, s)
        known = y[permutations][:, s > 0]
        share[(known == known[:, :1]).reshape(len(share), -1).all(axis=1)] = 0  # else rounding
        if self.unit_score == "correlation":
            return share
        return share * _variance(sample.activations, s)


def _counted(score: Any, sample: Sample, bar: Any) -> Any:
    """A function of permutations that counts them in a bar."""

    def counted(permutations: NDArray) -> NDArray:
        scores = score(sample, permutations)
        bar.update(len(permutations))
        return scores

    return counted


def _each(twins: Iterator[Sample], scored: Any, bar: Any) -> Iterator[Any]:
    """What is scored of each network, counted in a bar."""
    for twin in twins:
        yield scored(twin)
        bar.update()


def activation_variance(sample: Sample) -> NDArray:
    """Variance of each unit over the samples.

    Parameters
    ----------
    sample : Sample

    Returns
    -------
    variances : ndarray of shape (n_units,)
    """
    return _variance(sample.activations, sample.weights)


def _variance(A: NDArray, s: NDArray) -> NDArray:
    return s @ np.square(A - s @ A)


def _explainability(sample: Sample) -> NDArray:
    factors = sample.X.flatten(1).double().cpu().numpy()
    return sparse_probe_explainability(sample.activations, factors, k=1)


_OF_ACTIVATIONS = {"variance": activation_variance, "explainability": _explainability}
