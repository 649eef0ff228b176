"""
Check a network that somebody else trained
==========================================

Every technique rests on a few properties of a network: that it gives the same outputs again, that a
row's output does not depend on the rows beside it, that the loss adds up over rows, and that
derivatives are right. :func:`~sklflat.check_network` compares each with an independent computation
and says what was measured. Here it is asked of twelve architectures, four of which have a flaw that
no accuracy shows.
"""

# %%
# Twelve networks
# ---------------
#
# Eight that are fine, and four that are not: dropout that is left on, batch normalisation without
# running statistics, a function that is detached in its own derivative, and padded positions that
# PyTorch treats in another way when no gradients are needed.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sklflat import check_network, from_module

warnings.filterwarnings("ignore", "The PyTorch API of nested tensors")  # of the padded positions

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 1, 16))
y = (X[:, 0, :8].mean(1) > X[:, 0, 8:].mean(1)).astype(int) + (X[:, 0].std(1) > 1)


class Then(nn.Module):
    """Features of a signal, and a linear layer."""

    def __init__(self, features, width):
        super().__init__()
        self.features, self.last = features, nn.Linear(width, 3)

    def forward(self, X):
        return self.last(self.features(X))


class Call(nn.Module):
    """Any function as a module."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleDict(parts)

    def forward(self, X):
        return self.function(X, **self.parts)


def dense(*between):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), *between)


def tokens(X, encoder, embed, mask=None):
    """A transformer encoder on tokens of four samples each."""
    z = embed(X.view(len(X), 4, 4))
    if mask is not None:
        mask = mask.expand(len(X), -1)
    return encoder(z, src_key_padding_mask=mask).mean(1)


def padded(X, encoder, embed):
    return tokens(X, encoder, embed, torch.tensor([False, False, False, True]))


def encoder(**options):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 1, **options)


class DetachedSquare(torch.autograd.Function):
    """A square whose derivative is a constant to a second derivative."""

    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a.square()

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0].detach() * g


def convolutions():
    return nn.Sequential(
        nn.Conv1d(1, 8, 5, padding=2),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
    )


torch.manual_seed(0)
residual = nn.Sequential(nn.Conv1d(8, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU())
stem = nn.Conv1d(1, 8, 3, padding=1)
weight_norm = nn.utils.parametrizations.weight_norm
networks = {
    "dense": Then(dense(nn.ReLU()), 12),
    "convolutions": Then(convolutions(), 8),
    "residual": Then(
        Call(lambda X, stem, r: (stem(X) + r(stem(X))).mean(2), stem=stem, r=residual), 8
    ),
    "transformer": Then(Call(tokens, encoder=encoder(), embed=nn.Linear(4, 8)), 8),
    "LSTM": Then(Call(lambda X, r: r(X.mT)[0][:, -1], r=nn.LSTM(1, 8, batch_first=True)), 8),
    "weight norm": nn.Sequential(
        nn.Flatten(), weight_norm(nn.Linear(16, 12)), nn.Tanh(), nn.Linear(12, 3)
    ),
    "ends in softmax": nn.Sequential(Then(dense(nn.Tanh()), 12), nn.Softmax(1)),
    "float32 inside": Then(dense(Call(lambda a: (a.float() * 2).tanh().to(a.dtype))), 12),
    "dropout left on": Then(dense(Call(lambda a: F.dropout(a.relu(), 0.2))), 12),
    "no running statistics": Then(
        dense(nn.BatchNorm1d(12, track_running_stats=False), nn.ReLU()), 12
    ),
    "detached derivative": Then(dense(Call(lambda a: DetachedSquare.apply(a).tanh())), 12),
    "padded positions": Then(Call(padded, encoder=encoder(), embed=nn.Linear(4, 8)), 8),
}
results = {
    name: check_network(from_module(module, classes=[0, 1, 2]), X, y)
    for name, module in networks.items()
}

# %%
# One network in full
# -------------------

print(results["dropout left on"])

# %%
# All of them
# -----------
#
# A column a question, with the deviation that was measured. Once a question is answered by no,
# those that rest on it are not asked.

questions = [
    "same again",
    "same with gradients",
    "rows of their own",
    "loss adds up",
    "Hessian",
    "Gauss-Newton",
]
figure, axes = plt.subplots(figsize=(8.5, 5), layout="constrained")
colours = {"yes": "#cfe8cf", "NO": "#f3b5a5", "": "#eeeeee"}
for i, (_name, result) in enumerate(results.items()):
    frame = result.to_frame()
    for j in range(len(questions)):
        asked = j < len(frame)
        answer = frame["answer"][j] if asked else ""
        axes.add_patch(plt.Rectangle((j, i), 1, 1, color=colours[answer], ec="white"))
        if asked:
            axes.text(
                j + 0.5,
                i + 0.5,
                f"{frame['deviation'][j]:.0e}",
                ha="center",
                va="center",
                fontsize=8,
            )
axes.set(
    xlim=(0, len(questions)),
    ylim=(len(results), 0),
    title="Deviation from what each question compares with",
)
axes.set_xticks(np.arange(len(questions)) + 0.5, questions, rotation=20)
axes.set_yticks(np.arange(len(results)) + 0.5, list(results))
axes.tick_params(length=0)
for side in axes.spines.values():
    side.set_visible(False)
plt.show()

# %%
# The flaws are found before a number rests on them: the techniques make the same comparisons, and
# refuse these networks.

assert [name for name, result in results.items() if not result.passed] == list(networks)[8:]
