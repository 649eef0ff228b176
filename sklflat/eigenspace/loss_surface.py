"""The loss surface of a sample: operator, eigenpairs, trace, density, and units in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn
from tqdm import tqdm

from sklflat.curvature import (
    CurvatureOperator,
    Eigenpairs,
    Fisher,
    GaussNewton,
    GaussNewtonFactor,
    GradientCovariance,
    Hessian,
    NetworkOperator,
    ScaledOperator,
    SpectralDensity,
    SpectralMeasures,
    Subspace,
    TraceEstimate,
    block_measures,
    eigenpairs,
    hutch_plus_plus,
    hutchinson,
    spectral_density,
    subspace_overlap,
    xtrace,
)
from sklflat.curvature.density import rest_of_quadrature
from sklflat.eigenspace.clusters import cluster_units
from sklflat.eigenspace.noise import noise_rises
from sklflat.eigenspace.unit_directions import Response, UnitDirections, unit_response
from sklflat.exceptions import warn
from sklflat.networks import ParameterVector
from sklflat.probing.sample import Sample

#: seconds before a progress bar shows up
_PATIENCE = 1.0

OPERATORS: dict[str, type[NetworkOperator]] = {
    "hessian": Hessian,
    "ggn": GaussNewton,
    "fisher": Fisher,
    "gradient_covariance": GradientCovariance,
}

TRACES = {"hutchinson": hutchinson, "hutch++": hutch_plus_plus, "xtrace": xtrace}

#: random vectors and steps of the density, products of the trace
_N_PROBES, _N_STEPS, _N_TRACE = 8, 30, 30

#: rows of the Gauss-Newton factor behind the spectral measures
_N_FACTOR_ROWS = 1024

#: units whose loss under noise is measured, and samples it is measured on
_MAX_NOISY, _MAX_NOISE_ROWS = 200, 1000


@dataclass(frozen=True, kw_only=True)
class LossSurface(Sample):
    """A sample with the curvature of its network's loss, and its units as directions in that.

    Parameters
    ----------
    operator : NetworkOperator
        In the parameters' own units.
    directions : UnitDirections
    spectrum : HessianSpectrum
        Of which only parameters are read.
    seeds : (int, int, int, int)
        Of the spectrum's random vectors, of those of the response, of the noise on units and of
        their clusters: no part's numbers depend on which others are computed.
    """

    operator: NetworkOperator
    directions: UnitDirections
    spectrum: Any
    seeds: tuple[int, int, int, int]
    _others: list[CurvatureOperator] = field(init=False, default_factory=list)

    @classmethod
    def measured(cls, sample: Sample, spectrum: Any, rng: np.random.RandomState) -> "LossSurface":
        """Linearise the loss on a sample; of the ``spectrum`` only parameters are read."""
        if spectrum.criterion is not None:
            sample = _with_criterion(sample, spectrum.criterion)
        operator = _linearised(sample, spectrum)
        directions = UnitDirections.of(
            sample.units, operator.vector, spectrum.metric, spectrum.outgoing, operator.dtype
        )
        more = {"operator": operator, "directions": directions, "spectrum": spectrum}
        return cls.extending(sample, **more, seeds=(_seed(rng), _seed(rng), _seed(rng), _seed(rng)))

    @cached_property
    def pairs(self) -> Eigenpairs:
        """In the metric, as all of the spectrum; warns of those that are not certified."""
        spectrum, k = self.spectrum, self.spectrum.n_components
        with _progress(self.operator, spectrum):
            found = eigenpairs(
                self.scaled,
                k,
                spectrum.which,
                tol=spectrum.tol,
                max_matvec=spectrum.max_iter,
                capacity=_capacity(self.operator, k),
                seed=self.seeds[0],
            )
        if not found.converged.all():
            _warn_not_converged(found, spectrum.tol)
        return found

    @property
    def n_matvec(self) -> int:
        """Products with vectors so far."""
        return self.operator.n_matvec + sum(op.n_matvec for op in self._others)

    @cached_property
    def scaled(self) -> CurvatureOperator:
        """The operator in the metric."""
        return self.directions.in_metric(self.operator)

    @cached_property
    def top(self) -> Subspace:
        """The span of the eigenvectors."""
        return Subspace(self.pairs.vectors)

    @cached_property
    def response(self) -> Response:
        """How far top directions and random ones move the units."""
        return unit_response(
            self.network,
            self.units,
            self.X,
            self.weights,
            self.directions,
            self.top,
            self.scaled,
            torch.Generator().manual_seed(self.seeds[1]),
        )

    @cached_property
    def density(self) -> SpectralDensity:
        """The spectral density, with the pairs as exact atoms and their own run as a probe."""
        pairs, p = self.pairs, self.operator.size
        if len(pairs.krylov[0]) == p:  # the matrix was formed: all is known
            return SpectralDensity(pairs.krylov[0], [], p)
        found = pairs.converged
        rest = rest_of_quadrature(pairs.krylov, pairs.values[found])
        return spectral_density(
            self.scaled,
            _N_PROBES - (rest is not None),
            min(_N_STEPS, p - int(found.sum())),
            known=self._certified,
            probes=[] if rest is None else [rest],
            seed=self.seeds[1],  # the run of the pairs began with the first vector of the other
        )

    def trace(self, method: str, with_density: bool) -> TraceEstimate:
        """The trace; Hutchinson's costs nothing where there is a density."""
        nodes = self.pairs.krylov[0]
        if len(nodes) == self.operator.size:  # the matrix was formed
            return TraceEstimate(float(nodes.sum()), 0.0, 0)
        if method == "hutchinson" and with_density:
            known, probes = self.density.known, self.density.probes
            samples = (self.operator.size - len(known)) * np.array([x @ w for x, w in probes])
            error = float(samples.std(ddof=1) / np.sqrt(len(samples)))
            return TraceEstimate(float(known.sum() + samples.mean()), error, 0)
        return TRACES[method](self.scaled, _N_TRACE, known=self._certified, seed=self.seeds[1])

    @property
    def _certified(self) -> tuple[NDArray, Tensor]:
        """The eigenpairs that converged."""
        found = self.pairs.converged
        return self.pairs.values[found], self.pairs.vectors[torch.as_tensor(found)]

    @cached_property
    def measures(self) -> SpectralMeasures | None:
        """Every unit's spectral measure by the Gauss-Newton matrix, on the first samples.

        None if a sample has more outputs than there are rows, or the loss is not convex.
        """
        n_outputs = self.network.outputs(self.X[:1]).shape[1]
        n = _N_FACTOR_ROWS // n_outputs
        if n == 0 or self.directions.scale is not None or not len(self.units):
            return None
        X, y, s = _rows(self.operator, slice(n))
        operator = GaussNewton(self.network, X, y, s, memory_budget=self.operator.memory_budget)
        factor, own = GaussNewtonFactor(operator), self.directions
        return block_measures(factor, own.blocks, own.d)

    def layer_eigenvalues(self, k: int, tol: float) -> dict[str, NDArray]:
        """Top eigenvalues of the blocks of single layers."""
        X, y, s = self.operator.data
        groups: dict[str, list[tuple[str | None, nn.Parameter]]] = {}
        vector = self.operator.vector
        for name, parameter in zip(vector.names, vector.parameters, strict=True):
            layer = (name or "").rpartition(".")[0]
            groups.setdefault(layer, []).append((name, parameter))
        values = {}
        for layer, parameters in groups.items():
            own = ParameterVector(parameters)
            op = type(self.operator)(
                self.network, X, y, s, vector=own, memory_budget=self.operator.memory_budget
            )
            scaled = op if self.directions.scale is None else ScaledOperator(op, own.read().abs())
            values[layer] = eigenpairs(scaled, min(k, op.size), tol=tol, seed=self.seeds[0]).values
            self._others.append(op)
        return values

    def proxy_overlap(self) -> float:
        """Overlap of the gradient covariance's top subspace with the pairs'."""
        X, y, s = self.operator.data
        budget = self.operator.memory_budget
        proxy = self.directions.in_metric(
            GradientCovariance(self.network, X, y, s, memory_budget=budget)
        )
        self._others.append(proxy)
        found = eigenpairs(proxy, len(self.pairs.values), tol=1e-2, audit=False, seed=self.seeds[0])
        return subspace_overlap(found.vectors, self.pairs.vectors)

    @property
    def _live(self) -> NDArray:
        """Mask (n_units,) of units that do something and have parameters."""
        return ~self.dead & self.directions.are_defined

    def noise_rises(self, level: float) -> NDArray:
        """Rise of the loss by noise on single units' parameters, shape (n_units,).

        Of at most so many units, on at most so many rows; NaN where it was not measured.
        """
        live, rng = self._live, np.random.RandomState(self.seeds[2])
        rises = np.full(len(live), np.nan)
        if live.any():
            chosen = np.sort(rng.permutation(np.flatnonzero(live))[:_MAX_NOISY])
            rows = np.sort(rng.permutation(self.n_samples)[:_MAX_NOISE_ROWS])
            X, y, s = _rows(self.operator, rows)
            rises[chosen] = noise_rises(
                self.network, X, y, s, self.directions.blocks, chosen, level=level, seed=_seed(rng)
            )
        return rises

    def clusters(self, n_clusters: int | str) -> tuple[NDArray, float]:
        """Cluster of each unit, -1 for dead ones, and the p-value of the clusters' stability."""
        live, rng = self._live, np.random.RandomState(self.seeds[3])
        labels, p_value = np.full(len(live), -1), float("nan")
        if live.any():
            loadings = self.directions.loadings(self.pairs.vectors).double().cpu().numpy()
            strata = self.units.layer_of[live]
            labels[live], p_value = cluster_units(loadings[:, live], strata, n_clusters, rng)
        return labels, p_value


