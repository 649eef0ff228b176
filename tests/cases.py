"""The table of networks that parametrised tests go through: architectures and rows for them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklflat.networks import MLP


class FunctionalMLP(nn.Module):
    """The nonlinearity is a function, called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 7), nn.Linear(7, 5), nn.Linear(5, 3)

    def forward(self, X):
        return self.last(F.relu(self.second(F.relu(self.first(X)))))


class FunctionalCNN(nn.Module):
    """Flattened before the linear layer; pooling in between."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 5, 3)
        self.linear, self.last = nn.Linear(5 * 2 * 2, 6), nn.Linear(6, 3)

    def forward(self, X):
        x = F.max_pool2d(F.relu(self.conv1(X)), 2)
        x = torch.tanh(self.conv2(x)).flatten(1)
        return self.last(self.linear(x).clamp(min=0))


class BasicBlock(nn.Module):
    """Of a residual network; one in-place ReLU is called twice."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample = None
        if n_in != n_out:
            conv = nn.Conv2d(n_in, n_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(n_out))

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.bn, self.relu = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True)
        self.block1, self.block2 = BasicBlock(3, 3, 1), BasicBlock(3, 5, 2)
        self.head = nn.Linear(5, 3)

    def forward(self, X):
        x = self.block2(self.block1(self.relu(self.bn(self.stem(X)))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class PreActivationResNet(nn.Module):
    """The residual stream itself sees no nonlinearity."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4) for _ in range(3)])
        self.convs = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)])
        self.head = nn.Linear(4, 3)

    def forward(self, X):
        x = self.stem(X)
        for norm, conv in zip(self.norms, self.convs, strict=False):
            x = x + conv(F.relu(norm(x)))
        return self.head(F.relu(self.norms[-1](x)).mean((2, 3)))


class TransformerClassifier(nn.Module):
    """Token embedding, two encoder layers, mean over positions."""

    def __init__(self, batch_first, **settings):
        super().__init__()
        self.batch_first = batch_first
        self.embedding = nn.Embedding(9, 4)
        self.position = nn.Parameter(torch.randn(6, 4))
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=batch_first, **settings)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(4, 3)

    def forward(self, X):
        x = self.embedding(X) + self.position
        x = self.encoder(x if self.batch_first else x.transpose(0, 1))
        return self.head(x.mean(1 if self.batch_first else 0))


class HandMadeAttention(nn.Module):
    """Attention from matrix products, and a residual network over tokens."""

    def __init__(self):
        super().__init__()
        self.inner, self.qkv, self.out = nn.Linear(4, 6), nn.Linear(6, 12), nn.Linear(4, 6)
        self.up, self.down, self.head = nn.Linear(6, 7), nn.Linear(7, 6), nn.Linear(6, 3)

    def forward(self, X):
        x = F.gelu(self.inner(X))
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) / 2**0.5).softmax(-1)
        x = x + self.out((attention @ v).transpose(1, 2).flatten(2))
        x = x + self.down(F.gelu(self.up(x)))
        return self.head(x[:, 0])


class GatedMLP(nn.Module):
    """A gated linear unit of halves, then a product with a gate."""

    def __init__(self):
        super().__init__()
        self.halves, self.glu = nn.Linear(6, 10), nn.GLU()
        self.gate, self.value, self.head = nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, X):
        x = self.glu(self.halves(X))
        return self.head(F.silu(self.gate(x)) * self.value(x))


class TiedMLP(nn.Module):
    """One layer is called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.act = nn.Linear(6, 5), nn.Linear(5, 5), nn.Tanh()
        self.last = nn.Linear(5, 3)

    def forward(self, X):
        x = self.act(self.first(X))
        return self.last(self.act(self.shared(self.act(self.shared(x)))))


class TiedAutoencoder(nn.Module):
    """The decoder has the transposed weight of the encoder."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 6))
        self.bias, self.shift = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(6))

    def forward(self, X):
        h = torch.sigmoid(X @ self.weight.T + self.bias)
        return torch.addmm(self.shift, h, self.weight)


class ConvAutoencoder(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(2, 4, 3, stride=2),
            nn.ELU(),
            nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2),
            nn.ELU(),
            nn.Conv2d(6, 2, 1),
            nn.Sigmoid(),
            nn.Flatten(),
        )


class Concatenation(nn.Module):
    """Two branches and the input beside each other."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv1d(1, 3, 3), nn.Linear(6, 4)
        self.mix, self.head = nn.Linear(3 * 4 + 4 + 6, 5), nn.Linear(5, 3)

    def forward(self, X):
        a = F.softplus(self.conv(X[:, None])).flatten(1)
        b = F.leaky_relu(self.linear(X))
        return self.head(torch.relu(self.mix(torch.cat([a, b, X], dim=1))))


class TimeDistributed(nn.Module):
    """A convolutional network on each frame: rows and frames share an axis."""

    def __init__(self):
        super().__init__()
        self.conv, self.frame, self.head = nn.Conv2d(2, 3, 3), nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, X):
        x = F.mish(self.conv(X.reshape(-1, *X.shape[2:]))).mean((2, 3))
        x = F.mish(self.frame(x)).view(*X.shape[:2], -1)
        return self.head(x.mean(1))


class Mixer(nn.Module):
    """Layers over positions and layers over channels take turns."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.token_up, self.token_down = nn.Linear(5, 6), nn.Linear(6, 5)
        self.up, self.down, self.head = nn.Linear(4, 7), nn.Linear(7, 4), nn.Linear(4, 3)

    def forward(self, X):
        x = X + self.token_down(F.gelu(self.token_up(self.norm(X).mT))).mT
        x = x + self.down(F.gelu(self.up(x)))
        return self.head(x.mean(1))


class Einsum(nn.Module):
    """Affine maps in Einstein's notation, with heads."""

    def __init__(self):
        super().__init__()
        self.heads = nn.Parameter(torch.randn(2, 6, 3))
        self.mix = nn.Parameter(torch.randn(2, 3, 5))
        self.head = nn.Linear(5, 3)

    def forward(self, X):
        x = F.hardswish(torch.einsum("bi,hik->bhk", X, self.heads))
        return self.head(F.celu(torch.einsum("bhk, hko -> bo", x, self.mix)))


@dataclass(frozen=True)
class Case:
    """A network and what it reads.

    Attributes
    ----------
    make : callable
        The module, with random weights.
    shape : tuple of int
        Of one row.
    n_tokens : int
        If not 0, rows are ids below it.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    n_tokens: int = 0

    def module(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
        """The network in evaluation mode, with running statistics as after training."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.make().to(dtype).eval()
            for name, buffer in module.named_buffers():
                if "running_mean" in name:
                    nn.init.uniform_(buffer, -0.3, 0.3)
                if "running_var" in name:
                    nn.init.uniform_(buffer, 0.1, 0.5)
        return module

    def rows(self, n: int = 24, seed: int = 1) -> Tensor:
        """Some rows, in double precision or as ids."""
        generator = torch.Generator().manual_seed(seed)
        if self.n_tokens:
            return torch.randint(self.n_tokens, (n, *self.shape), generator=generator)
        return torch.randn(n, *self.shape, generator=generator, dtype=torch.float64)


def _dropout_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 7),
        nn.BatchNorm1d(7),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5, inplace=True),
        nn.Linear(7, 5),
        nn.BatchNorm1d(5),
        nn.PReLU(5),
        nn.Dropout(0.5),
        nn.Linear(5, 3),
    )


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
        nn.Softmax(dim=1),
    )


