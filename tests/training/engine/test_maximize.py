"""To maximize f is to minimize -f, whatever the perturbation; weights of classes are numbers."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetRegressor
from torch import nn

from sklflat import PerturbedOptimizer, SAMClassifier, SAMRegressor
from sklflat.training.perturbations import (
    ASAM,
    GSAM,
    SAM,
    FisherSAM,
    FriendlySAM,
    LookSAM,
    MomentumSAM,
)

PERTURBATIONS = [
    SAM(0.1),
    ASAM(0.5),
    GSAM(0.1),
    LookSAM(0.1, k=2),
    FisherSAM(0.1),
    FriendlySAM(0.1),
    MomentumSAM(0.1),
]
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
y = X[:, :1] ** 2 - X[:, 1:2]


def made():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def ended(perturbation, of, maximize, **options):
    module = made()
    base = of(module.parameters(), lr=0.05, maximize=maximize, **options)
    optimizer = PerturbedOptimizer(base, perturbation, module=module)

    def closure():
        optimizer.zero_grad()
        loss = (module(X) - y).square().mean() * (-1 if maximize else 1)
        loss.backward()
        return loss

    losses = [float(optimizer.step(closure).detach()) for _ in range(12)]
    return torch.cat([p.detach().flatten() for p in module.parameters()]), losses


@pytest.mark.parametrize("perturbation", PERTURBATIONS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize(
    ("of", "options"), [(torch.optim.SGD, {"momentum": 0.9}), (torch.optim.Adam, {})]
)
def test_by_the_optimizer(perturbation, of, options):
    down, losses = ended(perturbation, of, False, **options)
    up, gains = ended(perturbation, of, True, **options)
    torch.testing.assert_close(up, down, rtol=1e-12, atol=1e-14)
    assert gains == pytest.approx([-loss for loss in losses], rel=1e-10)
    assert losses[-1] < losses[0]


class Gain(nn.MSELoss):
    def forward(self, z, y):
        return -super().forward(z, y)


@pytest.mark.parametrize("variant", ["sam", "asam", "gsam", "looksam", "friendly", "momentum"])
def test_by_an_estimator(variant):
    fitted = []
    for criterion, maximize in ((nn.MSELoss, False), (Gain, True)):
        net = NeuralNetRegressor(
            made(),
            criterion=criterion,
            optimizer=torch.optim.SGD,
            optimizer__momentum=0.9,
            optimizer__maximize=maximize,
            lr=0.05,
            max_epochs=5,
            batch_size=10,
            train_split=None,
            verbose=0,
        )
        model = SAMRegressor(net=net, variant=variant, rho=0.1, random_state=0)
        fitted.append(model.fit(X.numpy(), y[:, 0].numpy()).predict(X.numpy()))
    np.testing.assert_allclose(*fitted, rtol=1e-10, atol=1e-12)


def test_groups_of_both_kinds_are_refused():
    module = made()
    groups = [
        {"params": module[0].parameters(), "maximize": True},
        {"params": module[2].parameters(), "maximize": False},
    ]
    optimizer = PerturbedOptimizer(torch.optim.SGD(groups, lr=0.1), SAM(0.1))
    with pytest.raises(ValueError, match="maximize differs between"):
        optimizer.step(lambda: module(X).sum())


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_class_weights_are_numbers_from_zero_on(weight):
    labels = np.arange(40) % 3
    with pytest.raises(ValueError, match=r"class_weight=\{1: .*negative or not finite"):
        SAMClassifier(class_weight={0: 1.0, 1: weight}).fit(X.numpy(), labels)
