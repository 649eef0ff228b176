"""Twelve traps for curvature, set for this package and for its peers.

Each trap asks for a number that is known, and says how far off the answer was. A tool that raises a
clear error or reports that it did not converge has noticed; one that returns a wrong number without
a word has not. tests/curvature/test_traps.py asserts the same of sklflat alone.
``python benchmarks/traps.py`` writes results/traps.md; ``--check`` fails if sklflat is caught.
"""

import argparse
import contextlib
import copy
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from curvlinops import HessianLinearOperator
from pyhessian import hessian
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import nn
from torch.nn import functional as F

from sklflat.curvature import Hessian, MatrixOperator, eigenpairs
from sklflat.networks import Network

TABLE = Path(__file__).parent / "results" / "traps.md"
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(100, 6, generator=GENERATOR)
Y = torch.randint(0, 3, (100,), generator=GENERATOR)


class Noticed(Exception):
    """The tool said itself that something is wrong."""


# --- the tools: products with a network's Hessian, and eigenvalues -------------------------------


class Sklflat:
    name = "sklflat"

    def product(self, module, batches, v):
        operator = Hessian(Network(module, nn.CrossEntropyLoss()), *whole(batches))
        return operator @ v.double()

    def eigenvalues(self, module, batches, k, **options):
        operator = Hessian(Network(module, nn.CrossEntropyLoss()), *whole(batches))
        return self._of(eigenpairs(operator, k, max_dense=0, **options))

    def of_matrix(self, A, k, n):
        return self._of(eigenpairs(MatrixOperator(A), k, max_matvec=n, max_dense=0))

    def _of(self, pairs):
        if not pairs.converged.all():
            raise Noticed(f"{int((~pairs.converged).sum())} pairs said not to be certified")
        return pairs.values


class Curvlinops:
    name = "curvlinops + eigsh"

    def _operator(self, module, batches):
        trainable = [p for p in module.parameters() if p.requires_grad]
        return HessianLinearOperator(module, nn.CrossEntropyLoss(), trainable, batches)

    def product(self, module, batches, v):
        return self._operator(module, batches) @ v

    def eigenvalues(self, module, batches, k):
        return self._arpack(self._operator(module, batches).to_scipy(), k)

    def of_matrix(self, A, k, n):
        A = A.numpy()
        count = [0]

        def matvec(v):
            count[0] += 1
            if count[0] > n:
                raise Noticed(f"ARPACK not done after {n} products")
            return A @ v

        return self._arpack(LinearOperator(A.shape, matvec, dtype=A.dtype), k)

    def _arpack(self, operator, k):
        start = np.random.RandomState(0).normal(size=operator.shape[0]).astype(operator.dtype)
        try:
            return eigsh(operator, k, which="LA", v0=start)[0][::-1]
        except ArpackNoConvergence as error:
            raise Noticed("ARPACK: no convergence") from error


class PyHessian:
    name = "PyHessian"

    def _tool(self, module, batches):
        if len(batches) == 1:
            return hessian(module, nn.CrossEntropyLoss(), data=batches[0], cuda=False)
        return hessian(module, nn.CrossEntropyLoss(), dataloader=batches, cuda=False)

    def product(self, module, batches, v):
        tool = self._tool(module, batches)
        parts = [
            q.view_as(p)
            for q, p in zip(v.split([p.numel() for p in tool.params]), tool.params, strict=True)
        ]
        if len(batches) > 1:
            Hv = tool.dataloader_hv_product(parts)[1]
        else:
            Hv = torch.autograd.grad(tool.gradsH, tool.params, parts, retain_graph=True)
        return torch.cat([h.flatten() for h in Hv])

    def eigenvalues(self, module, batches, k):
        return np.array(self._tool(module, batches).eigenvalues(top_n=k)[0])

    def of_matrix(self, A, k, n):
        """Through a network whose Hessian is A: the loss w'Aw / 2."""
        module = Quadratic(A)
        tool = hessian(
            module, lambda z, y: z.sum(), data=(torch.zeros(1), torch.zeros(1)), cuda=False
        )
        return np.array(tool.eigenvalues(maxIter=max(n // k, 2), top_n=k)[0])


class Quadratic(nn.Module):
    def __init__(self, A):
        super().__init__()
        self.A, self.w = A, nn.Parameter(torch.randn(len(A), generator=GENERATOR).to(A))

    def forward(self, x):
        return self.w @ self.A @ self.w / 2


def whole(batches):
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


# --- what is true --------------------------------------------------------------------------------


def dense(module, x=X, y=Y):
    """The Hessian in float64 and evaluation mode, by plain PyTorch, row by row."""
    module = copy.deepcopy(module).double().eval()
    parameters = [p for p in module.parameters() if p.requires_grad]
    gradient = torch.autograd.grad(
        F.cross_entropy(module(x.double()), y), parameters, create_graph=True, allow_unused=True
    )
    flat = torch.cat(
        [(0 * p if g is None else g).flatten() for g, p in zip(gradient, parameters, strict=True)]
    )
    rows = []
    for f in flat:
        row = torch.autograd.grad(f, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [
                    (torch.zeros_like(p) if h is None else h).flatten()
                    for h, p in zip(row, parameters, strict=True)
                ]
            )
        )
    return torch.stack(rows)


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def with_layer(layer):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 8), layer, nn.ReLU(), nn.Linear(8, 3))
    module(X)
    return module.train()


