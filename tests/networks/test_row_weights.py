"""Weights of binary cross-entropy: of outputs they are part of it, of rows they are refused."""

import pytest
import torch
from torch import nn

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Criterion

Z = torch.randn(6, 3, generator=torch.manual_seed(0), dtype=torch.float64)
Y = (Z > 0.3).double()


@pytest.mark.parametrize("kind", [nn.BCEWithLogitsLoss, nn.BCELoss])
@pytest.mark.parametrize("shape", [(6, 1), (6, 3)])
def test_weights_of_the_rows_of_a_batch_are_refused_by_name(kind, shape):
    z = Z if kind is nn.BCEWithLogitsLoss else Z.sigmoid()
    criterion = Criterion(kind(weight=torch.rand(shape, dtype=torch.float64)))
    with pytest.raises(UnsupportedNetworkError, match="as sample_weight"):
        criterion.terms(z, Y)
    with pytest.raises(UnsupportedNetworkError, match="as sample_weight"):
        Criterion(kind(weight=torch.rand(6, dtype=torch.float64))).terms(z[:, 0], Y[:, 0])


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 1), (1,)])
def test_weights_of_outputs_are_part_of_the_criterion(shape):
    own = nn.BCEWithLogitsLoss(weight=torch.rand(shape, dtype=torch.float64))
    criterion = Criterion(own)
    totals = [criterion.terms(Z[rows], Y[rows]) for rows in (slice(0, 4), slice(4, 6))]
    losses, weights = (torch.cat(parts).sum() for parts in zip(*totals, strict=True))
    assert float(losses / weights) == pytest.approx(float(own(Z, Y)), rel=1e-12)
