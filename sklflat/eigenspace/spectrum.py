"""HessianSpectrum: the curvature of a trained network, and its units' directions in it."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklflat._compat import Interval, StrOptions
from sklflat.curvature import SpectralDensity, SpectralMeasures
from sklflat.eigenspace.loss_surface import OPERATORS, TRACES, LossSurface
from sklflat.eigenspace.noise import RankCorrelation
from sklflat.eigenspace.optional_parts import PARTS, measured_parts
from sklflat.eigenspace.perturbed_networks import perturbed
from sklflat.eigenspace.unit_directions import (
    Response,
    flat_alignment,
    flat_alignment_null,
    unit_curvature,
    unit_curvature_null,
)
from sklflat.probing.nulls import Null
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows
from sklflat.probing.unit_probe import UnitProbe


class HessianSpectrum(UnitProbe):
    r"""Eigenvalues and eigenvectors of the loss's curvature, and scores of units from them.

    Every eigenpair carries its true residual :math:`\|H v - \lambda v\|`; what did not converge
    says so. Every unit gets a score with a null and a p-value:

    - ``"flat_alignment"``: the share of the unit's own parameter vector that lies in the complement
      of the top eigenvectors, :math:`1 - \sum_{i \le k} (u_j \cdot v_i)^2`, against directions that
      are uniform inside the same parameters;
    - ``"response"``: how far directions of the complement move the unit's activation, as a share
      of that and how far the top directions do, against random directions in place of these;
    - ``"curvature"``: :math:`u_j^\top H u_j`, against directions inside the same parameters.

    **What** ``p_values_`` **reject**: that any direction in the unit's parameters scores as high
    (``"response"``: that random directions move the unit as much). That a unit is needed is not
    said.

    That units in flat directions are the real ones is a claim, not a premise: in networks with
    planted truth they were the redundant ones. With ``noise_level=0.5`` it is measured:
    ``supported_sign_`` is the sign of the rank correlation between the score and the rise of the
    loss under noise on the unit, and 0 where its interval covers 0.

    A default fit computes eigenpairs and scores. All else costs time of its own and is there where
    a parameter asks for it; what was not asked for is absent, with an error that says how to ask.

    Parameters
    ----------
    estimator : estimator, default=None
        As of every probe: see :class:`~sklflat.AblationProbe`. ``None`` is ``SAMClassifier()``.
    n_components : int, default=10
        Eigenpairs. The literature expects as many outliers as there are classes.
    which : {"largest", "smallest", "both"}, default="largest"
        By value. The units' top subspace is the span of these.
    operator : {"hessian", "ggn", "fisher", "gradient_covariance"}, default="hessian"
        See :mod:`sklflat.curvature`.
    unit_score : {"flat_alignment", "response", "curvature"}, default="flat_alignment"
    metric : {"plain", "adaptive"}, default="plain"
        ``"adaptive"`` decomposes :math:`T H T` with :math:`T = \mathrm{diag}|w|`, which does not
        change when ReLU units are rescaled.
    outgoing : bool, default=False
        Whether the weights that read a unit belong to its parameters too.
    n_clusters : int, "auto" or None, default=None
        Groups of units that lie alike in the eigenspace; "auto" finds their number.
    trace_method : {"hutchinson", "hutch++", "xtrace"} or None, default=None
        With ``density=True`` the first needs no products of its own; else 30 are made.
    density : bool, default=False
        Whether to estimate the density of all eigenvalues: up to 240 products.
    spectral_measures : bool, default=False
        Whether to compute where on the spectrum each unit lies.
    proxy_overlap : bool, default=False
        Whether to compare with the gradient covariance's top subspace.
    by_layer : bool, default=False
        Whether to compute the top eigenvalues of each layer's own block.
    criterion : torch.nn.Module, default=None
        A loss whose curvature is taken in place of the network's own.
    noise_level : float or None, default=None
        Length of the noise on a unit's parameters behind ``supported_sign_``, relative to theirs;
        0.5 is a good choice. Eight passes over at most 1,000 rows for each of at most 200 units.
    tol : float, default=1e-4
        Accepted residual, relative to the largest eigenvalue in magnitude.
    max_iter : int, default=None
        Products for the eigenpairs; None is ``max(20 n_components, 500)``.
    batch_size : int, default=None
        Samples at once; no result depends on it.
    memory_budget : int, default=2**31
        Bytes, half for vectors and half for what is kept between products.
    layers : "hidden" or tuple of str, default="hidden"
        Whose units are scored; the curvature is that over all trainable parameters.
    n_units : "auto", int, float or None, default="auto"
        How many units to select, as of every probe.
    n_null : "auto" or int, default="auto"
        Null draws.
    holdout : float or None, default=None
        Share of the rows that are held out, on which the loss is taken. None: the training loss.
    n_jobs : int or None, default=None
        Not used: one network is trained.
    dtype : "float32" or "float64", default=None
        Precision in which the network is run; None is its own, of float32 at least.
    random_state : int, RandomState instance or None, default=None
    verbose : int, default=0
        1 shows the products made for eigenpairs, if they take longer than a second.

    Attributes
    ----------
    eigenvalues_ : ndarray of shape (n_components,)
        In descending order, in units of the loss by squared units of the parameters.
    eigenvectors_ : ndarray of shape (n_components, n_parameters)
        In the order of ``ParameterVector.of(module)``; in the adaptive metric a step along v moves
        the parameters by ``|w| v``.
    residuals_ : ndarray of shape (n_components,)
    converged_ : bool
        Whether all pairs are certified.
    trace_, trace_std_ : float
        With a ``trace_method``: the trace and the standard error of its estimate, 0 where it is
        exact.
    density_ : SpectralDensity
        With ``density=True``.
    gradient_norm_ : float
        Not 0: the point may not be a minimum, and the curvature is that where it is.
    loss_ : float
        Mean of the criterion; ``alpha`` and ``class_weight`` are not in it.
    n_matvec_ : int
        Products with vectors, for all of this.
    n_iter_ : int
        Products for the eigenpairs.
    rounding_error_ : float
        Relative error of a product in the network's precision; 0 in float64.
    proxy_overlap_ : float
        With ``proxy_overlap=True``: overlap of the gradient covariance's top subspace with this
        one; by chance it is ``n_components / n_parameters``. NaN for that operator itself.
    spectral_measure_ : SpectralMeasures or None
        With ``spectral_measures=True``: of each unit by the Gauss-Newton matrix, on the first
        samples. None in the adaptive metric and for losses that are not convex in the outputs.
    unit_labels_ : ndarray of shape (n_units,)
        With ``n_clusters``: cluster of each unit, -1 for dead ones.
    cluster_p_value_ : float
        Of the clusters' stability; NaN for a given number.
    noise_rises_ : ndarray of shape (n_units,)
        With a ``noise_level``: rise of the loss by noise on each unit; NaN where it was not
        measured.
    supported_correlation_ : RankCorrelation or None
        Of score and rise, with its interval; None without units.
    supported_sign_ : int
        1, -1, or 0 where the interval covers 0.
    response_ : Response or None
        For ``unit_score="response"``; None without units.
    layer_eigenvalues_ : dict of str to ndarray
        For ``by_layer=True``.
    unit_scores_, p_values_, q_values_ : ndarray of shape (n_units,)
        As these, all attributes of :class:`~sklflat.AblationProbe` are there.

    References
    ----------
    L. Sagun et al., "Empirical analysis of the Hessian of over-parametrized neural networks", 2017.
    https://arxiv.org/abs/1706.04454

    Examples
    --------
    The loss ``w^2 / 2`` has one eigenvalue, 1:

    >>> import numpy as np, torch
    >>> from sklflat import HessianSpectrum, from_module
    >>> module = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> spectrum = HessianSpectrum(from_module(module), n_components=2, n_units=None)
    >>> spectrum.fit(X, X[:, 0] ** 2).converged_
    True
    >>> spectrum.eigenvectors_.shape
    (2, 7)
    """

    _parameter_constraints = {
        **UnitProbe._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "which": [StrOptions({"largest", "smallest", "both"})],
        "operator": [StrOptions(set(OPERATORS))],
        "unit_score": [StrOptions({"flat_alignment", "response", "curvature"})],
        "metric": [StrOptions({"plain", "adaptive"})],
        "outgoing": ["boolean"],
        "n_clusters": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), None],
        "trace_method": [StrOptions(set(TRACES)), None],
        "density": ["boolean"],
        "spectral_measures": ["boolean"],
        "proxy_overlap": ["boolean"],
        "by_layer": ["boolean"],
        "criterion": [nn.Module, None],
        "noise_level": [Interval(Real, 0, None, closed="neither"), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "memory_budget": [Interval(Integral, 1, None, closed="left")],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_components: int = 10,
        which: str = "largest",
        operator: str = "hessian",
        unit_score: str = "flat_alignment",
        metric: str = "plain",
        outgoing: bool = False,
        n_clusters: int | str | None = None,
        trace_method: str | None = None,
        density: bool = False,
        spectral_measures: bool = False,
        proxy_overlap: bool = False,
        by_layer: bool = False,
        criterion: Any = None,
        noise_level: float | None = None,
        tol: float = 1e-4,
        max_iter: int | None = None,
        batch_size: int | None = None,
        memory_budget: int = 2**31,
        layers: Any = "hidden",
        n_units: Any = "auto",
        n_null: Any = "auto",
        holdout: float | None = None,
        n_jobs: int | None = None,
        dtype: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_components = n_components
        self.which = which
        self.operator = operator
        self.unit_score = unit_score
        self.metric = metric
        self.outgoing = outgoing
        self.n_clusters = n_clusters
        self.trace_method = trace_method
        self.density = density
        self.spectral_measures = spectral_measures
        self.proxy_overlap = proxy_overlap
        self.by_layer = by_layer
        self.criterion = criterion
        self.noise_level = noise_level
        self.tol = tol
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.memory_budget = memory_budget
        self.layers = layers
        self.n_units = n_units
        self.n_null = n_null
        self.holdout = holdout
        self.n_jobs = n_jobs
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    _may_lack_units = True

    # what is there where a parameter asks for it: see optional_parts.py
    trace_: float
    trace_std_: float
    density_: SpectralDensity
    proxy_overlap_: float
    spectral_measure_: SpectralMeasures | None
    unit_labels_: NDArray
    cluster_p_value_: float
    noise_rises_: NDArray
    supported_correlation_: RankCorrelation | None
    supported_sign_: int
    response_: Response | None
    layer_eigenvalues_: dict[str, NDArray]

    # --- fit, step by step --------------------------------------------------------------------

    def _prepare(self, rows: Rows, rng: np.random.RandomState) -> LossSurface:
        sample = super()._prepare(rows, rng)
        return LossSurface.measured(sample, self, check_random_state(self.random_state))

    def _score_units(self, sample: Sample) -> NDArray:
        assert isinstance(sample, LossSurface)
        if self.unit_score == "curvature":
            return unit_curvature(sample.directions, sample.scaled)
        if self.unit_score == "response":
            return sample.response.scores()
        return flat_alignment(sample.directions, sample.top)

    def _draw_nulls(self, sample: Sample, n_draws: int, rng: np.random.RandomState) -> list[Null]:
        assert isinstance(sample, LossSurface)
        if self.unit_score == "curvature":
            return [unit_curvature_null(sample.directions, sample.scaled, n_draws, rng)]
        if self.unit_score == "response":
            return [sample.response.null(n_draws, rng)]
        return [flat_alignment_null(sample.directions, sample.top, n_draws, rng)]

    def _record(self, sample: Sample) -> None:
        assert isinstance(sample, LossSurface)
        super()._record(sample)
        operator, pairs = sample.operator, sample.pairs
        self.eigenvalues_ = pairs.values
        self.eigenvectors_ = pairs.vectors.cpu().numpy()
        self.residuals_ = pairs.residuals
        self.converged_ = bool(pairs.converged.all())
        self.n_iter_ = pairs.n_matvec
        self.loadings_ = sample.directions.loadings(pairs.vectors).double().cpu().numpy().T
        self.loss_ = operator.loss
        self.gradient_norm_ = float(operator.gradient.norm())
        self.rounding_error_ = operator.rounding_error()
        parts = measured_parts(self, sample)
        for name in PARTS:
            if name in parts:
                setattr(self, name, parts[name])
            elif name in vars(self):  # of an earlier fit, which was asked for more
                delattr(self, name)
        self.n_matvec_ = sample.n_matvec

    def __getattr__(self, name: str) -> Any:
        """Say how to ask for what was not computed; called for what is not there."""
        if name in PARTS and "eigenvalues_" in vars(self):
            raise AttributeError(
                f"This {type(self).__name__} was fitted without {name}: set {PARTS[name]} and fit "
                "it again."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # --- results ------------------------------------------------------------------------------

    def to_frame(self) -> Any:
        """The units as a tidy DataFrame.

        Returns
        -------
        frame : pandas.DataFrame
            As of every probe, and ``top_share`` (of the unit's direction in the top subspace);
            ``class``, the one in which it is most active; ``noise_rise`` and ``cluster``, if the
            fit has them; and for ``unit_score="response"`` the mean square responses at equal norm
            (``response_top``, ``response_flat``) and at equal rise of the loss
            (``response_top_per_rise``, ``response_flat_per_rise``).
        """
        frame = super().to_frame()
        frame["top_share"] = np.square(self.loadings_).sum(axis=1)
        for column, attribute in (("noise_rise", "noise_rises_"), ("cluster", "unit_labels_")):
            if hasattr(self, attribute):
                frame[column] = getattr(self, attribute)
        means = self._cards.class_means
        if means is not None:
            frame["class"] = np.asarray(self._cards.classes)[np.nanargmax(means, axis=0)]
        response = getattr(self, "response_", None)
        if response is not None:
            norm, rise = response.at_equal_norm(), response.at_equal_rise()
            frame["response_top"], frame["response_flat"] = norm
            frame["response_top_per_rise"], frame["response_flat_per_rise"] = rise
        return frame

    def perturb(self, direction: int | str | ArrayLike, scale: float, *, seed: int = 0) -> Any:
        """The network perturbed along a direction in parameter space.

        Parameters
        ----------
        direction : int, "top", "complement" or array-like of shape (n_parameters,)
            Number of an eigenvector; a random direction in their span or in its complement; or any
            direction. It is brought to unit length (in the metric of this estimator).
        scale : float
            Length of the step.
        seed : int, default=0
            Of a random direction.

        Returns
        -------
        estimator : ModuleClassifier or ModuleRegressor
            A frozen estimator that predicts by the perturbed network.
        """
        check_is_fitted(self)
        return perturbed(self, direction, scale, seed)