class Awkward(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.shared, self.frozen = nn.Linear(6, 6), nn.Linear(6, 6).requires_grad_(False)
        self.unused, self.last = nn.Linear(4, 4), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.frozen(self.shared(self.shared(x).tanh()).tanh()))


def product_error(tool, module, batches, before=lambda tool, module: None):
    H = dense(module)
    v = torch.randn(len(H), generator=GENERATOR)
    before(tool, module)
    got = tool.product(module, batches, v).double()
    return float((got - H @ v.double()).norm() / (H @ v.double()).norm())


def spectrum_error(tool, values, k, n=1000):
    d = torch.as_tensor(values).double()
    Q = torch.linalg.qr(torch.randn(len(d), len(d), dtype=torch.float64, generator=GENERATOR))[0]
    got = np.sort(tool.of_matrix((Q * d) @ Q.T, k, n))[::-1]
    true = np.sort(np.asarray(values))[::-1][:k]
    return float(np.abs(got - true).max() / max(np.abs(values).max(), 1e-12))


ONE = [(X, Y)]
RAGGED = [(x, y) for x, y in zip(X.split(32), Y.split(32), strict=True)]
BULK = np.random.RandomState(0).rand(400)


def second_object(tool, module):
    tool.product(module, ONE, torch.ones(sum(p.numel() for p in module.parameters())))


def stale_gradients(tool, module):
    for p in module.parameters():
        p.grad = torch.full_like(p, 7.0)


def changed_state(tool, module):
    before = [b.clone() for b in module.buffers()], module.training
    error = product_error(tool, module, ONE)
    same = all(torch.equal(a, b) for a, b in zip(before[0], module.buffers(), strict=True))
    return max(error, 0.0 if same and module.training == before[1] else 1.0)


def cancellation(tool):
    module = mlp()
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(3)
    true = torch.linalg.eigvalsh(dense(module)).flip(0)[:3].numpy()
    got = np.sort(tool.eigenvalues(module, ONE, 3))[::-1]
    return float(np.abs(got - true).max() / true[0])


TRAPS = {
    "ragged batch": lambda t: product_error(t, mlp(), RAGGED),
    "second object on the same module": lambda t: product_error(t, mlp(), ONE, second_object),
    "stale gradients": lambda t: product_error(t, mlp(), ONE, stale_gradients),
    "ghosts (k = 20, 120 products)": lambda t: spectrum_error(
        t, np.r_[60.0, np.linspace(1, 5, 19), BULK], 20, 120
    ),
    "clusters, repeated eigenvalues": lambda t: spectrum_error(
        t, np.r_[[10.0] * 5, 7 + 1e-8 * np.arange(4), BULK], 9
    ),
    "indefinite spectrum": lambda t: spectrum_error(
        t, np.r_[np.linspace(-20, -10, 5), 3.5, 9, 12, BULK], 3
    ),
    "BatchNorm in train mode": lambda t: changed_state(t, with_layer(nn.BatchNorm1d(8))),
    "active dropout": lambda t: changed_state(t, with_layer(nn.Dropout(0.5))),
    "unused, frozen, tied parameters": lambda t: product_error(t, Awkward(), ONE),
    "cancellation in float32": cancellation,
    "rank below k": lambda t: spectrum_error(t, np.r_[3.0, 2, 1, np.zeros(300)], 6),
    "zero Hessian": lambda t: spectrum_error(t, np.zeros(300), 3),
}
LIMIT = 1e-3


def verdict(tool, trap):
    """Text for the table, and whether the tool fell for the trap."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            error = TRAPS[trap](tool)
    except Noticed as notice:
        return f"noticed: {notice}", False
    except Exception as error:  # whatever a peer raises is an answer of its own
        return f"raises {type(error).__name__}", tool.name == "sklflat"
    if error <= LIMIT:
        return f"right ({error:.0e})", False
    return f"**wrong** ({error:.2g})", True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if sklflat is caught")
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # PyHessian's backward(create_graph=True)
    tools = [Sklflat(), Curvlinops(), PyHessian()]
    caught = {tool.name: 0 for tool in tools}
    lines = [
        "# Twelve traps for curvature",
        "",
        f"Relative errors; wrong means more than {LIMIT:g} off without a word. A tool that raises",
        "or says that it did not converge has noticed.",
        "",
        "| trap | " + " | ".join(tool.name for tool in tools) + " |",
        "|---|" + "---|" * len(tools),
    ]
    for trap in TRAPS:
        cells = []
        for tool in tools:
            text, fell = verdict(tool, trap)
            caught[tool.name] += fell
            cells.append(text)
        lines.append(f"| {trap} | " + " | ".join(cells) + " |")
    n = len(TRAPS)
    counts = " | ".join(f"{n - caught[tool.name]} of {n}" for tool in tools)
    lines.append(f"| **passed** | {counts} |")
    TABLE.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if options.check and caught["sklflat"]:
        raise SystemExit("sklflat fell for a trap")


if __name__ == "__main__":
    main()
