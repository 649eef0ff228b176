"""Further networks whose symmetries are known, beside those of the table of cases."""

import functools
import itertools

import torch
from torch import nn
from torch.nn import functional as F

from sklflat.symmetry import Symmetry, find_symmetry
from tests.cases import CASES, Case


class NormedMLP(nn.Module):
    """Layer normalisation over a hidden layer and over a residual stream."""

    def __init__(self):
        super().__init__()
        self.up, self.norm, self.inner = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 7)
        self.down, self.last, self.head = nn.Linear(7, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, X):
        x = self.up(X)
        x = x + self.down(F.gelu(self.inner(self.norm(x))))
        return self.head(self.last(x))


class DenseNet(nn.Module):
    """Every layer reads all that were before it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4 + 3 * i) for i in range(3)])
        self.convs = nn.ModuleList([nn.Conv2d(4 + 3 * i, 3, 3, padding=1) for i in range(3)])
        self.mix, self.head = nn.Conv2d(13, 6, 1), nn.Linear(6, 3)

    def forward(self, X):
        x = self.stem(X)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat([x, conv(F.relu(norm(x)))], 1)
        return self.head(F.relu(self.mix(x)).mean((2, 3)))


class SqueezeExcitation(nn.Module):
    """Channels are multiplied with gates that are computed from their means."""

    def __init__(self):
        super().__init__()
        self.conv, self.squeeze, self.excite = nn.Conv2d(2, 6, 3), nn.Linear(6, 4), nn.Linear(4, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, X):
        x = F.relu(self.conv(X))
        s = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return self.head((x * s[..., None, None]).amax((2, 3)))


class GroupedResNet(nn.Module):
    """Grouped and depthwise convolutions between pointwise ones, as in MobileNet."""

    def __init__(self):
        super().__init__()
        self.expand, self.depthwise = nn.Conv2d(2, 6, 1), nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.grouped, self.project = nn.Conv2d(6, 9, 3, padding=1, groups=3), nn.Conv2d(9, 2, 1)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, X):
        x = F.relu6(self.norm(self.depthwise(F.relu6(self.expand(X)))))
        return (X + self.project(F.hardswish(self.grouped(x)))).flatten(1)


class Inception(nn.Module):
    """Branches of several widths beside each other, then a shortcut around them."""

    def __init__(self):
        super().__init__()
        self.one, self.three = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 4, 3, padding=1)
        self.pool, self.short = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 9, 1)
        self.head = nn.Linear(9 * 4, 3)

    def forward(self, X):
        branches = [self.one(X), self.three(X), self.pool(F.avg_pool2d(X, 3, 1, 1))]
        x = F.relu(torch.cat(branches, 1) + self.short(X))
        return self.head(F.adaptive_avg_pool2d(x, 2).flatten(1))


class BagOfTokens(nn.Module):
    """The mean of embeddings, and their largest value."""

    def __init__(self):
        super().__init__()
        self.embedding, self.hidden = nn.Embedding(9, 6), nn.Linear(12, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, X):
        e = self.embedding(X)
        return self.head(torch.tanh(self.hidden(torch.cat([e.mean(1), e.amax(1)], 1))))


class VisionTransformer(nn.Module):
    """A class token before the embeddings of patches, and an embedding of every position."""

    def __init__(self, width=12):
        super().__init__()
        self.embed, self.head = nn.Linear(8, width), nn.Linear(width, 3)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 5, width) / 10)
        self.encoder = nn.TransformerEncoderLayer(width, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, X):
        patches = self.embed(X.reshape(len(X), 4, 8))
        x = torch.cat([self.token.expand(len(X), -1, -1), patches], 1) + self.position
        return self.head(self.encoder(x)[:, 0])


class Unknown(nn.Module):
    """A Fourier transform over the units of a layer, which has an order."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(5, 3)

    def forward(self, X):
        x = torch.fft.rfft(F.relu(self.first(X))).abs()
        return self.last(F.relu(self.second(F.pad(x, (0, 3)))))


def _groupnorm_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, bias=False),
        nn.GroupNorm(3, 6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3),
        nn.GroupNorm(2, 4),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def _weight_normed() -> nn.Module:
    norm = nn.utils.parametrizations.weight_norm
    return nn.Sequential(norm(nn.Linear(6, 7)), nn.Tanh(), norm(nn.Linear(7, 3)))


def _plain(*widths: int, bias: bool = True, nonlinearity: type[nn.Module] = nn.ReLU) -> nn.Module:
    layers: list[nn.Module] = []
    for n, m in itertools.pairwise(widths):
        layers += [nn.Linear(n, m, bias=bias), nonlinearity()]
    return nn.Sequential(*layers[:-1])


ALIGNED = CASES | {
    "no_bias": Case(lambda: _plain(6, 8, 7, 3, bias=False), (6,)),
    "tanh": Case(lambda: _plain(6, 8, 7, 3, nonlinearity=nn.Tanh), (6,)),
    "gelu": Case(lambda: _plain(6, 8, 7, 3, nonlinearity=nn.GELU), (6,)),
    "layer_norm": Case(NormedMLP, (6,)),
    "group_norm": Case(_groupnorm_cnn, (2, 6, 6)),
    "densenet": Case(DenseNet, (2, 5, 5)),
    "squeeze_excitation": Case(SqueezeExcitation, (2, 5, 5)),
    "grouped": Case(GroupedResNet, (2, 4, 4)),
    "inception": Case(Inception, (2, 4, 4)),
    "bag_of_tokens": Case(BagOfTokens, (5,), 9),
    "weight_norm": Case(_weight_normed, (6,)),
    "vision_transformer": Case(VisionTransformer, (32,)),
}


@functools.cache
def symmetry_of(name: str) -> Symmetry:
    """The symmetry of a case's module, found once in a session."""
    return find_symmetry(ALIGNED[name].module(), ALIGNED[name].rows())
