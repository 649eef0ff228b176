"""Units of a network against forward passes written by hand."""

import copy
import pickle
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from sklflat.networks import ParameterVector
from sklflat.networks.units import Units
from tests.cases import CASES


def steps(module, X, after):
    """Outputs of some children of a sequential module, by their places."""
    made = []
    for i, part in enumerate(module):
        X = part(X)
        if i in after:
            made.append(X.clone())
    return made


def functional_mlp(m, X):
    a = F.relu(X @ m.first.weight.T + m.first.bias)
    return [a, F.relu(a @ m.second.weight.T + m.second.bias)]


def functional_cnn(m, X):
    a = m.conv1(X).relu()
    b = m.conv2(F.max_pool2d(a, 2)).tanh()
    return [a, b, m.linear(b.reshape(len(X), -1)).relu()]


def resnet(m, X):
    stem = m.bn(m.stem(X)).relu()
    made = [stem]
    for block in (m.block1, m.block2):
        made.append(block.bn1(block.conv1(stem)).relu())
        skip = stem if block.downsample is None else block.downsample(stem)
        stem = (block.bn2(block.conv2(made[-1])) + skip).relu()
        made.append(stem)
    return made


def preactivation_resnet(m, X):
    x, made = m.stem(X), []
    for norm, conv in zip(m.norms, [*m.convs, None], strict=True):
        made.append(norm(x).relu())
        x = x if conv is None else x + conv(made[-1])
    return made


def transformer(m, X):
    made = []
    x = m.embedding(X) + m.position
    for layer in m.encoder.layers:
        x_in = layer.norm1(x) if layer.norm_first else x
        swap = (lambda t: t) if m.batch_first else (lambda t: t.transpose(0, 1))
        attended = swap(layer.self_attn(*[swap(x_in)] * 3)[0])
        x = x + attended if layer.norm_first else layer.norm1(x + attended)
        a = layer.activation(layer.linear1(layer.norm2(x) if layer.norm_first else x))
        x = x + layer.linear2(a) if layer.norm_first else layer.norm2(x + layer.linear2(a))
        made.append(a.transpose(1, 2))
    return made


def attention(m, X):
    x = F.gelu(m.inner(X))
    first = x
    q, k, v = m.qkv(x).chunk(3, -1)
    heads = [
        F.scaled_dot_product_attention(q[..., h], k[..., h], v[..., h])
        for h in (slice(0, 2), slice(2, 4))
    ]
    x = x + m.out(torch.cat(heads, -1))
    return [first.mT, F.gelu(m.up(x)).mT]


def gated_mlp(m, X):
    a, b = m.halves(X).split(5, 1)
    x = a * b.sigmoid()
    g = m.gate(x)
    return [x, g * g.sigmoid()]


def tied_mlp(m, X):
    a = m.first(X).tanh()
    b = m.shared(a).tanh()
    return [a, b, m.shared(b).tanh()]


def concatenation(m, X):
    a, b = F.softplus(m.conv(X[:, None])), F.leaky_relu(m.linear(X))
    return [a, b, m.mix(torch.cat([a.flatten(1), b, X], 1)).relu()]


def time_distributed(m, X):
    x = torch.stack([F.mish(m.conv(frames)) for frames in X.unbind(1)], 2)  # (n, C, T, H, W)
    return [x, F.mish(m.frame(x.mean((3, 4)).mT)).mT]


def mixer(m, X):
    a = F.gelu(m.token_up(m.norm(X).transpose(1, 2)))  # (n, channels, units)
    x = X + m.token_down(a).transpose(1, 2)
    return [a.transpose(1, 2), F.gelu(m.up(x)).transpose(1, 2)]


def einsum(m, X):
    x = F.hardswish(torch.cat([X @ m.heads[h] for h in (0, 1)], 1))
    return [x, F.celu(x @ m.mix.reshape(6, 5))]


BY_HAND = {
    "mlp": lambda m, X: steps(m.hidden, X, (1, 4)),
    "linear_mlp": lambda m, X: steps(m.hidden, X, (0, 3)),
    "functional_mlp": functional_mlp,
    "dropout_mlp": lambda m, X: steps(m, X, (2, 6)),
    "cnn": lambda m, X: steps(m, X, (2, 5)),
    "functional_cnn": functional_cnn,
    "depthwise_cnn": lambda m, X: steps(m, X, (1, 3, 6)),
    "sequence_cnn": lambda m, X: steps(m, X, (4,)),
    "resnet": resnet,
    "preactivation_resnet": preactivation_resnet,
    "transformer": transformer,
    "transformer_batch_second": transformer,
    "attention": attention,
    "gated_mlp": gated_mlp,
    "tied_mlp": tied_mlp,
    "tied_autoencoder": lambda m, X: [torch.sigmoid(F.linear(X, m.weight, m.bias))],
    "conv_autoencoder": lambda m, X: steps(m, X, (1, 3)),
    "concatenation": concatenation,
    "time_distributed": time_distributed,
    "mixer": mixer,
    "einsum": einsum,
}

every_case = pytest.mark.parametrize("name", CASES)


@every_case
@torch.no_grad()
def test_activations_are_those_of_a_forward_pass_by_hand(name):
    module, X = CASES[name].module(), CASES[name].rows()
    units = Units.find(module, X)
    expected = BY_HAND[name](module, X)
    assert [layer.n_units for layer in units.layers] == [a.shape[1] for a in expected]
    means = torch.cat([a.flatten(2).mean(2) if a.ndim > 2 else a for a in expected], 1)
    torch.testing.assert_close(units.activations(module, X), means, rtol=0, atol=1e-12)


