"""The rules of single operations: between two layers, what may still be permuted by hand count.

Verification would leave out what a rule gets wrong. Here it has to find nothing.
"""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from sklflat.networks.state import read_state
from sklflat.symmetry import find_symmetry
from sklflat.symmetry.verification import CHANGED

ORDER = torch.arange(6.0)


class Between(nn.Module):
    """``last(g(relu(first(X))))`` with six hidden units."""

    def __init__(self, g, n_out=6):
        super().__init__()
        self.first, self.last, self.g = nn.Linear(4, 6), nn.Linear(n_out, 3), g

    def forward(self, X):
        return self.last(self.g(torch.relu(self.first(X)), X))


class Around(nn.Module):
    """A layer, and a linear one that reads its outputs."""

    def __init__(self, layer, width, read=lambda z: z):
        super().__init__()
        self.layer, self.last, self.read = layer, nn.Linear(width, 2), read

    def forward(self, X):
        return self.last(self.read(self.layer(X)))


def scaled_in_part(h, X):
    h = h.clone()
    h[:, 1:4].mul_(ORDER[1:4].to(h))
    return h


# name -> (what is between the layers, its width, sizes of the groups)
BETWEEN = {
    # places along an axis that are used are an order of it; largest values alone are not
    "max": (lambda h, X: h.max(1, keepdim=True)[0] * h, 6, [6]),
    "max_index": (lambda h, X: h.max(1, keepdim=True)[1] * h, 6, []),
    "min_index": (lambda h, X: h.min(1, keepdim=True)[1] * h, 6, []),
    "median": (lambda h, X: h.median(1, keepdim=True)[0] * h, 6, [6]),
    "median_index": (lambda h, X: h.median(1, keepdim=True)[1] * h, 6, []),
    "index_of_pairs": (lambda h, X: h.view(-1, 3, 2).max(2)[1].to(h), 3, []),
    "index_of_rows": (lambda h, X: h + h.max(0, keepdim=True)[1] * 0.1, 6, [6]),
    "argmax": (lambda h, X: h.argmax(1, keepdim=True) * h, 6, []),
    # where elements go
    "flip": (lambda h, X: h.flip(1), 6, [6]),
    "flip_added": (lambda h, X: h + h.flip(1), 6, [3]),
    "roll_added": (lambda h, X: h + h.roll(1, 1), 6, []),
    "halves": (lambda h, X: h[:, :3] * h[:, 3:], 3, [3]),
    "neighbours": (lambda h, X: h[:, ::2] - h[:, 1::2], 3, [3]),
    "blocks_turned": (lambda h, X: h.view(-1, 3, 2).transpose(1, 2).flatten(1), 6, [6]),
    "index": (lambda h, X: h[:, [3, 1, 2]], 3, [3, 3]),
    "index_of_data": (lambda h, X: h[:, (10 * h.sum(0)).long() % 6], 6, []),
    "index_of_input": (lambda h, X: h + h.index_select(1, (0 * X[0, :1]).long()), 6, []),
    "gather_by_input": (lambda h, X: h + h.gather(1, (3 * X[:, :1].abs()).long() % 6), 6, []),
    "view_scaled_in_place": (scaled_in_part, 6, [3]),
    # along an axis
    "softmax": (lambda h, X: h.softmax(1), 6, [6]),
    "softmax_of_rows": (lambda h, X: h.softmax(0), 6, [6]),
    "cumsum": (lambda h, X: h.cumsum(1), 6, []),
    "sort": (lambda h, X: h.sort(1)[0] * h, 6, []),
    "topk": (lambda h, X: h.topk(3, 1)[0], 3, []),
    "diff": (lambda h, X: h.diff(dim=1), 5, []),
    "windows": (lambda h, X: F.max_pool1d(h[:, None], 2)[:, 0], 3, []),
    # products and triangles
    "outer": (lambda h, X: (h[:, :, None] * h[:, None]).sum(2), 6, [6]),
    "triangle": (lambda h, X: (h[:, :, None] * h[:, None]).tril().sum(2), 6, []),
    "upper_triangle": (lambda h, X: (h[:, :, None] + h[:, None]).triu(1).sum(2), 6, []),
    "triangle_of_positions": (
        lambda h, X: (h[:, :, None, None] * torch.ones(2, 2).to(h)).tril().sum((2, 3)),
        6,
        [6],
    ),
    "constant_matrix": (lambda h, X: h @ torch.ones(6, 6).triu().to(h), 6, []),
    "equal_matrix": (lambda h, X: h @ torch.ones(6, 6).to(h) + h, 6, [6]),
    "power": (lambda h, X: (h + 1) ** ORDER.to(h), 6, []),
    # normalisation
    "layer_norm": (lambda h, X: F.layer_norm(h, (6,)), 6, [6]),
    "layer_norm_of_order": (lambda h, X: F.layer_norm(h, (6,), ORDER.to(h)), 6, []),
    "batch_norm_of_order": (lambda h, X: F.batch_norm(h, ORDER.to(h), 1 + ORDER.to(h)), 6, []),
    "batch_norm_of_batch": (lambda h, X: F.batch_norm(h, None, None, training=True), 6, [6]),
}


