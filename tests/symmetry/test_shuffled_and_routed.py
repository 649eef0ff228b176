"""Symmetries of channels shuffled into pixels, of rotated heads, and of routed experts.

The groups are counted by hand, and random members of them keep the function.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklflat.networks.state import read_state, write_state
from sklflat.symmetry import find_symmetry

GENERATOR = torch.Generator().manual_seed(0)


def rows(*shape):
    return torch.randn(*shape, generator=GENERATOR).double()


def upscaler(factor):
    """Channels 4 r^2 become 4 channels of r times the resolution."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 4 * factor**2, 3, padding=1),
        nn.PixelShuffle(factor),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def pooled_upscaler():
    """A window of pooling in place of a convolution."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.PixelShuffle(2),
        nn.MaxPool2d(3),
        nn.Conv2d(4, 5, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    )


def generator():
    """A linear layer whose outputs are channels of a small image."""
    return nn.Sequential(
        nn.Linear(5, 6 * 9),
        nn.ReLU(),
        nn.Unflatten(1, (6, 3, 3)),
        nn.ConvTranspose2d(6, 4, 3),
        nn.Tanh(),
        nn.Conv2d(4, 1, 3),
        nn.Flatten(),
    )


class Rotated(nn.Module):
    """Two heads of four dimensions, of which two and two are rotated by the position."""

    def __init__(self, interleaved=False, n_heads=2):
        super().__init__()
        self.n_heads, self.interleaved = n_heads, interleaved
        width = 4 * n_heads
        self.embed = nn.Linear(5, 8)
        self.q, self.k, self.v = (nn.Linear(8, width) for _ in range(3))
        self.out, self.last = nn.Linear(width, 8), nn.Linear(8, 3)
        angle = torch.arange(6.0)[:, None] * torch.tensor([1.0, 0.1])
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def rotate(self, x):
        a, b = (x[..., ::2], x[..., 1::2]) if self.interleaved else x.chunk(2, -1)
        parts = a * self.cos - b * self.sin, a * self.sin + b * self.cos
        return torch.stack(parts, -1).flatten(-2) if self.interleaved else torch.cat(parts, -1)

    def forward(self, X):
        x = torch.relu(self.embed(X))
        n, length, _ = x.shape
        q, k, v = (
            f(x).view(n, length, self.n_heads, 4).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        a = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v)
        return self.last((x + self.out(a.transpose(1, 2).reshape(n, length, -1))).mean(1))


class Routed(nn.Module):
    """Each row goes to the expert that its gate is greatest for."""

    def __init__(self, gathers="index"):
        super().__init__()
        self.gathers = gathers
        self.first, self.gate, self.last = nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(8, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 8)) for _ in range(3)
        )

    def forward(self, X):
        x = torch.relu(self.first(X))
        shares = self.gate(x).softmax(1)
        top, y = shares.argmax(1), torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            if self.gathers == "mask":
                y = y + (top == i).to(x.dtype)[:, None] * shares[:, i : i + 1] * expert(x)
            else:
                own = torch.nonzero(top == i)[:, 0]
                y = y.index_add(0, own, shares[own, i : i + 1] * expert(x[own]))
        return self.last(x + y)


CASES = {
    "two times": (lambda: upscaler(2), (4, 3, 6, 6), [4, 6, 8]),
    "three times": (lambda: upscaler(3), (4, 3, 6, 6), [4, 6, 8]),
    "pooled": (pooled_upscaler, (4, 3, 6, 6), [4, 5]),
    "generator": (generator, (4, 5), [4, 6]),
    "rotated halves": (Rotated, (4, 6, 5), [2, 8]),
    "rotated pairs": (lambda: Rotated(interleaved=True), (4, 6, 5), [2, 8]),
    "three rotated heads": (lambda: Rotated(n_heads=3), (4, 6, 5), [3, 8]),
    "routed by index": (Routed, (20, 5), [7, 7, 7, 8]),
    "routed by mask": (lambda: Routed("mask"), (20, 5), [7, 7, 7, 8]),
}


@pytest.mark.parametrize(("make", "shape", "sizes"), CASES.values(), ids=CASES)
def test_groups_are_those_counted_by_hand_and_keep_the_function(make, shape, sizes):
    torch.manual_seed(0)
    module, X = make().double(), rows(*shape)
    symmetry = find_symmetry(module, X)
    assert sorted(len(group) for group in symmetry.groups) == sizes
    state, z = read_state(module), module(X).detach()
    for _ in range(5):
        permuted = symmetry.permute(state, symmetry.random(GENERATOR))
        assert any(not torch.equal(permuted[name], state[name]) for name in state)
        write_state(module, permuted)
        torch.testing.assert_close(module(X).detach(), z, rtol=0, atol=1e-12)


def test_what_a_rotation_tells_apart_moves_with_its_head_only():
    """In a head each dimension that is rotated has its place, and those of values are free."""
    symmetry = find_symmetry(Rotated().double(), rows(4, 6, 5))
    (heads,) = (group for group in symmetry.groups if len(group) == 2)
    # q and k share a dimension; the rotation joins dimensions 0 and 2, and 1 and 3
    assert sorted(tuple(part.shape) for part in heads.inner) == [(2, 1), (2, 1), (2, 4)]


class Tilted(nn.Module):
    """Shuffled pixels; a weight a channel tells even columns from odd ones in half of them."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(4, 3, 12)
        tilt = torch.ones(4, 1, 12)
        tilt[2:, :, ::2] = 2.0
        self.register_buffer("tilt", tilt)

    def forward(self, X):
        return self.last(torch.relu(F.pixel_shuffle(self.first(X), 2)) * self.tilt)[..., 0, 0]


def test_channels_that_a_constant_tells_apart_stay():
    """The buffer moves with the channels, so all four can be exchanged, it included."""
    torch.manual_seed(0)
    module, X = Tilted().double(), rows(4, 3, 6, 6)
    symmetry = find_symmetry(module, X)
    state, z = read_state(module), module(X).detach()
    for _ in range(5):
        write_state(module, symmetry.permute(state, symmetry.random(GENERATOR)))
        torch.testing.assert_close(module(X).detach(), z, rtol=0, atol=1e-12)
