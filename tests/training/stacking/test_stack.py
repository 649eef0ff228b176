"""A stack computes as its networks do alone, recorded or not, and tells them to be in training."""

import pytest
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
