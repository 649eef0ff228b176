"""Blocks of the parameter vector in closed form, and where there are none."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import MLP, ParameterVector
from sklflat.networks.units import Blocks, Units
from tests.cases import CASES

X4 = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """``forward(X) = f(self, X)`` with some parts."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.a, self.c = nn.Linear(4, 3), nn.Linear(3, 2)
        for name, part in parts.items():
            setattr(self, name, part)
        self._forward = forward

    def forward(self, X):
        return self._forward(self, X)


def named_blocks(module, X, direction, layer=0):
    """For each unit of a layer: sets of (parameter, index)."""
    units, vector = Units.find(module, X), ParameterVector.of(module)
    blocks = getattr(units, direction)(vector)
    places = [
        (name, tuple(index.tolist()))
        for name, p in zip(vector.names, vector.parameters, strict=True)
        for index in (p == p).nonzero()
    ]
    return [
        {places[entry] for entry in blocks.indices(unit).tolist()}
        for unit in range(len(units))
        if units.layer_of[unit] == layer
    ]


def rows(name, n, unit):
    return {(name, (unit, i)) for i in range(n)}


def columns(name, n, unit):
    return {(name, (i, unit)) for i in range(n)}


def test_mlp_in_closed_form():
    module = MLP(4, 2, (3, 5))
    for layer, (n_in, n_out) in enumerate([(4, 5), (3, 2)]):
        after = "hidden.linear_1" if layer == 0 else "output"
        incoming = named_blocks(module, X4, "incoming", layer)
        outgoing = named_blocks(module, X4, "outgoing", layer)
        for u in range(len(incoming)):
            own = f"hidden.linear_{layer}"
            assert incoming[u] == rows(f"{own}.weight", n_in, u) | {(f"{own}.bias", (u,))}
            assert outgoing[u] == columns(f"{after}.weight", n_out, u)


def test_a_layer_that_is_called_twice_has_one_set_of_weights():
    module, X = CASES["tied_mlp"].module(), CASES["tied_mlp"].rows()
    for layer in (1, 2):
        for u, block in enumerate(named_blocks(module, X, "incoming", layer)):
            assert block == rows("shared.weight", 5, u) | {("shared.bias", (u,))}
    for layer in (0, 1):
        for u, block in enumerate(named_blocks(module, X, "outgoing", layer)):
            assert block == columns("shared.weight", 5, u)


def test_a_transposed_weight_feeds_and_reads():
    module, X = CASES["tied_autoencoder"].module(), CASES["tied_autoencoder"].rows()
    incoming, outgoing = (named_blocks(module, X, d) for d in ("incoming", "outgoing"))
    for u in range(4):
        assert outgoing[u] == rows("weight", 6, u)
        assert incoming[u] == rows("weight", 6, u) | {("bias", (u,))}


def test_a_residual_stream_is_read_where_the_unit_is_its_only_one():
    module, X = CASES["attention"].module(), CASES["attention"].rows()
    for u, block in enumerate(named_blocks(module, X, "outgoing")):
        readers = [("qkv.weight", 12), ("up.weight", 7), ("head.weight", 3)]
        assert block == set().union(*(columns(name, n, u) for name, n in readers))


def test_a_gate_is_read_by_what_reads_the_product():
    module, X = CASES["gated_mlp"].module(), CASES["gated_mlp"].rows()
    for u, block in enumerate(named_blocks(module, X, "outgoing", 1)):
        assert block == columns("head.weight", 3, u)


def test_weight_normalisation_gives_a_unit_its_direction_and_its_length():
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    for i in (0, 2):
        parametrizations.weight_norm(module[i])
    g, v = (f"parametrizations.weight.original{i}" for i in (0, 1))
    units = Units.find(module, X4)
    assert units.layers[0].aliases == ("0",)
    for u, block in enumerate(named_blocks(module, X4, "incoming")):
        assert block == rows(f"0.{v}", 4, u) | {(f"0.{g}", (u, 0)), ("0.bias", (u,))}
    for u, block in enumerate(named_blocks(module, X4, "outgoing")):
        assert block == columns(f"2.{v}", 2, u)


def test_spectral_normalisation_counts_as_a_constant():
    module = nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(4, 3)), nn.ReLU(), nn.Linear(3, 2)
    )
    weight = "0.parametrizations.weight.original"
    for u, block in enumerate(named_blocks(module, X4, "incoming")):
        assert block == rows(weight, 4, u) | {("0.bias", (u,))}


def test_factors_and_shifts_of_a_channel_are_its_units_and_those_of_all_are_nobodys():
    def forward(m, X):
        return m.c(F.relu(m.gain * m.norm(m.scale * m.a(X) + m.shift)))

    parts = {"scale": torch.ones(3), "shift": torch.ones(1, 3), "gain": torch.ones(1)}
    module = Net(forward, norm=nn.LayerNorm(3), **{k: nn.Parameter(v) for k, v in parts.items()})
    for u, block in enumerate(named_blocks(module, X4, "incoming")):
        own = {("scale", (u,)), ("shift", (0, u)), ("norm.weight", (u,)), ("norm.bias", (u,))}
        assert block == rows("a.weight", 4, u) | {("a.bias", (u,))} | own