def _seed(rng: np.random.RandomState) -> int:
    return int(rng.randint(2**31 - 1))


def _with_criterion(sample: Sample, criterion: nn.Module) -> Sample:
    network = sample.network.like(criterion=criterion)
    return replace(sample, trained=replace(sample.trained, network=network))


def _linearised(sample: Sample, spectrum: Any) -> NetworkOperator:
    if spectrum.batch_size is not None and spectrum.batch_size > sample.n_samples:
        raise ValueError(
            f"batch_size={spectrum.batch_size} is more than the {sample.n_samples} samples that "
            "the loss is taken on. Lower it, or use batch_size=None."
        )
    return OPERATORS[spectrum.operator](
        sample.network,
        sample.X,
        sample.target,
        sample.weight,
        batch_size=spectrum.batch_size,
        memory_budget=spectrum.memory_budget // 2,  # the other half is for Lanczos vectors
    )


@contextmanager
def _progress(operator: NetworkOperator, spectrum: Any) -> Iterator[None]:
    """A bar of the products that are made meanwhile, with ``verbose``."""
    name, hidden = type(spectrum).__name__, not spectrum.verbose
    with tqdm(desc=name, unit=" products", disable=hidden, delay=_PATIENCE) as bar:
        operator.on_product = bar.update
        try:
            yield
        finally:
            operator.on_product = None


