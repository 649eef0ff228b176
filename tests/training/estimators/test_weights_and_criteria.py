"""Sample weights beside what a criterion weighs and leaves out by itself."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from torch import nn

from sklflat import SAMClassifier

X = np.random.RandomState(0).normal(size=(60, 4))
y = X[:, :3].argmax(1)
CRITERIA = {
    "plain": {},
    "weights": {"criterion__weight": torch.tensor([1.0, 2.0, 9.0]).double()},
    "ignored": {"criterion__ignore_index": 1},
    "smoothing": {"criterion__label_smoothing": 0.2},
    "sum": {"criterion__reduction": "sum"},
}


def fitted(options, X=X, y=y, weight=None):
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)),
        criterion=nn.CrossEntropyLoss,
        lr=0.001 if "criterion__reduction" in options else 0.1,
        max_epochs=4,
        batch_size=-1,
        train_split=None,
        verbose=0,
        **options,
    )
    model = SAMClassifier(net=net, rho=0.05, random_state=0)
    return model.fit(X, y, **({} if weight is None else {"sample_weight": weight}))


@pytest.mark.parametrize("options", CRITERIA.values(), ids=CRITERIA)
def test_weights_of_one_are_no_weights_to_the_bit(options):
    plain, weighted = fitted(options), fitted(options, weight=np.ones(60))
    assert np.array_equal(plain.predict_proba(X), weighted.predict_proba(X))
    assert plain.loss_curve_ == weighted.loss_curve_


@pytest.mark.parametrize("options", CRITERIA.values(), ids=CRITERIA)
def test_a_weight_of_two_is_a_row_twice(options):
    repeats = np.arange(60) % 3
    twice = fitted(options, X.repeat(repeats, 0), y.repeat(repeats))
    weighted = fitted(options, weight=repeats.astype(float))
    np.testing.assert_allclose(
        weighted.predict_proba(X), twice.predict_proba(X), rtol=1e-8, atol=1e-10
    )
    np.testing.assert_allclose(weighted.loss_curve_, twice.loss_curve_, rtol=1e-8)