def test_layers_in_a_row_with_no_nonlinearity_between_feed_by_the_last():
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    for u, block in enumerate(named_blocks(module, X4, "incoming")):
        assert block == rows("1.weight", 3, u) | {("1.bias", (u,))}


def test_a_nonlinearity_of_a_nonlinearity_is_fed_by_what_feeds_that():
    module = Net(lambda m, X: m.c(torch.tanh(F.relu(m.a(X)).mul(2))))
    units = Units.find(module, X4)
    assert [layer.aliases for layer in units.layers] == [("a",)]
    for u, block in enumerate(named_blocks(module, X4, "incoming")):
        assert block == rows("a.weight", 4, u) | {("a.bias", (u,))}


def test_frozen_parameters_are_left_out():
    module = MLP(4, 2, (3,))
    module.hidden.linear_0.weight.requires_grad_(False)
    incoming, outgoing = (named_blocks(module, X4, d) for d in ("incoming", "outgoing"))
    assert incoming == [{("hidden.linear_0.bias", (u,))} for u in range(3)]
    assert outgoing == [columns("output.weight", 2, u) for u in range(3)]


class LowRank(nn.Module):
    def __init__(self):
        super().__init__()
        self.b, self.a = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2, 4))

    def forward(self, weight):
        return weight + self.b @ self.a


def unseen(x):
    return torch.from_numpy(2 * x.detach().numpy())


@pytest.mark.parametrize(
    ("direction", "make", "message"),
    [
        (
            "outgoing",
            lambda: Net(lambda m, X: m.c(torch.fft.fft(F.relu(m.a(X))).real)),
            r"The outgoing weights of the units of layer 'relu' are not known: 'fft_fft'",
        ),
        (
            "incoming",
            lambda: Net(lambda m, X: m.c(F.relu(torch.fft.fft(m.a(X)).real))),
            r"The incoming weights of the units of layer 'relu' are not known: 'fft_fft'",
        ),
        ("outgoing", lambda: Net(lambda m, X: m.c(unseen(F.relu(m.a(X))))), "does not show"),
        ("incoming", lambda: Net(lambda m, X: m.c(F.relu(unseen(m.a(X))))), "does not show"),
        (
            "outgoing",
            lambda: Net(lambda m, X: m.lstm(F.relu(m.a(X)))[0], lstm=nn.LSTM(3, 2)),
            "'lstm' stands between",
        ),
        ("incoming", lambda: Net(lambda m, X: m.c(F.relu(m.a(X).sort(1)[0]))), "'sort' stands"),
        (
            "incoming",
            lambda: Net(lambda m, X: m.c(F.relu(m.a(X).mean(1, True)).expand(-1, 3))),
            "'an operation across channels' stands",
        ),
    ],
)
def test_what_cannot_be_followed_is_never_guessed(direction, make, message):
    module = make()
    units, vector = Units.find(module, X4), ParameterVector.of(module)
    assert [layer.name for layer in units.layers] == ["relu"]
    with pytest.raises(UnsupportedNetworkError, match=message):
        getattr(units, direction)(vector)


def test_low_rank_weights_are_not_taken_for_full_ones():
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    parametrize.register_parametrization(module[0], "weight", LowRank())
    units = Units.find(module, X4)
    with pytest.raises(UnsupportedNetworkError, match="a product of parameters"):
        units.incoming(ParameterVector.of(module))


def test_a_view_that_is_worked_on_in_place_blurs_what_it_was_made_of():
    def forward(m, X):
        h = m.a(X)
        h[:, :2].relu_()
        return m.c(torch.tanh(h))

    module = Net(forward)
    units = Units.find(module, X4)
    with pytest.raises(UnsupportedNetworkError, match="relu in place on a view"):
        units.incoming(ParameterVector.of(module))


def test_the_vector_of_another_network_is_refused():
    units = Units.find(MLP(4, 2, (3,)), X4)
    with pytest.raises(ValueError, match=r"named \['0.weight', '0.bias'\] and so on, none"):
        units.incoming(ParameterVector.of(nn.Sequential(nn.Linear(4, 3))))
    with pytest.raises(ValueError, match=r"'hidden.linear_0.weight' of vector has shape \(5, 4\)"):
        units.incoming(ParameterVector.of(MLP(4, 2, (5,))))


def test_blocks_sum_squares_to_squared_norms():
    module = MLP(4, 2, (3,)).double()
    vector = ParameterVector.of(module)
    w = vector.read()
    blocks = Units.find(module, X4).incoming(vector)
    first = module.linears[0]
    expected = first.weight.square().sum(1) + first.bias.square()
    torch.testing.assert_close(blocks.sum(w.square()), expected.detach())
    both = blocks.sum(torch.stack([w, -w]))
    torch.testing.assert_close(both[0], -both[1])
    assert blocks.sizes.tolist() == [5, 5, 5]


def test_blocks_may_be_empty_and_units_must_exist():
    blocks = Blocks(torch.tensor([0, 2]), torch.tensor([0, 0]), 2)
    assert blocks.sum(torch.tensor([1.0, 2.0, 4.0])).tolist() == [5, 0]
    assert blocks.indices(0).tolist() == [0, 2]
    assert blocks.indices(1).tolist() == []
    for unit in (-1, 2):
        with pytest.raises(IndexError, match=f"unit={unit} is not among the 2 units"):
            blocks.indices(unit)