def _depthwise_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2),
        nn.ReLU6(),
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.Hardswish(),
        nn.Conv2d(8, 6, 1),
        nn.ChannelShuffle(3),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(6 * 4 * 4, 3),
    )


def _sequence_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 4, 3, padding=1),
        nn.GroupNorm(1, 4),
        nn.AvgPool1d(2),
        nn.Conv1d(4, 5, 2, dilation=2),
        nn.SELU(),
        nn.Flatten(),
        nn.Linear(10, 3),
    )


CASES = {
    "mlp": Case(lambda: MLP(6, 3, (7, 5), dropout=0.2), (6,)),
    "linear_mlp": Case(lambda: MLP(6, 3, (7, 5), activation="identity", dropout=0.2), (6,)),
    "functional_mlp": Case(FunctionalMLP, (6,)),
    "dropout_mlp": Case(_dropout_mlp, (6,)),
    "cnn": Case(_cnn, (2, 6, 6)),
    "functional_cnn": Case(FunctionalCNN, (2, 8, 8)),
    "depthwise_cnn": Case(_depthwise_cnn, (2, 6, 6)),
    "sequence_cnn": Case(_sequence_cnn, (3, 8)),
    "resnet": Case(ResNet, (2, 8, 8)),
    "preactivation_resnet": Case(PreActivationResNet, (2, 6, 6)),
    "transformer": Case(
        lambda: TransformerClassifier(True, norm_first=True, activation="gelu"), (6,), 9
    ),
    "transformer_batch_second": Case(lambda: TransformerClassifier(False), (6,), 9),
    "attention": Case(HandMadeAttention, (5, 4)),
    "gated_mlp": Case(GatedMLP, (6,)),
    "tied_mlp": Case(TiedMLP, (6,)),
    "tied_autoencoder": Case(TiedAutoencoder, (6,)),
    "conv_autoencoder": Case(ConvAutoencoder, (2, 7, 7)),
    "concatenation": Case(Concatenation, (6,)),
    "time_distributed": Case(TimeDistributed, (3, 2, 5, 5)),
    "mixer": Case(Mixer, (5, 4)),
    "einsum": Case(Einsum, (6,)),
}
