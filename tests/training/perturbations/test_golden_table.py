"""The published two-layer table: SAM's trajectory over 20 000 steps, not only its first."""

import pytest
import torch

from benchmarks.golden_two_layer import PUBLISHED, run_row


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_two_layer_row(rho):
    published, got = PUBLISHED[rho], run_row(rho)
    assert got.train_loss == pytest.approx(published.train_loss, rel=1e-3)
    assert got.test_loss == pytest.approx(published.test_loss, rel=1e-3)
    assert abs(got.rank - published.rank) <= 1
    # Some units are active by 1e-8, which is how floating point happens to round.
    assert abs(got.active - published.active) <= 2
    assert abs(got.distinct - published.distinct) <= 2