def _capacity(operator: NetworkOperator, k: int) -> int:
    """Lanczos vectors that fit into the other half of the budget, beside the pairs."""
    p, budget = operator.size, operator.memory_budget
    itemsize = operator.dtype.itemsize
    fits = budget // (p * itemsize) - 2 * k
    if fits < min(k + 2, p):
        raise ValueError(
            f"memory_budget={2 * budget} bytes is too small for n_components={k}: half of it "
            f"holds {budget // (p * itemsize)} vectors of {p} parameters, and at least "
            f"{3 * k + 2} are needed. Raise it to {2 * (3 * k + 2) * p * itemsize} or more."
        )
    return int(min(p, max(4 * k, 80), fits))


def _rows(operator: NetworkOperator, rows: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """Some rows of the data that an operator is taken on."""
    X, y, s = operator.data
    return X[rows], y[rows], None if s is None else s[rows]


def _warn_not_converged(pairs: Eigenpairs, tol: float) -> None:
    """Say which pairs are not certified, and how far off they are."""
    scale = max(float(np.abs(pairs.values).max()), np.finfo(float).tiny)
    warn(
        f"{np.count_nonzero(~pairs.converged)} of {len(pairs.values)} eigenpairs are not certified "
        f"to tol={tol:g} after {pairs.n_matvec} products: the largest residual is "
        f"{pairs.residuals.max() / scale:.2g} of the largest eigenvalue. Raise max_iter or tol, or "
        "ask for fewer n_components.",
        ConvergenceWarning,
    )
