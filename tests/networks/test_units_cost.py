"""What finding and watching units costs: counts, memory, and time."""

import gc
import statistics
import time
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat.networks import MLP
from sklflat.networks.units import Units
from tests.cases import CASES


class Operations(TorchDispatchMode):
    """Counts tensor operations, and the memory of results that are alive at once."""

    def __init__(self):
        super().__init__()
        self.n = self.now = self.most = 0
        self._known = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.n += 1
        for t in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(t, torch.Tensor):
                self._watch(t.untyped_storage())
        return out

    def _watch(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key, size):
        self._known.discard(key)
        self.now -= size


def wide_cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    ).eval()


def test_streaming_needs_the_memory_of_one_batch_and_of_the_result():
    module, X = wide_cnn(), torch.randn(2000, 3, 8, 8)
    units = Units.find(module, X)
    with torch.no_grad(), Operations() as one:
        module(X[:50].clone())
    gc.collect()
    with Operations() as all_of_them:
        result = units.activations(module, X, batch_size=50)
    assert result.shape == (2000, 128)
    # the mean over positions of a batch, and its parts, come on top: (50, 128) twice
    extra = result.nbytes + 2 * 50 * 128 * 4 + X[:50].nbytes
    assert one.most > 50 * 64 * 8 * 8 * 4
    assert all_of_them.most <= one.most + extra


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "transformer"])
def test_watching_adds_a_few_operations_a_layer_and_none_for_the_rest(name):
    module, X = CASES[name].module(), CASES[name].rows()
    units = Units.find(module, X)
    with Units.find(module, X).replaced(lambda i, a: a), torch.no_grad(), Operations() as bare:
        module(X)
    with Operations() as watched:
        units.activations(module, X)
    n_buffers = len(list(module.buffers()))
    assert watched.n <= bare.n + 6 * len(units.layers) + 3 * n_buffers + 6


def test_only_chosen_layers_are_kept():
    module, X = MLP(6, 3, (5, 5, 5)).double(), CASES["mlp"].rows()
    units = Units.find(module, X, layers="hidden.relu_1")
    assert units.activations(module, X).shape == (24, 5)


@pytest.mark.clock
def test_watching_takes_at_most_a_fifth_longer_than_the_bare_forward_pass():
    module, X = wide_cnn(), torch.randn(512, 3, 32, 32)
    units = Units.find(module, X)

    def bare():
        with torch.no_grad():
            for x in X.split(64):
                module(x.clone())

    def seconds(function):
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    ratios = [
        seconds(lambda: units.activations(module, X, batch_size=64)) / seconds(bare)
        for _ in range(9)
    ]
    assert statistics.median(ratios) < 1.2
