"""Tiny networks whose units are known, and samples of them, for the tests of probes."""

import numpy as np
import torch
from torch import nn

from sklflat import from_module
from sklflat.probing import Sample


def two_layer(W1, b1, W2, b2, activation=nn.ReLU):
    """A one-hidden-layer network of given arrays, W1 (d, h) and W2 (h, k) as in scikit-learn."""
    W1, b1, W2, b2 = (torch.as_tensor(np.asarray(a, dtype=float)) for a in (W1, b1, W2, b2))
    module = nn.Sequential(nn.Linear(*W1.shape), activation(), nn.Linear(*W2.shape)).double()
    with torch.no_grad():
        for p, value in zip(module.parameters(), (W1.T, b1, W2.T, b2), strict=True):
            p.copy_(value)
    return module


def random_arrays(seed, d=4, h=6, k=3):
    """W1, b1, W2, b2 of a random network."""
    rng = np.random.RandomState(seed)
    return (
        rng.normal(size=(d, h)),
        rng.normal(size=h) / 2,
        rng.normal(size=(h, k)),
        rng.normal(size=k) / 2,
    )


def random_data(seed, n=60, d=4, k=3):
    """X and labels 0 to k - 1 that depend on it, all of them present."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, d))
    y = (X @ rng.normal(size=(d, k)) + rng.normal(size=(n, k))).argmax(1)
    y[:k] = np.arange(k)
    return X, y


def sample(module, X, y, **options):
    """The units of a module on data."""
    classes = None if np.issubdtype(y.dtype, np.floating) else np.unique(y)
    return Sample.of(from_module(module, classes=classes), X, y, **options)
