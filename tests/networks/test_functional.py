"""The vector view of a module against the module's own loss and gradient."""

import pytest
import torch
from torch import nn

from sklflat.networks import ParameterVector
from sklflat.networks.evaluation import BufferSnapshot


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight

    def forward(self, X):
        return self.b(torch.tanh(self.a(X)))


class Frozen(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
        self[0].weight.requires_grad_(False)


class Unused(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 3))
        self.extra = nn.Parameter(torch.ones(2))


@pytest.mark.parametrize("make", [lambda: nn.Linear(3, 3), Tied, Frozen, Unused])
def test_function_and_gradient_are_the_modules_own(make):
    torch.manual_seed(0)
    module = make().double()
    X, y = torch.randn(8, 3, dtype=torch.float64), torch.randint(0, 3, (8,))
    vector = ParameterVector.of(module)
    f = vector.function(module, nn.functional.cross_entropy)
    w = vector.read()
    gradient, value = torch.func.grad_and_value(f)(w, X, y)
    loss = nn.functional.cross_entropy(module(X), y)
    own = torch.autograd.grad(loss, vector.parameters, allow_unused=True)
    torch.testing.assert_close(value, loss.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, vector.join(own), rtol=0, atol=1e-12)


def test_length_counts_tied_once_and_frozen_never():
    assert len(ParameterVector.of(Tied())) == 9 + 3 + 3
    assert len(ParameterVector.of(Frozen())) == 3 + 9 + 3


def test_write_keeps_storage_and_read_inverts_it():
    module = Tied()
    vector = ParameterVector.of(module)
    pointers = [p.data_ptr() for p in vector.parameters]
    w = torch.arange(15.0)
    vector.write(w)
    assert torch.equal(vector.read(), w)
    assert [p.data_ptr() for p in vector.parameters] == pointers
    assert module.b.weight is module.a.weight


def test_biases_are_known_by_name_also_inside_attention():
    module = nn.MultiheadAttention(4, 2)
    vector = ParameterVector.of(module)
    expected = {name for name, _ in module.named_parameters() if "bias" in name}
    views = vector.views(vector.is_weight)
    found = {n for n, v in zip(vector.names, views, strict=True) if not v.any()}
    assert found == expected == {"in_proj_bias", "out_proj.bias"}


def test_half_precision_is_read_in_single():
    module = nn.Linear(2, 2).to(torch.bfloat16)
    vector = ParameterVector.of(module)
    before = [p.clone() for p in module.parameters()]
    w = vector.read()
    assert w.dtype == torch.float32
    vector.write(w)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_nothing_to_train_is_an_error():
    module = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter with requires_grad=True"):
        ParameterVector.of(module)


def test_snapshot_restores_replaced_buffers_too():
    module = nn.BatchNorm1d(2)
    snapshot = BufferSnapshot(module)
    module(torch.randn(5, 2))
    module.running_var = torch.full((2,), 9.0)
    snapshot.restore()
    assert module.running_mean.tolist() == [0, 0]
    assert module.running_var.tolist() == [1, 1]
    assert module.num_batches_tracked == 0
