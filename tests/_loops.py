"""One problem trained by each of the three training loops."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.optim import SGD

from sklflat import PerturbedOptimizer
from sklflat.training.engine.net import PerturbedNet
from sklflat.training.perturbations import VARIANTS

H = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 1.0]])
W = np.array([1.0, -2.0, 0.5])

on_all_paths = pytest.mark.parametrize("path", ["optimizer", "skorch", "vector"])
with_all_variants = pytest.mark.parametrize("variant", VARIANTS)


class HalfSquare(nn.Module):
    """``|z|^2 / 2``, averaged over samples."""

    def forward(self, z, y):
        return 0.5 * z.reshape(len(z), -1).square().sum(1).mean()


class MeanOutput(nn.Module):
    """A loss that is linear in the output, so its gradient is the same everywhere."""

    def forward(self, z, y):
        return z.mean()


class BatchListener(Callback):
    """Makes a net use skorch's own step for every batch."""

    def on_batch_end(self, net, **kwargs):
        pass


def quadratic(h=H, w=W):
    """A linear layer and data for which HalfSquare is ``w.H w / 2``."""
    module = nn.Linear(len(w), 1, bias=False, dtype=torch.float64)
    module.weight.data = torch.tensor(w, dtype=torch.float64)[None]  # a copy
    X = torch.as_tensor(np.sqrt(len(w)) * np.linalg.cholesky(h).T)
    return module, X


def weight(module):
    return module.weight.detach().numpy().ravel()


def train(
    path,
    module,
    X,
    perturbation,
    *,
    optimizer=SGD,
    n=1,
    batch_size=-1,
    loss=HalfSquare,
    callbacks=(),
    **options,
):
    """n epochs (of one batch) by one of the three loops; returns what can be asked later."""
    y = torch.zeros(len(X))
    if path == "optimizer":
        base = optimizer(module.parameters(), **options)
        perturbed = PerturbedOptimizer(base, perturbation, module=module)
        batches = [X] if batch_size == -1 else X.split(batch_size)
        losses = [perturbed.step(closure_of(module, x, loss())).item() for x in [*batches] * n]
        return SimpleNamespace(base=base, losses=losses, steps=perturbed._step)
    callbacks = [*callbacks, *([BatchListener()] if path == "skorch" else [])]
    options = {f"optimizer__{key}": value for key, value in options.items()}
    own = {"train_split": None, "verbose": 0, "batch_size": batch_size, "max_epochs": n}
    net = PerturbedNet(
        module,
        criterion=loss,
        optimizer=optimizer,
        perturbation=perturbation,
        callbacks=callbacks,
        **own,
        **options,
    )
    net.fit(X, y)
    refused = "not used" in net.fast_path_ or "histories" in net.fast_path_
    assert refused or (net.fast_path_ == "vector") == (path == "vector")
    losses = [row.get("train_loss") for row in net.history]
    return SimpleNamespace(base=net.optimizer_, losses=losses, steps=net.steps_, net=net)


def closure_of(module, X, loss=None, calls=None):
    loss = loss or HalfSquare()

    def closure():
        value = loss(module(X), None)
        value.backward()
        if calls is not None:
            calls.append(value.item())
        return value

    return closure
