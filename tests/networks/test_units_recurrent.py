"""Units of recurrent layers: the channels of the hidden state over time."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import AblationProbe, ActivationProbe, HessianSpectrum, from_module
from sklflat.networks import ParameterVector
from sklflat.networks.units import Units

pytestmark = pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
X = torch.randn(30, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
H = 5


class Net(nn.Module):
    def __init__(self, kind, reads, **options):
        super().__init__()
        torch.manual_seed(0)
        self.recurrent = kind(4, H, **options).double()
        self.reads = reads
        width = H * (2 if options.get("bidirectional") else 1)
        self.last = nn.Linear(width if reads != "state" else H, 3).double()

    def forward(self, X):
        batch_first = self.recurrent.batch_first
        out, state = self.recurrent(X if batch_first else X.transpose(0, 1))
        state = state[0] if isinstance(state, tuple) else state
        if self.reads == "state":
            return self.last(state[-1])
        out = out if batch_first else out.transpose(0, 1)
        return self.last(out.mean(1) if self.reads == "mean" else out[:, -1])


KINDS = [nn.LSTM, nn.GRU, nn.RNN]
OPTIONS = [
    {"batch_first": True},
    {},
    {"batch_first": True, "num_layers": 2},
    {"batch_first": True, "bidirectional": True},
    {"batch_first": True, "bidirectional": True, "num_layers": 2, "bias": False},
]
CASES = list(itertools.product(KINDS, ["mean", "last", "state"], OPTIONS))


def outputs_of(net):
    with torch.no_grad():
        batch_first = net.recurrent.batch_first
        out, _ = net.recurrent(X if batch_first else X.transpose(0, 1))
    return out if batch_first else out.transpose(0, 1)


@pytest.mark.parametrize(("kind", "reads", "options"), CASES)
def test_activations_are_the_mean_of_the_output_over_time(kind, reads, options):
    net = Net(kind, reads, **options)
    units = Units.find(net, X[:4])
    assert [layer.name for layer in units.layers] == ["recurrent"]
    torch.testing.assert_close(units.activations(net, X), outputs_of(net).mean(1))


@pytest.mark.parametrize(("kind", "reads", "options"), CASES)
def test_what_replaces_the_state_is_what_is_read(kind, reads, options):
    net = Net(kind, reads, **options)
    units = Units.find(net, X[:4])
    out = outputs_of(net) * 2 + 1
    ends = {"mean": out.mean(1), "last": out[:, -1], "state": out[:, -1]}
    if reads == "state" and options.get("bidirectional"):
        ends["state"] = out[:, 0, H:]  # the backward direction ends at the first step
    with torch.no_grad(), units.replaced(lambda layer, a: 2 * a + 1):
        z = net(X)
    torch.testing.assert_close(z, net.last(ends[reads]).detach())
    with torch.no_grad(), units.replaced(lambda layer, a: a):
        torch.testing.assert_close(net(X), net(X))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_incoming_entries_make_the_unit(kind, options):
    net = Net(kind, "last", **options)
    vector, units = ParameterVector.of(net), Units.find(net, X[:4])
    blocks = units.incoming(vector)
    w, names = vector.read(), vector.names
    last = f"_l{options.get('num_layers', 1) - 1}"
    for u in range(len(units)):
        entries = blocks.indices(u)
        own = torch.zeros(len(w), dtype=bool)
        own[entries] = True
        for name, part in zip(names, vector.views(own.double()), strict=True):
            assert bool(part.any()) == (last in name and ("reverse" in name) == (u >= H)), (u, name)
        # without its weights the state stays at 0 (an update gate of 1/2 keeps it there)
        silenced = w.clone()
        silenced[entries] = 0
        vector.write(silenced)
        state = outputs_of(net)[..., u]
        torch.testing.assert_close(state, torch.zeros_like(state))
    vector.write(w)


def test_outgoing_entries_are_the_columns_of_the_reader():
    net = Net(nn.GRU, "mean", batch_first=True)
    vector, units = ParameterVector.of(net), Units.find(net, X[:4])
    blocks, w = units.outgoing(vector), vector.read()
    start = len(w) - net.last.weight.numel() - 3
    for u in range(H):
        assert blocks.indices(u).tolist() == [start + u + H * c for c in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_probes(kind):
    net = Net(kind, "state", batch_first=True)
    y = (X[:, -1, 0] > 0).long().numpy() + (X[:, -1, 1] > 0).long().numpy()
    model = from_module(net, classes=[0, 1, 2])
    loss = nn.CrossEntropyLoss()
    found = AblationProbe(model, random_state=0).fit(X.numpy(), y)
    state = outputs_of(net)
    plain = float(loss(net.last(state[:, -1]), torch.as_tensor(y)).detach())
    for u in range(H):
        silenced = state[:, -1].clone()
        silenced[:, u] = state[..., u].mean()
        rise = float(loss(net.last(silenced), torch.as_tensor(y)).detach()) - plain
        assert found.unit_scores_[u] == pytest.approx(rise, abs=1e-9)
    for probe in (ActivationProbe, HessianSpectrum):
        assert len(probe(model, random_state=0).fit(X.numpy(), y).unit_scores_) == H
    assert np.isfinite(found.transform(X.numpy())).all()
