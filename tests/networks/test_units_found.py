"""Which layers of units are found, what they are called, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import MLP
from sklflat.networks.units import Units
from tests.cases import CASES


def test_names_follow_modules_functions_and_repetitions():
    def names(case):
        return [layer.name for layer in Units.find(CASES[case].module(), CASES[case].rows()).layers]

    assert names("mlp") == ["hidden.relu_0", "hidden.relu_1"]
    assert names("functional_mlp") == ["relu", "relu_1"]
    assert names("tied_mlp") == ["act", "act_1", "act_2"]
    assert names("functional_cnn") == ["relu", "tanh", "relu_1"]
    blocks = ["block1.relu", "block1.relu_1", "block2.relu", "block2.relu_1"]
    assert names("resnet") == ["relu", *blocks]


class Colliding(nn.Module):
    """The second call of ``relu`` would have the name of another module."""

    def __init__(self):
        super().__init__()
        self.linear, self.relu, self.relu_1 = nn.Linear(2, 2), nn.ReLU(), nn.ReLU()

    def forward(self, X):
        x = self.linear(self.relu(self.linear(X)))
        return self.linear(self.relu_1(self.linear(self.relu(x))))


def test_names_are_unique_where_modules_are_numbered_too():
    layers = Units.find(Colliding(), torch.zeros(1, 2)).layers
    assert [layer.name for layer in layers] == ["relu", "relu_2", "relu_1"]


def test_layers_are_chosen_by_name_or_by_what_feeds_them():
    module, X = CASES["tied_mlp"].module(), CASES["tied_mlp"].rows()
    everything = Units.find(module, X).activations(module, X)
    chosen = Units.find(module, X, layers=("act_2", "first"))
    assert [layer.name for layer in chosen.layers] == ["act", "act_2"]
    assert torch.equal(chosen.activations(module, X), everything[:, [*range(5), *range(10, 15)]])
    shared = Units.find(module, X, layers="shared")
    assert [layer.name for layer in shared.layers] == ["act_1", "act_2"]
    np.testing.assert_array_equal(shared.layer_of, [0] * 5 + [1] * 5)
    np.testing.assert_array_equal(shared.channel_of, [*range(5)] * 2)


def functions(names):
    return [getattr(F, name) for name in names.split()]


@pytest.mark.parametrize(
    "nonlinearity",
    [
        F.relu,
        torch.relu,
        torch.Tensor.relu,
        lambda x: x.clone().relu_(),
        lambda x: F.relu(x.clone(), inplace=True),
        lambda x: x.clamp(min=0),
        lambda x: x.clamp_min(0.0),
        lambda x: torch.clip(x, 0),
        lambda x: x.clamp(0, 6),
        lambda x: torch.maximum(x, torch.zeros_like(x)),
        lambda x: torch.maximum(torch.tensor(0.0, dtype=x.dtype), x),
        lambda x: torch.max(x, torch.zeros(5, dtype=x.dtype)),
        *functions("relu6 leaky_relu rrelu elu selu celu gelu silu mish"),
        *functions("softplus softsign hardswish hardsigmoid hardtanh"),
        *functions("logsigmoid tanhshrink softshrink hardshrink"),
        lambda x: F.threshold(x, 0.1, -1.0),
        lambda x: torch.threshold(x, 0.1, -1.0),
        torch.sigmoid,
        torch.Tensor.tanh_,
        torch.celu_,
        nn.PReLU(dtype=torch.float64),
        nn.Softplus(),
        nn.Hardtanh(inplace=True),
        nn.RReLU(),
        nn.Threshold(0.1, -1.0),
    ],
)
@torch.no_grad()
def test_every_nonlinearity_in_every_spelling_makes_units(nonlinearity):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.out = nn.Linear(6, 5), nn.Linear(5, 1)
            self.act = nonlinearity if isinstance(nonlinearity, nn.Module) else None

        def forward(self, X):
            return self.out(nonlinearity(self.linear(X)))

    module, X = Net().double().eval(), CASES["mlp"].rows()
    units = Units.find(module, X)
    assert units.layers[0].aliases[0] == "linear"
    torch.testing.assert_close(units.activations(module, X), nonlinearity(module.linear(X)))


class Flexible(nn.Module):
    """``forward(X) = f(self, X)`` with some linear layers."""

    def __init__(self, forward):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.slope = nn.Parameter(torch.ones(3))
        self._forward = forward

    def forward(self, X):
        return self._forward(self, X)


X4 = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("forward", "names"),
    [
        (lambda m, X: m.c(torch.sigmoid(F.relu(m.a(X)))), ["sigmoid"]),
        (lambda m, X: m.c(F.relu(F.relu(m.a(X)))), ["relu_1"]),
        (lambda m, X: torch.sigmoid(m.c(F.relu(m.a(X)))), ["relu"]),
        (lambda m, X: m.c(F.relu(m.b(h := torch.tanh(m.a(X))) + h)), ["tanh", "relu"]),
        (lambda m, X: m.c(m.b(h := torch.tanh(m.a(X))) + F.relu(h)), ["tanh", "relu"]),
        (lambda m, X: m.c((h := m.a(X)) * torch.sigmoid(h)), ["sigmoid"]),
        (lambda m, X: m.c(m.a(X).relu() * F.softplus(m.slope)), ["relu"]),
        (lambda m, X: m.c(m.a(X).relu()).clamp(min=1e-6), ["relu"]),
        (lambda m, X: m.c(m.a(F.relu(X))[:, :3]), ["relu"]),
    ],
)
def test_which_nonlinearities_are_hidden_layers(forward, names):
    units = Units.find(Flexible(forward), X4)
    assert [layer.name for layer in units.layers] == names


@torch.no_grad()
def test_an_activation_is_seen_as_of_right_after_the_nonlinearity():
    def forward(m, X):
        h = m.a(X)
        a = F.relu(h)
        a += 100
        a.mul_(0)
        h.fill_(5.0)
        return m.c(a)

    module = Flexible(forward)
    units = Units.find(module, X4)
    torch.testing.assert_close(units.activations(module, X4), F.relu(module.a(X4)))


def test_dropout_is_off_and_activations_do_not_draw():
    module = nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5), nn.ReLU(), nn.Linear(50, 1)).train()
    units = Units.find(module, X4)
    torch.testing.assert_close(units.activations(module, X4), module[0](X4).relu().detach())


@pytest.mark.parametrize("n", [1, 2])
def test_few_rows_are_enough_and_lengths_that_collide_are_told_apart(n):
    """Positions, channels and rows of equal number: 5 of each."""
    module = nn.Sequential(nn.Conv1d(5, 5, 1), nn.ReLU(), nn.Flatten(), nn.Linear(25, 5))
    X = torch.randn(5, 5, 5)
    units = Units.find(module, X[:n])
    expected = module[:2](X).mean(2).detach()
    torch.testing.assert_close(units.activations(module, X), expected)


# --- what cannot be done -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "X", "message"),
    [
        (nn.Linear(4, 2), X4, "No hidden layer of units was found in Linear.*relu"),
        (nn.Sequential(nn.Linear(4, 2), nn.Sigmoid()), X4, r"Nothing with weights.*\['1'\]"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.ReLU()),
            X4,
            "cannot be run on X of shape",
        ),
        (nn.Bilinear(4, 4, 2), X4, r"missing 1 required positional argument.*nothing else"),
    ],
)
def test_networks_without_units_say_why(module, X, message):
    with pytest.raises(UnsupportedNetworkError, match=message):
        Units.find(module, X)


def test_recurrent_cells_are_refused():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.LSTMCell(4, 3), nn.Linear(3, 2)

        def forward(self, X):
            return self.head(self.cell(X)[0])

    with pytest.raises(UnsupportedNetworkError, match=r"layer \(lstm_cell\) cannot be seen"):
        Units.find(Recurrent(), torch.randn(3, 4))


def test_unknown_names_are_answered_with_the_nearest():
    module = MLP(4, 2, (3, 3))
    with pytest.raises(ValueError, match=r"'hiden.relu_1'.*Did you mean 'hidden.relu_1'\?"):
        Units.find(module, X4, layers=["hiden.relu_1"])
    with pytest.raises(ValueError, match=r"There are \['hidden.relu_0', 'hidden.relu_1'\]"):
        Units.find(module, X4, layers="output")
    with pytest.raises(ValueError, match=r"layers=\(\) names no layer"):
        Units.find(module, X4, layers=())
    units = Units.find(module, X4)
    with pytest.raises(ValueError, match=r"Did you mean 'hidden.relu_0\[0\]'"):
        units.index("hiden.relu_0[0]")


def test_rows_and_batch_sizes_that_make_no_sense():
    module = MLP(4, 2, (3,))
    units = Units.find(module, X4)
    for nothing in (X4[:0], torch.tensor(1.0)):
        with pytest.raises(ValueError, match="X must be a tensor of at least one row"):
            units.activations(module, nothing)
    with pytest.raises(ValueError, match="got ndarray"):
        Units.find(module, X4.numpy())
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        units.activations(module, X4, batch_size=0)


def test_another_network_is_not_mistaken_for_a_twin():
    units = Units.find(MLP(4, 2, (3, 3)), X4)
    for other, message in [
        (MLP(4, 2, (3,)), "made 1 of the 2 calls"),
        (MLP(4, 2, (3, 3, 3)), "calls 'relu' where it called 'nothing more'"),
        (MLP(4, 2, (3, 3), activation="tanh"), "calls 'tanh' where it called 'relu'"),
        (MLP(4, 2, (3, 5)), "5 units for 6 rows, where 3 units for 6 rows were expected"),
    ]:
        with pytest.raises(UnsupportedNetworkError, match=message):
            units.activations(other, X4)


def test_structure_that_depends_on_the_data_is_an_error():
    def forward(m, X):
        x = F.relu(m.a(X))
        return m.c(F.relu(m.b(x)) if X.sum() > 0 else x)

    module = Flexible(forward)
    units = Units.find(module, torch.ones(1, 4))
    with pytest.raises(UnsupportedNetworkError, match="depends on the data"):
        units.activations(module, -torch.ones(2, 4))
