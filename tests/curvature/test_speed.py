"""Time, as ratios within one process."""

import statistics
import time

import pytest
import torch
from torch import nn

from sklflat.curvature import Hessian, eigenpairs
from sklflat.networks import MLP, Network


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@pytest.mark.clock
def test_products_and_what_is_made_of_them():
    # benchmarks/curvature.py holds the limits themselves: 2.3 gradients, 1.3 times bare products
    torch.manual_seed(0)
    module = MLP(64, 10, (256, 256)).float()
    X, y = torch.randn(1000, 64), torch.randint(0, 10, (1000,))
    operator = Hessian(Network(module, nn.CrossEntropyLoss(), dtype=torch.float32), X, y)
    v, parameters = torch.randn(operator.size), list(module.parameters())

    def gradient():
        torch.autograd.grad(nn.functional.cross_entropy(module(X), y), parameters)

    operator @ v
    pairs = [(seconds(lambda: operator @ v), seconds(gradient)) for _ in range(25)]
    assert statistics.median(a / b for a, b in pairs) < 1.2 * 2.3
    product = statistics.median(a for a, _ in pairs)
    ratios = []
    for _ in range(3):
        before = operator.n_matvec
        elapsed = seconds(lambda: eigenpairs(operator, 20))
        ratios.append(elapsed / (product * (operator.n_matvec - before)))
    assert statistics.median(ratios) < 1.2 * 1.3
