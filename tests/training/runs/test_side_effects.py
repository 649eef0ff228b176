"""Trainings that change more than weights are not kept, as weights are all that a file holds."""

import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import SAMClassifier
from sklflat.storage import RunStore
from sklflat.training.runs import Training
from sklflat.training.runs import run_directory as runs
from sklflat.training.stacking import train

X = np.random.RandomState(0).rand(40, 2)
y = (X[:, 0] > 0.5).astype(int)
calls, generator = [0], np.random.RandomState(0)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.n = 0
        self.register_buffer("mean", torch.zeros(2), persistent=False)

    def forward(self, X):
        return self.layer(X)


class Aliases(Plain):
    """Refers to its own parts and weights, which a state dict does hold."""

    def __init__(self):
        super().__init__()
        self.parts = [self.layer, self.layer.weight]


class CountsCalls(Plain):
    def forward(self, X):
        self.n += 1
        return self.layer(X) * (1 + 0.01 * self.n)


class MovesABuffer(Plain):
    def forward(self, X):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * X.mean(0)
        return self.layer(X - self.mean)


class CountsInAGlobal(Plain):
    def forward(self, X):
        calls[0] += 1
        return self.layer(X) * (1 + 0.01 * calls[0])


class DrawsFromAGlobal(Plain):
    def forward(self, X):
        return self.layer(X) * generator.uniform(0.9, 1.1)


class Counter:
    n = 0

    def __call__(self, module, X, output):
        self.n += 1
        return output * (1 + 0.01 * self.n)


class CountsInAHook(Plain):
    def __init__(self):
        super().__init__()
        self.layer.register_forward_hook(Counter())


class Rows:
    def __init__(self):
        self.lock = threading.Lock()

    def __deepcopy__(self, memo):
        return self


class HoldsWhatIsNotKnown(Plain):
    def __init__(self):
        super().__init__()
        self.rows = Rows()


def trained(net, cache_dir):
    work = [Training(SAMClassifier(net=net, max_iter=4, random_state=0), X, y)]
    list(train(work, cache_dir=cache_dir))
    return work[0].estimator.predict_proba(X), work[0].why_alone


@pytest.mark.parametrize("net", [Plain, Aliases])
def test_what_changes_only_weights_is_kept(tmp_path, net):
    first, _ = trained(net, tmp_path)
    again, why = trained(net, tmp_path)
    assert why == "it was kept"
    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(
    ("net", "name"),
    [
        (CountsCalls, "module_.n"),
        (MovesABuffer, "module_._buffers"),
        (CountsInAGlobal, "what the code of the network reads"),
        (DrawsFromAGlobal, "what the code of the network reads"),
        # the hook is part of the module and is code that the network runs: either may be named
        (CountsInAHook, "(module_.layer._forward_hooks|what the code of the network reads)"),
        (HoldsWhatIsNotKnown, "module_.rows"),
    ],
)
@pytest.mark.parametrize("every", [2.0, 0.0])
def test_what_changes_more_is_not_kept(tmp_path, monkeypatch, net, name, every):
    monkeypatch.setattr(runs, "EVERY", every)
    with pytest.warns(UserWarning, match=f"not kept in cache_dir: it changes {name}"):
        first, _ = trained(net, tmp_path)
    assert not list(RunStore(tmp_path).keys())
    assert not list(RunStore(tmp_path / "running").keys())
    if net in (CountsCalls, MovesABuffer):
        with warnings.catch_warnings(action="ignore"):
            np.testing.assert_array_equal(trained(net, tmp_path)[0], first)
