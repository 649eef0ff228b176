"""What benchmarks of curvature run in the other packages, and how its results are judged."""

import numpy as np
import torch
from curvlinops import HessianLinearOperator
from scipy.sparse.linalg import eigsh
from torch import nn

from sklflat.curvature import Hessian
from sklflat.networks import Network


class Counter:
    """Counts the products of a scipy operator."""

    def __init__(self, operator):
        self.n, product = 0, operator._matvec

        def counted(v):
            self.n += 1
            return product(v)

        operator._matvec = counted
        self.operator = operator


def curvlinops(module, X, y, tol, k, batch_size=None):
    """The k largest eigenpairs by curvlinops' operator and ARPACK; values, vectors, products."""
    n = len(X) if batch_size is None else batch_size
    counter = Counter(
        HessianLinearOperator(
            module,
            nn.CrossEntropyLoss(),
            list(module.parameters()),
            list(zip(X.split(n), y.split(n), strict=True)),
            check_deterministic=False,
        ).to_scipy()
    )
    start = np.random.RandomState(0).normal(size=counter.operator.shape[0]).astype(np.float32)
    values, vectors = eigsh(counter.operator, k, which="LA", tol=tol, v0=start)
    return values, vectors.T, counter.n


def residual(module, X, y, values, vectors):
    """Largest true residual, in float64, relative to the largest eigenvalue."""
    operator = Hessian(Network(module, nn.CrossEntropyLoss(), dtype=torch.float64), X, y)
    V = torch.as_tensor(vectors).double()
    V = V / V.norm(dim=1, keepdim=True)
    r = operator.product(V) - torch.as_tensor(np.asarray(values)).double()[:, None] * V
    return float(r.norm(dim=1).max()) / float(np.max(values))


def loosest(run, module, X, y, tol):
    """The loosest tolerance with which ``run(tolerance)`` reaches a residual, or the tightest."""
    for given in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        if residual(module, X, y, *run(given)[:2]) <= tol:
            break
    return given