def sizes(symmetry):
    return sorted(len(group) for group in symmetry.groups)


def check(symmetry, module, X):
    assert symmetry.verified
    assert CHANGED not in symmetry.pinned
    module = module.double()
    state, before = read_state(module), module(X.double())
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        moved = symmetry.permute(state, symmetry.random(generator))
        torch.testing.assert_close(functional_call(module, moved, (X.double(),)), before)


@pytest.mark.parametrize("name", BETWEEN)
def test_an_operation_between_two_layers(name):
    g, n_out, expected = BETWEEN[name]
    torch.manual_seed(0)
    module = Between(g, n_out)
    symmetry = find_symmetry(module, torch.randn(7, 4))
    assert sizes(symmetry) == expected
    check(symmetry, module, torch.randn(5, 4))


@pytest.mark.parametrize("norm", [F.instance_norm, lambda z: F.group_norm(z, 3)])
def test_norms_over_parts_of_the_units(norm):
    """Three blocks of two: normalised each by itself, so blocks move, and what is in them."""
    torch.manual_seed(0)
    module = Between(lambda h, X: norm(h.view(-1, 3, 2)).flatten(1))
    symmetry = find_symmetry(module, torch.randn(7, 4))
    (blocks,) = symmetry.groups
    assert (len(blocks), [tuple(part.shape) for part in blocks.inner]) == (3, [(3, 2)])
    check(symmetry, module, torch.randn(5, 4))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_move_as_their_hidden_units(kind, n_layers, bidirectional):
    torch.manual_seed(0)
    layer = kind(3, 4, n_layers, batch_first=True, bidirectional=bidirectional)
    module = Around(layer, 4 * (1 + bidirectional), lambda z: z[0][:, -1])
    symmetry = find_symmetry(module, torch.randn(7, 5, 3))
    assert sizes(symmetry) == [4] * n_layers * (1 + bidirectional)
    check(symmetry, module, torch.randn(5, 5, 3))


@pytest.mark.parametrize(
    ("cell", "read"), [(nn.LSTMCell, lambda z: z[0]), (nn.GRUCell, lambda z: z), (nn.RNNCell, None)]
)
def test_recurrent_cells_move_as_their_hidden_units(cell, read):
    torch.manual_seed(0)
    module = Around(cell(3, 4), 4, read or (lambda z: z))
    symmetry = find_symmetry(module, torch.randn(7, 3))
    assert sizes(symmetry) == [4]
    check(symmetry, module, torch.randn(5, 3))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_embeddings_move_by_their_dimensions(mode):
    torch.manual_seed(0)
    module = Around(nn.EmbeddingBag(9, 6, mode=mode), 6, torch.relu)
    symmetry = find_symmetry(module, torch.randint(0, 9, (5, 4)))
    assert sizes(symmetry) == [6]
    X, state = torch.randint(0, 9, (5, 4)), read_state(module)
    moved = symmetry.permute(state, symmetry.random(torch.Generator().manual_seed(0)))
    torch.testing.assert_close(functional_call(module, moved, (X,)), module(X))


