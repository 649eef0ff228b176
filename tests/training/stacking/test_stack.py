"""A stack computes as its networks do alone, recorded or not, and tells them to be in training."""

import pytest
import torch
from sklearn.base import clone
from torch import nn

from sklflat.training.runs import Training
from sklflat.training.stacking import stack as stack_module
from sklflat.training.stacking import train
from tests._stacks import DIGITS, LABELS, distance, estimators


@pytest.mark.parametrize("n_columns", [2, 5, 31, 40])
@pytest.mark.parametrize("sizes", [(24,), (24, 9)])
def test_tables_of_few_columns(n_columns, sizes, monkeypatch):
    """Their products are taken in another order, recorded or not."""
    X = DIGITS[:230, 8 : 8 + n_columns]
    recorded, computed = (
        [Training(e, X, LABELS[:230]) for e in estimators(n=3, hidden_layer_sizes=sizes)]
        for _ in range(2)
    )
    alone = [Training(clone(t.estimator), t.X, t.y).run() for t in recorded]
    list(train(recorded, stack="force"))
    assert (
        max(distance(a.estimator, b.estimator) for a, b in zip(recorded, alone, strict=True))
        <= 1e-10
    )
    monkeypatch.setattr(stack_module, "MAX_RECORDED_PARAMETERS", 0)
    list(train(computed))
    for a, b in zip(recorded, computed, strict=True):
        assert distance(a.estimator, b.estimator) == 0


class OwnTrain(nn.Sequential):
    """Notes how often it is told to be in training."""

    n_told = 0

    def train(self, mode=True):
        type(self).n_told += 1
        return super().train(mode)


def test_a_module_with_a_train_of_its_own_is_told_in_every_epoch():
    def net():
        return OwnTrain(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))

    made = estimators(n=2, net=net, hidden_layer_sizes=(100,), max_iter=5)
    list(train([Training(e, DIGITS[:200], LABELS[:200]) for e in made]))
    n_five, OwnTrain.n_told = OwnTrain.n_told, 0
    made = estimators(n=2, net=net, hidden_layer_sizes=(100,), max_iter=9)
    list(train([Training(e, DIGITS[:200], LABELS[:200]) for e in made]))
    assert OwnTrain.n_told == n_five + 2 * 4


class Normed(nn.Sequential):
    """Has buffers, which passes change; Adam would blow up the rounding of a bias before them."""

    def __init__(self, n_features=64, n_outputs=10):
        layers = (
            nn.Linear(n_features, 12, bias=False),
            nn.BatchNorm1d(12),
            nn.ReLU(),
            nn.Dropout(0.2),
        )
        super().__init__(*layers, nn.Linear(12, n_outputs))


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("net", [None, Normed], ids=["plain", "buffers and random numbers"])
def test_blocks_of_replicas_change_nothing(at_once, net, monkeypatch):
    """Five replicas, one block after the other, of one to three."""
    made = estimators(n=5, net=net, hidden_layer_sizes=(100,) if net else (12,))
    whole, parts = ([Training(clone(e), DIGITS[:230], LABELS[:230]) for e in made] for _ in "ab")
    list(train(whole, stack="force"))
    n_values = 200 * (12 + 10) * 8
    monkeypatch.setattr(stack_module, "_CACHE", at_once * n_values)
    seen = set()
    blocks = stack_module.Stack.blocks

    def noted(self, *args):
        seen.update(stop - start for start, stop in blocks(self, *args))
        return blocks(self, *args)

    monkeypatch.setattr(stack_module.Stack, "blocks", noted)
    list(train(parts, stack="force"))
    assert max(n for n in seen if n != 5) == at_once  # those of the small last batch are whole
    for a, b in zip(whole, parts, strict=True):
        assert distance(a.estimator, b.estimator) <= 1e-12


def test_blocks_are_of_nearly_equal_size():
    made = estimators(n=7)
    requests = [next(e._fitting(DIGITS[:200], LABELS[:200])) for e in made]
    stack = stack_module.Stack([r.net for r in requests])
    assert stack.blocks(7, 1) == [(0, 7)]  # more parameters than activations
    n_near = stack_module._CACHE * torch.get_num_threads() // (8 * 34)
    sizes = [stop - start for start, stop in stack.blocks(7, n_near // 3)]
    assert sizes == [2, 2, 3]
    assert stack.blocks(7, 10 * n_near) == [(k, k + 1) for k in range(7)]
    stack.release_all()
