"""From a sample to its curvature: the operator, the top of its spectrum, trace and density."""

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

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
from sklflat.eigenspace.neurons import Neurons
from sklflat.networks import Network, ParameterVector
from sklflat.probing.sample import Sample

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


@dataclass
class Surface:
    """The curvature of a network's loss on a sample.

    Parameters
    ----------
    sample : Sample
        Its network has the criterion whose loss it is.
    operator : NetworkOperator
        In the parameters' own units.
    neurons : Neurons
    """

    sample: Sample
    operator: NetworkOperator
    neurons: Neurons
    scaled: CurvatureOperator = field(init=False)
    _others: list[CurvatureOperator] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        scale = self.neurons.scale
        self.scaled = self.operator if scale is None else ScaledOperator(self.operator, scale)

    @classmethod
    def of(
        cls,
        sample: Sample,
        *,
        operator: str,
        metric: str,
        outgoing: bool,
        criterion: nn.Module | None,
        batch_size: int | None,
        memory_budget: int,
    ) -> "Surface":
        """Linearise the loss on a sample."""
        network = sample.network
        if criterion is not None:
            network = Network(
                network.module,
                criterion,
                device=network.device,
                dtype=network.dtype,
                batch_size=network.batch_size,
            )
            sample = replace(sample, trained=replace(sample.trained, network=network))
        if batch_size is not None and batch_size > sample.n_samples:
            raise ValueError(
                f"batch_size={batch_size} is more than the {sample.n_samples} samples that the "
                "loss is taken on. Lower it, or use batch_size=None."
            )
        # half for vectors, half for what is kept between products
        op = OPERATORS[operator](
            network,
            sample.X,
            sample.target,
            sample.weight,
            batch_size=batch_size,
            memory_budget=memory_budget // 2,
        )
        neurons = Neurons.of(sample.units, op.vector, metric, outgoing, op.dtype)
        return cls(sample, op, neurons)

    @property
    def n_matvec(self) -> int:
        """Products with vectors so far."""
        return self.operator.n_matvec + sum(op.n_matvec for op in self._others)

    def pairs(self, k: int, which: Any, tol: float, max_iter: int | None, seed: int) -> Eigenpairs:
        """The eigenpairs in the metric."""
        return eigenpairs(
            self.scaled,
            k,
            which,
            tol=tol,
            max_matvec=max_iter,
            capacity=self._capacity(k),
            seed=seed,
        )

    def _capacity(self, k: int) -> int:
        """Lanczos vectors that fit into the other half of the budget, beside the pairs."""
        p = self.operator.size
        itemsize = torch.empty(0, dtype=self.operator.dtype).element_size()
        budget = self.operator.memory_budget
        fits = budget // (p * itemsize) - 2 * k
        if fits < min(k + 2, p):
            raise ValueError(
                f"memory_budget={2 * budget} bytes is too small for n_components={k}: half of it "
                f"holds {budget // (p * itemsize)} vectors of {p} parameters, and at least "
                f"{3 * k + 2} are needed. Raise it to {2 * (3 * k + 2) * p * itemsize} or more."
            )
        return int(min(p, max(4 * k, 80), fits))

    def density(self, pairs: Eigenpairs, seed: int) -> SpectralDensity:
        """The spectral density, with the pairs as exact atoms and their own run as a probe."""
        p = self.operator.size
        if len(pairs.krylov[0]) == p:  # the matrix was formed: all is known
            return SpectralDensity(pairs.krylov[0], [], p)
        found = pairs.converged
        rest = rest_of_quadrature(pairs.krylov, pairs.values[found])
        return spectral_density(
            self.scaled,
            _N_PROBES - (rest is not None),
            min(_N_STEPS, p - int(found.sum())),
            known=_known(pairs),
            probes=[] if rest is None else [rest],
            seed=seed,
        )

    def trace(
        self, method: str, pairs: Eigenpairs, density: SpectralDensity | None, seed: int
    ) -> TraceEstimate:
        """The trace; Hutchinson's costs nothing where there is a density."""
        if len(pairs.krylov[0]) == self.operator.size:
            return TraceEstimate(float(pairs.krylov[0].sum()), 0.0, 0)
        if method == "hutchinson" and density is not None:
            rest = self.operator.size - len(density.known)
            samples = rest * np.array([nodes @ weights for nodes, weights in density.probes])
            error = float(samples.std(ddof=1) / np.sqrt(len(samples)))
            return TraceEstimate(float(density.known.sum() + samples.mean()), error, 0)
        return TRACES[method](self.scaled, _N_TRACE, known=_known(pairs), seed=seed)

    def measures(self) -> SpectralMeasures | None:
        """Every unit's spectral measure by the Gauss-Newton matrix, on the first samples.

        None if a sample has more outputs than there are rows, or the loss is not convex.
        """
        network, sample = self.operator.network, self.sample
        n_outputs = network.outputs(sample.X[:1]).shape[1]
        n = _N_FACTOR_ROWS // n_outputs
        if n == 0:
            return None
        X, y, s = (t if t is None else t[:n] for t in self.operator.data)
        assert X is not None
        assert y is not None
        operator = GaussNewton(network, X, y, s, memory_budget=self.operator.memory_budget)
        factor = GaussNewtonFactor(operator)
        if self.neurons.scale is None:
            return block_measures(factor, self.neurons.blocks, self.neurons.d)
        return None

    def layer_eigenvalues(self, k: int, tol: float, seed: int) -> dict[str, NDArray]:
        """Top eigenvalues of the blocks of single layers."""
        network = self.operator.network
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
                network, X, y, s, vector=own, memory_budget=self.operator.memory_budget
            )
            scaled = op if self.neurons.scale is None else ScaledOperator(op, own.read().abs())
            values[layer] = eigenpairs(scaled, min(k, op.size), tol=tol, seed=seed).values
            self._others.append(op)
        return values

    def proxy_overlap(self, pairs: Eigenpairs, seed: int) -> float:
        """Overlap of the gradient covariance's top subspace with the pairs'."""
        X, y, s = self.operator.data
        proxy: CurvatureOperator = GradientCovariance(
            self.operator.network, X, y, s, memory_budget=self.operator.memory_budget
        )
        if self.neurons.scale is not None:
            proxy = ScaledOperator(proxy, self.neurons.scale)
        self._others.append(proxy)
        found = eigenpairs(proxy, len(pairs.values), tol=1e-2, audit=False, seed=seed)
        return subspace_overlap(found.vectors, pairs.vectors)


def _known(pairs: Eigenpairs) -> tuple[NDArray, Tensor]:
    found = pairs.converged
    return pairs.values[found], pairs.vectors[torch.as_tensor(found)]


def warn_not_converged(pairs: Eigenpairs, tol: float) -> None:
    """Say which pairs are not certified, and how far off they are."""
    scale = max(float(np.abs(pairs.values).max()), np.finfo(float).tiny)
    warnings.warn(
        f"{np.count_nonzero(~pairs.converged)} of {len(pairs.values)} eigenpairs are not certified "
        f"to tol={tol:g} after {pairs.n_matvec} products: the largest residual is "
        f"{pairs.residuals.max() / scale:.2g} of the largest eigenvalue. Raise max_iter or tol, or "
        "ask for fewer n_components.",
        ConvergenceWarning,
        stacklevel=6,
    )