class Attention(nn.Module):
    """Two heads of three dimensions over four positions, with a mask."""

    def __init__(self, mask, is_causal):
        super().__init__()
        self.i, self.o, self.mask, self.is_causal = (
            nn.Linear(5, 18),
            nn.Linear(6, 3),
            mask,
            is_causal,
        )

    def forward(self, X):
        q, k, v = (t.view(len(X), 4, 2, 3).transpose(1, 2) for t in self.i(X).chunk(3, 2))
        mask = self.mask if self.mask is None or self.mask.dtype == torch.bool else self.mask.to(X)
        z = F.scaled_dot_product_attention(q, k, v, mask, is_causal=self.is_causal)
        return self.o(z.transpose(1, 2).flatten(2)).mean(1)


MASKS = {
    "none": (None, False, True),
    "causal": (None, True, True),
    "bool": (torch.ones(4, 4).tril().bool(), False, True),
    "float": (torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), False, True),
    "of_heads": (torch.arange(2.0).view(1, 2, 1, 1).expand(1, 2, 4, 4).tril(), False, False),
}


@pytest.mark.parametrize("name", MASKS)
def test_heads_move_unless_a_mask_tells_them_apart(name):
    mask, is_causal, heads_move = MASKS[name]
    torch.manual_seed(0)
    module = Attention(mask, is_causal)
    symmetry = find_symmetry(module, torch.randn(6, 4, 5))
    if heads_move:
        (heads,) = symmetry.groups
        assert (len(heads), [tuple(p.shape) for p in heads.inner]) == (2, [(2, 3), (2, 3)])
    else:  # queries with keys, and values, within each head
        assert sizes(symmetry) == [3, 3, 3, 3]
    check(symmetry, module, torch.randn(5, 4, 5))


# --- concatenation and stacking ---------------------------------------------------------------


class Concatenating(nn.Module):
    """``g(self, X)`` with two layers of six units, one that reads them, and a token."""

    def __init__(self, g, n_read=6):
        super().__init__()
        self.a, self.b, self.read = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(n_read, 3)
        self.other, self.token = nn.Linear(6, 3), nn.Parameter(torch.randn(1, 6))
        self.g = g

    def forward(self, X):
        return self.g(self, X)


def zeros(X):
    return X.new_zeros(len(X), 1, 6)


def tokens(m, X):
    return torch.relu(m.a(X))[:, None]


def chunks(m, X):
    return torch.stack([torch.relu(m.a(X)), torch.relu(m.b(X))]).unbind()


