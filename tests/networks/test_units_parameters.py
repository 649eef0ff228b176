"""Which parameters are a unit's, against gradients of the network.

Whether an entry matters is a matter of structure, so it does if it does for any of some weights:
a dead unit or a pair of units that are never active together are accidents of one of them.
"""

import pytest
import torch

from sklflat.networks import ParameterVector
from sklflat.networks.units import Units
from tests._slow import slow_unless
from tests.cases import CASES

SEEDS = range(3)

# Here an entry of a weight also reads something else, so that it matters when a unit is silent;
# or what a silent unit is multiplied with does not matter any more.
READ_OTHERWISE = {("attention", "gelu"), ("gated_mlp", "silu")}
TIED = ("tied_mlp", "tied_autoencoder")


def rows(case):
    X = case.rows(100)
    return 3 * X if X.is_floating_point() else X


def gradient(vector, number):
    parts = torch.autograd.grad(number, vector.parameters, retain_graph=True, allow_unused=True)
    return vector.join(parts)


def feeding(module, X, units, layer):
    """Whether an entry feeds a unit of a layer while those below are held, (n_units, p)."""
    seen = {}

    def hold(i, a):
        seen[i] = a
        return a.detach() if i < layer else a

    with units.replaced(hold):
        module(X)
    a = seen[layer].flatten(2) if seen[layer].ndim > 2 else seen[layer][..., None]
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(len(a), 1, a.shape[2], generator=generator, dtype=a.dtype)
    vector = ParameterVector.of(module)
    return torch.stack([gradient(vector, z) for z in (a * weights).sum((0, 2))]).abs() > 1e-12


def mattering(module, X, units, silent=None):
    """Whether an entry matters to the output, (p,), with a unit set to 0 if one is given."""

    def silence(i, a):
        if silent is None or i != units.layer_of[silent]:
            return a
        gone = torch.zeros(a.shape[1], dtype=a.dtype)
        gone[units.channel_of[silent]] = 1
        # its value is taken away, but not the way of the gradient through it
        return a - (a * gone.view(-1, *(1 for _ in a.shape[2:]))).detach()

    with units.replaced(silence):
        output = module(X)
    generator = torch.Generator().manual_seed(4)
    loss = (output.sin() * torch.randn(output.shape, generator=generator)).sum()
    return gradient(ParameterVector.of(module), loss).abs() > 1e-12


def over_twins(case, function, *args):
    """Whether something is true for any of a few networks of one structure."""
    units, X = Units.find(case.module(), case.rows()), rows(case)
    twins = [case.module(seed) for seed in SEEDS]
    return torch.stack([function(twin, X, units, *args) for twin in twins]).any(0)


def _is_quick(name):
    """All but those that are nearly others of the table, with as many units."""
    return name not in ("transformer_batch_second", "preactivation_resnet")


@pytest.mark.parametrize("name", slow_unless(_is_quick, CASES))
def test_incoming_entries_are_those_that_change_this_unit_only(name):
    units = Units.find(CASES[name].module(), CASES[name].rows())
    blocks = units.incoming(ParameterVector.of(CASES[name].module()))
    for index, layer in enumerate(units.layers):
        feeds = over_twins(CASES[name], feeding, index)
        alone = feeds & (feeds.sum(0) == 1)
        for channel in range(layer.n_units):
            unit = units.index(f"{layer.name}[{channel}]")
            assert blocks.indices(unit).tolist() == alone[channel].nonzero().flatten().tolist()


@pytest.mark.parametrize("name", slow_unless(_is_quick, [n for n in CASES if n not in TIED]))
def test_outgoing_entries_are_those_that_do_nothing_when_the_unit_is_silent(name):
    units = Units.find(CASES[name].module(), CASES[name].rows())
    blocks = units.outgoing(ParameterVector.of(CASES[name].module()))
    matters = over_twins(CASES[name], mattering)
    for unit in range(len(units)):
        if (name, units.layers[units.layer_of[unit]].name) not in READ_OTHERWISE:
            silenced = over_twins(CASES[name], mattering, unit)
            expected = (matters & ~silenced).nonzero().flatten()
            assert blocks.indices(unit).tolist() == expected.tolist(), units.names[unit]
