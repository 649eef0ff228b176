"""Following the top eigenpairs of a matrix that turns, against a dense decomposition."""

import numpy as np
import pytest
import torch

from sklflat.curvature import MatrixOperator, subspace_overlap
from sklflat.curvature.tracking import follow_top

VALUES = torch.cat([torch.tensor([10.0, -8.0, 6.0, 5.0]), torch.linspace(1, 0, 296)]).double()


def turned(angle, seed=0):
    """A matrix with these eigenvalues, turned in random planes; the top four vectors."""
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(300, 300, generator=generator, dtype=torch.float64)
    Q = torch.linalg.qr(torch.eye(300).double() + angle * (A - A.T) / 30)[0]
    return MatrixOperator(Q @ torch.diag(VALUES) @ Q.T), Q[:, :4].T


@pytest.mark.parametrize("angle", [0.0, 0.1, 0.3])
def test_a_few_products_follow_a_matrix_that_has_turned(angle):
    V = turned(0.0)[1]
    start = VALUES[:4], V
    now, expected = turned(angle)
    found = follow_top(now, 8, start)
    assert now.n_matvec <= 16
    assert len(found.values) == 4  # ahead of the gap
    assert subspace_overlap(found.vectors, expected) > 0.99
    np.testing.assert_allclose(found.values, VALUES[:4], rtol=0.01)
    gram = found.vectors @ found.vectors.T
    np.testing.assert_allclose(gram, np.eye(4), atol=1e-10)
    assert 1 - found.retained == pytest.approx(0, abs=1e-9) if angle == 0 else found.retained < 1


def test_without_a_start_and_in_few_dimensions():
    for p in (1, 2, 5):
        A = MatrixOperator(torch.diag(torch.arange(1.0, p + 1)).double())
        found = follow_top(A, max(1, p - 1))
        assert 1 <= len(found.values) <= max(1, p - 1)
        assert np.isnan(found.retained)
        assert float(found.values[0]) == pytest.approx(p)
    zero = follow_top(MatrixOperator(torch.zeros(30, 30).double()), 4)
    assert not zero.values.any()
    again = follow_top(MatrixOperator(torch.zeros(30, 30).double()), 4, zero[:2])
    assert again.retained == 0
