"""Eigenpairs of matrices whose squares leave floating range are right, or not certified."""

import numpy as np
import pytest
import torch
from torch import nn

from sklflat.curvature import Hessian, MatrixOperator, eigenpairs
from sklflat.networks import Network

GENERATOR = torch.Generator().manual_seed(0)
A = torch.randn(700, 700, generator=GENERATOR, dtype=torch.float64)
A = (A + A.T) / 2
VALUES, VECTORS = np.linalg.eigh(A.numpy())


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e-100, 1e-30, 1e30, 1e100, 1e160, 1e200])
@pytest.mark.parametrize("size", [300, 700])
def test_eigenpairs_do_not_depend_on_the_unit(scale, size):
    part = A[:size, :size]
    right = np.linalg.eigvalsh(part.numpy())[::-1][:3]
    found = eigenpairs(MatrixOperator(part * scale), 3, tol=1e-6)
    np.testing.assert_allclose(found.values / scale, right, rtol=1e-6)
    assert found.converged.all()
    true = part @ found.vectors.T - found.vectors.T * torch.as_tensor(found.values / scale)
    np.testing.assert_allclose(true.norm(dim=0), found.residuals / scale, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-100, 1e-60, 1e60, 1e100])
def test_a_loss_of_extreme_inputs(scale):
    X = torch.randn(60, 30, generator=GENERATOR, dtype=torch.float64)
    network = Network(nn.Linear(30, 1, bias=False).double(), nn.MSELoss())
    operator = Hessian(network, X * scale, torch.zeros(60, 1, dtype=torch.float64))
    found = eigenpairs(operator, 2)
    right = np.linalg.eigvalsh((2 * X.T @ X / 60).numpy())[::-1][:2]
    np.testing.assert_allclose(found.values / scale**2, right, rtol=1e-8)
    assert found.converged.all()
