"""Units behind operations that make no channels of their own, against derivatives."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklflat.networks.units import Units


class Plumbed(nn.Module):
    """Two layers with something in between that makes no channels of its own."""

    def __init__(self, between):
        super().__init__()
        self.conv, self.between = nn.Conv1d(2, 4, 3), between
        with torch.no_grad():
            width = self.features(torch.zeros(1, 2, 8)).shape[-1]
        self.linear = nn.Linear(width, 3)

    def features(self, X):
        return self.between(torch.tanh(self.conv(X))).flatten(1)  # of (n, 4, 6)

    def forward(self, X):
        return self.linear(self.features(X))


def assigned(x):
    y = torch.zeros_like(x)
    y[:, 0], y[:, 1:3] = x[:, 3], x[:, 1:3]
    return y


BETWEEN = {
    "view": lambda x: x.view(len(x), -1),
    "permute": lambda x: x.permute(0, 2, 1),
    "transposed": lambda x: x.mT.transpose(1, 2).swapaxes(1, 2),
    "movedim": lambda x: x.movedim(-1, 0).movedim(0, 1),
    "slice": lambda x: x[:, 1:, ::2],
    "index": lambda x: x[:, torch.tensor([3, 1, 1])],
    "last position": lambda x: x[..., -1],
    "chunks": lambda x: torch.cat(x.chunk(2, 1)[::-1], dim=2),
    "split": lambda x: torch.stack([part.sum(1) for part in x.split([1, 1, 1, 1], 1)], 1),
    "unbind": lambda x: torch.stack(x.unbind(2)[:2], -1),
    "narrow": lambda x: x.narrow(2, 1, 3),
    "select": lambda x: x.select(2, 0),
    "index_select": lambda x: x.index_select(1, torch.tensor([2, 0])),
    "gather": lambda x: x.gather(2, torch.zeros(len(x), 4, 1, dtype=torch.int64)),
    "flip and roll": lambda x: x.flip(1).roll(1, 1),
    "repeat": lambda x: x.repeat(1, 1, 2),
    "repeat_interleave": lambda x: x.repeat_interleave(2, dim=1),
    "expand": lambda x: x[:, :, None].expand(-1, -1, 2, -1),
    "unfold": lambda x: x.unfold(2, 3, 2),
    "padding": lambda x: F.pad(x, (1, 2)),
    "padding with what is there": lambda x: F.pad(x, (1, 2), mode="circular"),
    "pixel shuffle": lambda x: F.pixel_shuffle(x.unflatten(2, (2, 3)), 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x.unflatten(2, (2, 3))[:, :, :, :2], 2),
    "channel shuffle": lambda x: F.channel_shuffle(x, 2),
    "assignment": assigned,
    "where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "mask": lambda x: x.masked_fill(x < 0, 0.0),
    "mean": lambda x: x.mean(-1),
    "sum": lambda x: x.sum(dim=(2,), keepdim=True),
    "maximum": lambda x: x.max(dim=2).values,
    "both poolings": lambda x: torch.cat([x.amax(2), x.mean(2)], dim=1),
    "max_pool": lambda x: F.max_pool1d(x, 2),
    "avg_pool": lambda x: F.avg_pool1d(x, 3, 1),
    "adaptive pooling": lambda x: F.adaptive_max_pool1d(x, 2),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2),
    "mean of channels": lambda x: x.mean(1),
    "softmax over channels": lambda x: x.softmax(1),
    "mixed channels beside one": lambda x: torch.cat([x.sum(1, keepdim=True), x[:, :1]], 1),
    "softmax over positions": lambda x: x.softmax(-1),
    "cumsum over positions": lambda x: x.cumsum(2),
    "arithmetic": lambda x: (2 - x / 3) ** 2 + x.exp() * x.neg().abs(),
    "in place": lambda x: (x + 0).add_(1).mul_(2),
    "casts": lambda x: x.to(torch.float32).double().contiguous().clone().cpu(),
    "fixed mixing of positions": lambda x: x @ torch.ones(6, 2, dtype=x.dtype),
    "einsum of constants": lambda x: torch.einsum("bct,t->bc", x, torch.ones(6, dtype=x.dtype)),
    "batch norm": lambda x: F.batch_norm(x, torch.ones(4).to(x), torch.ones(4).to(x)) - 0.3,
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_units_are_followed_through_what_makes_no_channels(name):
    """An entry reads a unit alone if the feature of its column depends on no other."""
    torch.manual_seed(0)
    module = Plumbed(BETWEEN[name]).double()
    units = Units.find(module, torch.randn(6, 2, 8))
    a = torch.randn(30, 4, 6, dtype=torch.float64, requires_grad=True)
    features = BETWEEN[name](a).flatten(1)
    columns = [[] for _ in range(4)]
    for column, total in enumerate(features.sum(0)):
        slope = torch.autograd.grad(total, a, retain_graph=True)[0]
        read = (slope != 0).any(2).any(0).nonzero().flatten().tolist()
        if len(read) == 1:
            columns[read[0]].append(column)
    outgoing = units.layers[0].outgoing.get("linear.weight", torch.full((3, 1), -1))
    for unit in range(4):
        for row in outgoing:
            assert (row == unit).nonzero().flatten().tolist() == columns[unit]
