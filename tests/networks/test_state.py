import pytest
import torch
from torch import nn

from sklflat.networks import MLP
from sklflat.networks.state import check_same_architecture, mix, read_state, write_state
from tests.cases import CASES


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, X):
        return self.second(torch.tanh(self.first(X)))


@pytest.mark.parametrize("name", CASES)
def test_a_written_state_is_the_function_it_was_read_from(name):
    case = CASES[name]
    a, b = case.module(0), case.module(1)
    X = case.rows(5)
    write_state(b, read_state(a))
    torch.testing.assert_close(b(X.clone()), a(X.clone()), rtol=0, atol=0)


def test_a_state_is_a_copy():
    module = nn.Linear(2, 1)
    state = read_state(module)
    nn.init.zeros_(module.weight)
    assert state["weight"].abs().sum() > 0
    assert not state["weight"].requires_grad


def test_tied_parameters_are_there_once_and_stay_tied():
    a, b = Tied(), Tied()
    state = read_state(a)
    assert sorted(state) == ["first.bias", "first.weight", "second.bias"]
    write_state(b, state)
    assert b.second.weight is b.first.weight
    assert torch.equal(b.second.weight, a.first.weight)


def test_integers_are_those_of_the_first():
    norms = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    norms[0](torch.randn(4, 2))
    states = [read_state(norm) for norm in norms]
    mixed = mix(states, [0.5, 0.5])
    assert mixed["num_batches_tracked"] == 1
    expected = (norms[0].running_var + 1) / 2
    torch.testing.assert_close(mixed["running_var"], expected)


def test_an_end_is_exact_whatever_the_other_is():
    a, b = {"w": torch.tensor([0.1, -0.3])}, {"w": torch.tensor([torch.nan, torch.inf])}
    assert torch.equal(mix([a, b], [1.0, 0.0])["w"], a["w"])
    assert mix([a, b], [0.5, 0.5])["w"].isfinite().sum() == 0


def test_another_architecture_is_named():
    with pytest.raises(ValueError, match=r"'hidden.linear_0.weight' is \(4, 3\).* \(5, 3\)"):
        check_same_architecture(MLP(3, 2, (4,)), MLP(3, 2, (5,)))
    with pytest.raises(ValueError, match=r"'bias' is \(2,\) in one and absent"):
        check_same_architecture(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))
    with pytest.raises(ValueError, match=r"'bias' is absent in one and \(2,\)"):
        write_state(nn.Linear(2, 2, bias=False), read_state(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="coefficients must be 1"):
        mix([{}], [0.5, 0.5])