@every_case
@torch.no_grad()
def test_activations_with_positions_are_those_of_a_forward_pass_by_hand(name):
    module, X = CASES[name].module(), CASES[name].rows()
    units, seen = Units.find(module, X), {}
    with units.replaced(lambda i, a: seen.setdefault(i, a)):
        output = module(X)
    torch.testing.assert_close(output, module(X), rtol=0, atol=1e-12)
    for i, a in enumerate(BY_HAND[name](module, X)):
        got = seen[i].flatten(2) if a.ndim > 2 else seen[i]
        torch.testing.assert_close(got, a.flatten(2) if a.ndim > 2 else a, rtol=0, atol=1e-12)


@every_case
def test_numbers_names_and_layers_agree(name):
    module, X = CASES[name].module(), CASES[name].rows()
    units = Units.find(module, X)
    assert len(units) == len(set(units.names)) == sum(layer.n_units for layer in units.layers)
    for number in (0, len(units) - 1):
        layer, channel = units.layers[units.layer_of[number]], units.channel_of[number]
        assert units.names[number] == f"{layer.name}[{channel}]"
        assert units.index(units.names[number]) == number


@every_case
@given(batch_size=st.integers(1, 11), seed=st.integers(0, 99))
@settings(max_examples=3, deadline=None)
def test_neither_the_order_of_rows_nor_the_batch_size_matters(name, batch_size, seed):
    module, X = CASES[name].module(), CASES[name].rows(10)
    units = Units.find(module, X[:1])
    order = torch.randperm(10, generator=torch.Generator().manual_seed(seed))
    got = units.activations(module, X[order], batch_size)
    torch.testing.assert_close(got, units.activations(module, X)[order], rtol=0, atol=1e-12)


@every_case
def test_a_twin_has_the_same_units(name):
    """Another precision, other weights, another layout of the batch: the same layers."""
    X = CASES[name].rows()
    units = Units.find(CASES[name].module(), X)
    other = CASES[name].module(seed=5)
    own = Units.find(other, X)
    assert own.names == units.names
    assert torch.equal(units.activations(other, X), own.activations(other, X))
    half = copy.deepcopy(other).float()
    got = units.activations(half, X)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), units.activations(other, X), rtol=1e-4, atol=1e-4)


@every_case
def test_the_module_is_left_as_it_was(name):
    module, X = CASES[name].module().train(), CASES[name].rows()
    list(module.modules())[-1].eval()
    flags = [m.training for m in module.modules()]
    state = {k: v.clone() for k, v in module.state_dict().items()}
    before, rows = torch.random.get_rng_state(), X.clone()
    units = Units.find(module, X)
    units.activations(module, X)
    assert flags == [m.training for m in module.modules()]
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(X, rows)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_permuting_hidden_units_permutes_activations():
    module, X = CASES["mlp"].module(), CASES["mlp"].rows()
    units = Units.find(module, X)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    twin = copy.deepcopy(module)
    first, second, _ = twin.linears
    with torch.no_grad():
        first.weight.copy_(first.weight[order])
        first.bias.copy_(first.bias[order])
        second.weight.copy_(second.weight[:, order])
    a, b = units.activations(module, X), units.activations(twin, X)
    torch.testing.assert_close(b[:, :7], a[:, order], rtol=0, atol=1e-12)
    torch.testing.assert_close(b[:, 7:], a[:, 7:], rtol=0, atol=1e-12)


def test_threads_do_not_see_each_other():
    module, X = CASES["mlp"].module(), CASES["mlp"].rows()
    units = Units.find(module, X)
    alone = module(X)
    seen = []

    def other():
        seen.append(module(X))
        seen.append(units.activations(module, X))

    with units.replaced(lambda i, a: torch.zeros_like(a)):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert torch.equal(seen[0], alone)
    assert torch.equal(seen[1], units.activations(module, X))


class Noisy(nn.Module):
    """Draws in evaluation mode too, and counts its passes in a buffer."""

    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Linear(6, 5), nn.Linear(5, 3)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, X):
        self.count += 1
        return self.c(F.dropout(torch.relu(self.a(X)), 0.5, training=True))


def test_a_module_that_draws_and_counts_leaves_generators_and_buffers_alone():
    module, X = Noisy().double(), CASES["mlp"].rows()
    before = torch.random.get_rng_state()
    units = Units.find(module, X)
    a = units.activations(module, X, batch_size=7)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert module.count == 0
    torch.testing.assert_close(a, module.a(X).relu().detach())


def test_units_survive_pickling():
    module, X = CASES["resnet"].module(), CASES["resnet"].rows()
    units = Units.find(module, X)
    again = pickle.loads(pickle.dumps(units))
    vector = ParameterVector.of(module)
    assert again.names == units.names
    assert torch.equal(again.activations(module, X), units.activations(module, X))
    assert torch.equal(again.incoming(vector).entries, units.incoming(vector).entries)


def test_a_backward_pass_that_was_begun_can_be_ended():
    """Looking at activations in between writes into none of the tensors it needs."""
    module, X = CASES["resnet"].module(), CASES["resnet"].rows()
    loss = module(X).sum()
    Units.find(module, X).activations(module, X)
    loss.backward()


def test_lazy_modules_get_their_shapes():
    module = nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(3))
    units = Units.find(module, torch.ones(2, 4))
    assert len(units) == 5
    assert units.activations(module, torch.ones(2, 4)).shape == (2, 5)


def test_missing_values_stay_with_their_rows():
    module, X = CASES["mlp"].module(), CASES["mlp"].rows()
    X[3, 0] = float("nan")
    a = Units.find(module, X).activations(module, X)
    assert a.isnan().any(1).nonzero().flatten().tolist() == [3]
