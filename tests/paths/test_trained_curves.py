"""Trained curves against the best ones in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from sklflat.networks import Network
from sklflat.paths.paths import BezierPath
from sklflat.paths.trained_curves import fit_bend

X = torch.zeros(640, 1)
SETTINGS = {"max_iter": 60, "batch_size": 64, "learning_rate": 0.05, "n_iter_no_change": 60}


class Constant(nn.Module):
    """Its output is its only parameter."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, X):
        return self.w.expand(len(X), 1)


def ends(*values):
    return [{"w": torch.tensor([value])} for value in values]


@pytest.mark.parametrize(
    ("kind", "bend"),
    [
        # with u = 2 t (1 - t) the curve 1 - u + b u has the least mean square where
        # b = -int (1 - u) u / int u^2 = -(1/3 - 2/15) / (2/15)
        ("bezier", -1.5),
        # on each half it is 1 - x + b x, so b = -(1/6) / (1/3)
        ("polychain", -0.5),
    ],
)
def test_the_bend_is_the_best_one(kind, bend):
    network = Network(Constant(), nn.MSELoss())
    path = fit_bend(network, *ends(1.0, 1.0), X, X, kind=kind, random_state=0, **SETTINGS)
    assert path.anchors[1]["w"].item() == pytest.approx(bend, abs=0.05)
    assert network.module.w.item() == 0  # is left as it is


def test_several_bends():
    network = Network(Constant(), nn.MSELoss())
    settings = SETTINGS | {"kind": "polychain", "n_bends": 3}
    path = fit_bend(network, *ends(1.0, -1.0), X, X, random_state=0, **settings)
    # least squares of hats: the mass matrix has 2/3 on its diagonal and 1/6 beside it, so
    # 1/6 + 2/3 b1 + 1/6 b2 = 0, b1 + 4 b2 + b3 = 0, 1/6 b2 + 2/3 b3 - 1/6 = 0
    bends = [anchor["w"].item() for anchor in path.anchors[1:-1]]
    np.testing.assert_allclose(bends, [-0.25, 0, 0.25], atol=0.05)


def test_every_part_of_the_path_is_seen_in_every_epoch(monkeypatch):
    drawn = []
    coefficients = BezierPath.coefficients
    monkeypatch.setattr(
        BezierPath, "coefficients", lambda path, t: drawn.append(t) or coefficients(path, t)
    )
    network = Network(Constant(), nn.MSELoss())
    fit_bend(network, *ends(1.0, 1.0), X, X, max_iter=3, batch_size=64, random_state=0)
    assert len(drawn) == 3
    for ts in drawn:
        assert sorted(np.floor(np.asarray(ts) * 10)) == list(range(10))
    assert not np.array_equal(*drawn[:2])


def test_training_ends_without_progress():
    network = Network(Constant(), nn.L1Loss())
    path = fit_bend(network, *ends(0.0, 0.0), X, X, max_iter=50, n_iter_no_change=4)
    assert path.losses_.tolist() == [0.0] * 5


class Shifted(nn.Module):
    """The sum of two parameters, the second of which is not trained."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.shift = nn.Parameter(torch.zeros(3), requires_grad=False)

    def forward(self, X):
        return (self.w + self.shift[:1]).expand(len(X), 1)


@pytest.mark.parametrize(("kind", "n_bends"), [("bezier", 1), ("polychain", 3)])
def test_what_is_not_trained_stays_on_the_straight_line(kind, n_bends):
    first, second = torch.tensor([0.0, 0.1, 1 / 3]), torch.tensor([1.0, 0.1, 1 / 3])
    a, b = ({"w": torch.tensor([1.0]), "shift": f} for f in (first, second))
    network = Network(Shifted(), nn.MSELoss())
    settings = SETTINGS | {"kind": kind, "n_bends": n_bends, "random_state": 0}
    path = fit_bend(network, a, b, X, X, **settings)
    for k, anchor in enumerate(path.anchors):
        t = k / (n_bends + 1)
        torch.testing.assert_close(anchor["shift"], (1 - t) * first + t * second)
        assert torch.equal(anchor["shift"][1:], first[1:])
    if kind == "bezier":
        # the curve 1 + t - u + b u, with u = 2 t (1 - t) of mean 1/3 and mean square 2/15, has the
        # least mean square where b int u^2 = int u^2 - int (1 + t) u, so b = 1 - (1/2) / (2/15)
        assert path.anchors[1]["w"].item() == pytest.approx(-2.75, abs=0.05)
    assert path.losses_[-1] < path.losses_[0]


def test_nothing_to_train():
    network = Network(Constant().requires_grad_(False), nn.MSELoss())
    with pytest.raises(ValueError, match="No parameter of Constant requires a gradient"):
        fit_bend(network, *ends(1.0, 1.0), X, X)
