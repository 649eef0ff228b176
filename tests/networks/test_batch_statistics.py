"""Statistics of batch normalisation are those of all rows, however they are cut into batches."""

import copy

import pytest
import torch
from torch import nn

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.batch_statistics import recompute_batch_statistics

GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.randn(41, 3, 8, generator=GENERATOR, dtype=torch.float64)
ROWS[-2:] += 9


class CalledTwice(nn.Module):
    """One normalisation of two inputs, the second of which depends on the first."""

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(3), nn.Conv1d(3, 2, 3)

    def forward(self, X):
        return self.last(self.norm(self.norm(X).exp()))


class Scaled(nn.BatchNorm1d):
    def forward(self, X):
        return 2 * super().forward(X)


def convolutions():
    return nn.Sequential(
        nn.Conv1d(3, 4, 3),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.Conv1d(4, 5, 3),
        nn.BatchNorm1d(5, momentum=None),
        nn.Flatten(),
        nn.Linear(20, 6),
        nn.BatchNorm1d(6, affine=False),
    )


def instances():
    norm = nn.InstanceNorm1d(3, track_running_stats=True)
    return nn.Sequential(nn.BatchNorm1d(3), nn.Tanh(), norm, nn.Tanh(), nn.BatchNorm1d(3))


def subclass():
    return nn.Sequential(Scaled(3), nn.Conv1d(3, 2, 1), nn.Tanh(), nn.BatchNorm1d(2))


def trained_on_all_rows(module):
    """The module after one pass in training mode over all rows as one batch."""
    module = copy.deepcopy(module)
    for part in module.modules():
        if hasattr(part, "momentum"):
            part.reset_running_stats()
            part.momentum = 1.0 if isinstance(part, nn.InstanceNorm1d) else None
    module.train()(ROWS)
    return module.eval()


@pytest.mark.parametrize("make", [convolutions, CalledTwice, instances, subclass])
@pytest.mark.parametrize("sizes", [[41], [40, 1], [14, 0, 14, 13], [1] * 41])
def test_statistics_are_those_of_one_batch_of_all_rows(make, sizes):
    torch.manual_seed(0)
    module = make().double()
    right = trained_on_all_rows(module)
    module.train()[0].eval() if isinstance(module, nn.Sequential) else None
    flags = [part.training for part in module.modules()]
    momenta = [getattr(part, "momentum", None) for part in module.modules()]
    recompute_batch_statistics(module, ROWS.split(sizes))
    for name, buffer in right.named_buffers():
        if "num" not in name:
            torch.testing.assert_close(module.get_buffer(name), buffer, rtol=1e-9, atol=1e-9)
    assert flags == [part.training for part in module.modules()]
    assert momenta == [getattr(part, "momentum", None) for part in module.modules()]


def test_the_order_of_rows_does_not_matter_in_single_precision():
    norm, X = nn.BatchNorm1d(1), torch.randn(1026, 1, generator=GENERATOR)
    X[-2:] += 9
    for rows in (X, X.flip(0)):
        recompute_batch_statistics(norm, rows.split(1024))
        torch.testing.assert_close(norm.running_mean, X.mean(0), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(norm.running_var, X.var(0), rtol=1e-6, atol=1e-6)


def test_a_large_mean_costs_no_digits():
    norm, X = nn.BatchNorm1d(1), 1e4 + torch.randn(4096, 1, generator=GENERATOR)
    recompute_batch_statistics(norm, X.split(64))
    torch.testing.assert_close(norm.running_var.double(), X.double().var(0), rtol=1e-3, atol=0)


def test_dropout_is_off():
    module = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)).double()
    recompute_batch_statistics(module, ROWS.split(20))
    torch.testing.assert_close(module[1].running_mean, ROWS.mean((0, 2)), rtol=1e-9, atol=1e-9)


def test_a_layer_that_is_not_called_keeps_its_statistics():
    module = nn.Module()
    module.used, module.unused = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    module.unused.running_mean += 5
    module.forward = lambda X: module.used(X)
    recompute_batch_statistics(module.double(), [ROWS])
    assert module.unused.running_mean.tolist() == [5, 5, 5]
    assert module.used.running_mean.abs().max() > 0


def test_one_value_has_no_variance():
    with pytest.raises(ValueError, match="at least two values of a channel"):
        recompute_batch_statistics(nn.BatchNorm1d(3), [torch.ones(1, 3)])


def test_layers_that_depend_on_the_rows():
    class Routed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

        def forward(self, X):
            return (self.a if X.mean() > 1 else self.b)(X)

    with pytest.raises(UnsupportedNetworkError, match="depends on the rows"):
        recompute_batch_statistics(Routed().double(), ROWS.split([39, 2]))