# name -> (function, what the last layer reads, sizes of the groups)
CONCATENATED = {
    # what one layer reads has one order
    "rows": (lambda m, X: m.read(torch.cat([m.a(X).relu(), m.b(X).tanh()])), 6, [6]),
    "positions": (lambda m, X: m.read(torch.stack([m.a(X), m.b(X)], 1)).tanh().sum(1), 6, [6]),
    "positions_summed": (lambda m, X: m.read(torch.stack([m.a(X), m.b(X)], 1).amax(1)), 6, [6]),
    "token": (
        lambda m, X: m.read(torch.cat([m.token.expand(len(X), 1, 6), tokens(m, X)], 1)).amax(1),
        6,
        [6],
    ),
    "token_repeated": (
        lambda m, X: m.read(
            torch.cat([m.token.repeat(len(X), 1).view(-1, 1, 6), tokens(m, X)], 1).tanh().mean(1)
        ),
        6,
        [6],
    ),
    # what is taken apart again has not
    "taken_apart": (lambda m, X: m.read(chunks(m, X)[0]) + m.other(chunks(m, X)[1]), 6, [6, 6]),
    "flattened": (
        lambda m, X: m.read(torch.stack([m.a(X), m.b(X)], 1).relu().flatten(1)),
        12,
        [6, 6],
    ),
    # constants that are the same for all units
    "zeros": (lambda m, X: m.read(torch.cat([zeros(X), tokens(m, X)], 1)).amax(1), 6, [6]),
    "zeros_and_positions": (
        lambda m, X: m.read((torch.cat([zeros(X), tokens(m, X)], 1) + m.token).tanh()).amax(1),
        6,
        [6],
    ),
    "zeros_stacked": (
        lambda m, X: m.read(torch.stack([m.a(X), X.new_ones(len(X), 6)], 1)).amax(1),
        6,
        [6],
    ),
    "padding": (lambda m, X: m.read(F.pad(tokens(m, X), (0, 0, 1, 0))).amax(1), 6, [6]),
    "order": (
        lambda m, X: m.read(torch.cat([zeros(X) + ORDER.to(X), tokens(m, X)], 1)).amax(1),
        6,
        [],
    ),
    # data beside units give them their order
    "data": (
        lambda m, X: m.read(torch.cat([X[:, None, [0, 1, 2, 3, 0, 1]], tokens(m, X)], 1)).amax(1),
        6,
        [],
    ),
    # parts of a layer to which different things are done
    "half_and_half": (
        lambda m, X: m.read(torch.cat([m.a(X)[:, :3].relu(), m.a(X)[:, 3:].tanh()], 1)),
        6,
        [3, 3],
    ),
    "every_other": (
        lambda m, X: m.read(torch.cat([m.a(X)[:, ::2].relu(), m.a(X)[:, 1::2].tanh()], 1)),
        6,
        [3, 3],
    ),
    "chunk": (
        lambda m, X: m.read(
            torch.cat([F.elu(h, i + 1) for i, h in enumerate(m.a(X).chunk(2, 1))], 1)
        ),
        6,
        [3, 3],
    ),
    "twice_the_same": (
        lambda m, X: m.read(torch.cat([h.relu() for h in m.a(X).chunk(2, 1)], 1)),
        6,
        [6],
    ),
    "softmax_of_halves": (
        lambda m, X: m.read(torch.cat([h.softmax(1) for h in m.a(X).chunk(2, 1)], 1)),
        6,
        [3, 3],
    ),
    "one_scaled": (
        lambda m, X: m.read(torch.cat([2 * m.a(X)[:, :1], m.a(X)[:, 1:]], 1).relu()),
        6,
        [5],
    ),
}


@pytest.mark.parametrize("name", CONCATENATED)
def test_concatenation_and_stacking(name):
    g, n_read, expected = CONCATENATED[name]
    torch.manual_seed(0)
    module = Concatenating(g, n_read)
    symmetry = find_symmetry(module, torch.randn(7, 4))
    assert sizes(symmetry) == expected
    check(symmetry, module, torch.randn(5, 4))
    moved = sum(len(group) for group in symmetry.groups)
    assert bool(symmetry.pinned) == (symmetry.n_hidden > moved)


def test_what_pins_units_is_named():
    torch.manual_seed(0)
    pinned = {
        name: find_symmetry(Concatenating(*CONCATENATED[name][:2]), torch.randn(7, 4)).pinned
        for name in ("data", "one_scaled")
    }
    assert pinned == {
        "data": {"addmm: a sum over some of them": ("a.weight[0]",)},
        "one_scaled": {"mul": ("a.weight[0]",)},
    }
    single = nn.Sequential(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 2))
    assert find_symmetry(single, torch.randn(7, 4)).pinned == {}
