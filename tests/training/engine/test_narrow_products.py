"""Products of stacked matrices with few columns are the same products."""

import numpy as np
import pytest
import torch

from sklflat.training.engine.narrow_products import in_best_order, narrow_product, outer_product

BMM = torch.ops.aten.bmm.default


@pytest.mark.parametrize("shape", [(3, 9, 7, 2), (1, 40, 5, 31), (2, 3, 1, 2), (2, 4, 0, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_product(shape, seed):
    R, m, k, n = shape
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(R, k, m)).transpose(0, 2, 1), rng.normal(size=(R, k, n))
    found = narrow_product(torch.as_tensor(a), torch.as_tensor(b))
    np.testing.assert_allclose(found, np.einsum("rmk,rkn->rmn", a, b), rtol=1e-13, atol=1e-14)
    assert found.is_contiguous()  # as the operation's own result


@pytest.mark.parametrize("transposed", [False, True])
def test_a_column_times_a_row_is_their_outer_product(transposed):
    a, b = torch.randn(3, 9, 1, dtype=torch.float64), torch.randn(3, 1, 7, dtype=torch.float64)
    if transposed:  # as a backward pass brings them
        a, b = a.mT.contiguous().mT, b.mT.contiguous().mT
    found = in_best_order(BMM, (a, b))(a, b)
    assert in_best_order(BMM, (a, b)) is outer_product
    np.testing.assert_array_equal(found, np.einsum("ri,rj->rij", a[..., 0], b[:, 0]))
    assert found.is_contiguous()


@pytest.mark.parametrize(
    ("m", "n", "narrow"),
    [(100, 2, True), (100, 31, True), (100, 32, False), (8, 8, False), (9, 8, True), (9, 1, False)],
)
def test_few_columns_are_meant(m, n, narrow):
    args = torch.zeros(2, m, 5), torch.zeros(2, 5, n)
    assert in_best_order(BMM, args) is (narrow_product if narrow else BMM)
    assert in_best_order(torch.ops.aten.mul.Tensor, args) is torch.ops.aten.mul.Tensor
    meta = tuple(a.to("meta") for a in args)
    assert in_best_order(BMM, meta) is BMM  # other machines have other libraries
