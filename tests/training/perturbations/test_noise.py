"""Noise in subspaces: covariances in closed form, budgets against Monte Carlo, dense Hessians."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from torch import nn

from sklflat import FlatNoiseClassifier, FlatNoiseRegressor, SAMClassifier
from sklflat.curvature import Hessian, Landscape, normal
from sklflat.exceptions import NoiseWarning
from sklflat.networks import Network
from sklflat.training.perturbations import FlatNoise, Position
from tests._estimators import DIGIT, DIGITS, MOONS, SIDE
from tests._slow import slow_after

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

P = 8
RNG = np.random.RandomState(0)
Q = torch.tensor(np.linalg.qr(RNG.normal(size=(P, P)))[0])
EIGENVALUES = torch.tensor([9.0, 6.0, -5.0, 1.0, 0.5, 0.3, 0.2, 0.1]).double()
H = Q @ torch.diag(EIGENVALUES) @ Q.T


class Quadratic(nn.Module):
    """Its output is ``w' H w / 2``, which the criterion takes as the loss."""

    def __init__(self, offset=20.0):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(P).double())
        self.offset = offset

    def forward(self, X):
        return (0.5 * self.w @ H @ self.w + self.offset).expand(len(X), 1)


class Output(nn.Module):
    """The mean output is the loss."""

    reduction = "mean"

    def forward(self, z, y):
        return z.mean() if self.reduction == "mean" else z[:, 0]


def quadratic(w, **given):
    data = torch.zeros(2, 1).double(), torch.zeros(2, 1).double()
    land = Landscape(Network(Quadratic(), Output()), *data)
    return Position(w, w > 99, learning_rate=0.1, landscape=land, **given)


def draws(noise, at, n):
    """Displacements (n, p) of consecutive steps at the same place."""
    state, rows = noise.init(at.w), []
    for t in range(n):
        at.seeds = (0, t)
        w_tilde, state = noise.perturb(None, at, state)
        rows.append(w_tilde - at.w)
    return torch.stack(rows), state


def covariance(xi):
    return xi.T @ xi / len(xi)


def root(C):
    values, V = torch.linalg.eigh(C)
    return V @ torch.diag(values.clamp(min=0).sqrt()) @ V.T


W = torch.tensor(RNG.normal(size=P))
SHARP = Q[:, :3] @ Q[:, :3].T  # the third is negative: by magnitude

#: subspace, antithetic, draws: few in the quick suite, all combinations with many in the slow one
COVARIANCES = [
    pytest.param(subspace, antithetic, n, marks=[] if n == 5000 else pytest.mark.slow)
    for n in (5_000, 20_000)
    for subspace in ("flat", "sharp", "isotropic", "soft")
    for antithetic in (True, False, "increments")
    if n == 20_000 or antithetic is True or subspace == "flat"
]


@pytest.mark.parametrize(("subspace", "antithetic", "n_draws"), COVARIANCES)
def test_the_covariance_is_sigma_squared_times_the_projector(subspace, antithetic, n_draws):
    noise = FlatNoise(
        0.3, subspace, budget=None, n_directions=3, refresh=10**6, antithetic=antithetic
    )
    xi, _ = draws(noise, quadratic(W), n_draws)
    shrink = 5.0 / (EIGENVALUES[:3].abs() + 5.0)
    eye = torch.eye(P).double()
    expected = {
        "flat": eye - SHARP,
        "sharp": SHARP,
        "isotropic": eye,
        "soft": eye - SHARP + Q[:, :3] @ torch.diag(shrink) @ Q[:, :3].T,
    }[subspace]
    # entries of a sample covariance have a standard error of at most sigma^2 sqrt(2 / n)
    assert (covariance(xi) - 0.09 * expected).abs().max() < 0.09 * 6 * (2 * 2 / n_draws) ** 0.5
    if subspace == "flat":
        assert (xi @ Q[:, :3]).abs().max() < 0.01 * xi.norm(dim=1).max()


def test_random_noise_has_the_dimension_of_flat_noise():
    xi, _ = draws(FlatNoise(0.3, "random", budget=None, n_directions=3), quadratic(W), 50)
    assert torch.linalg.matrix_rank(xi, rtol=1e-8) == P - 3


@pytest.mark.parametrize("n_draws", slow_after(1, [2000, 4000]))
def test_time_structure(n_draws):
    alternating, _ = draws(FlatNoise(1.0, "isotropic", None, antithetic=True), quadratic(W), 6)
    torch.testing.assert_close(alternating[1::2], -alternating[::2])
    noise = FlatNoise(1.0, "isotropic", None, antithetic=False)
    independent, _ = draws(noise, quadratic(W), n_draws)
    lagged = (independent[1:] * independent[:-1]).mean()
    assert abs(float(lagged)) < 0.03
    noise = FlatNoise(1.0, "isotropic", None, antithetic="increments")
    steps, _ = draws(noise, quadratic(W), n_draws)
    assert float((steps[1:] * steps[:-1]).mean()) == pytest.approx(-0.5, abs=0.05)


@pytest.mark.parametrize(
    "subspace", slow_after(2, ["flat", "sharp", "soft", "isotropic", "random"])
)
def test_the_loss_budget_is_met_on_a_quadratic(subspace):
    at = quadratic(W.abs() + 1)
    noise = FlatNoise(0.005, subspace, "loss", n_directions=3, refresh=10**6, antithetic=False)
    xi, state = draws(noise, at, 4000)
    loss = at.landscape.loss(at.w)
    rise = 0.5 * ((xi @ H) * xi).sum(1).mean()
    assert float(rise) == pytest.approx(0.005 * loss, rel=0.1)
    assert state["looks"][-1, 4] == pytest.approx(0.005, rel=0.1)


@pytest.mark.parametrize("n_draws", slow_after(1, [600, 6000]))
def test_norm_budget_is_the_same_length_in_all_subspaces(n_draws):
    at = quadratic(W)
    for subspace in ("flat", "soft", "isotropic", "sharp", "random"):
        noise = FlatNoise(0.2, subspace, "norm", n_directions=3, antithetic=False, refresh=10**6)
        xi, state = draws(noise, at, n_draws)
        rms = float(xi.square().sum(1).mean().sqrt())
        assert rms == pytest.approx(0.2 * float(W.norm()), rel=0.05), subspace
        assert float(state["looks"][-1, 3]) == pytest.approx(0.2)


# --- on networks ------------------------------------------------------------------------------


def small_net(dtype=torch.float64):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    X, y = torch.randn(40, 5, dtype=dtype), torch.randint(0, 3, (40,))
    return module, X, y


@pytest.mark.parametrize("subspace", ["flat", "soft", "isotropic", "sharp", "random"])
def test_the_rise_is_half_the_trace_of_hessian_and_covariance(subspace):
    """E L(w + xi) - L = tr(H Sigma) / 2 to second order, against the dense Hessian."""
    module, X, y = small_net()
    network = Network(module, nn.CrossEntropyLoss())
    land = Landscape(network, X, y)
    w = network.vector.read()
    dense = Hessian(network, X, y).dense()
    at = Position(w, w > 99, 0.1, landscape=land)
    noise = FlatNoise(0.003, subspace, "norm", n_directions=4, refresh=10**6)
    state = noise.perturb(None, at, noise.init(w))[1]
    shape = noise._displacements(land, state, float(state["scale"]))
    B = shape(torch.eye(len(w)).double())  # rows of (c B C^1/2)'
    predicted = 0.5 * float((B @ dense @ B.T).trace())
    xi = shape(torch.stack([normal((7, i), w) for i in range(400)]))
    base = land.loss(w)
    measured = [0.5 * (land.loss(w + x) + land.loss(w - x)) - base for x in xi]
    error = np.std(measured) / len(measured) ** 0.5
    assert abs(np.mean(measured) - predicted) < 4 * error + 0.01 * abs(predicted)


def test_null_noise_changes_no_output_of_any_layer():
    module, X, y = small_net()
    X = torch.cat([X[:, :3], X[:, :2] @ torch.ones(2, 2).double()], 1)  # two directions are null
    module = nn.Sequential(nn.Linear(5, 60), nn.ReLU(), nn.Linear(60, 3)).double()
    land = Landscape(Network(module, nn.CrossEntropyLoss()), X, y)
    w = land.vector.read()
    at = Position(w, w > 99, 0.1, landscape=land)
    noise = FlatNoise(0.5, "null", "norm")
    w_tilde, state = noise.perturb(None, at, noise.init(w))
    assert float((w_tilde - w).norm()) > 0.2 * float(w.norm())
    assert state["null_0"].shape[1] == 2
    seen = {}
    for name, point in (("before", w), ("after", w_tilde)):
        torch.nn.utils.vector_to_parameters(point, module.parameters())
        with torch.no_grad():
            seen[name] = [module[:1](X), module[:2](X), module(X)]
    for a, b in zip(seen["before"], seen["after"], strict=True):
        assert float((a - b).abs().max()) < 1e-10


def test_null_noise_of_a_convolution():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.Flatten()).double()
    X = torch.zeros(6, 1, 4, 4).double()
    X[:, :, 1, 1] = torch.randn(6, 1).double()
    X[:, :, 1, 2] = X[:, :, 1, 1]
    land = Landscape(Network(module, nn.MSELoss()), X, torch.zeros(6, 48).double())
    w = land.vector.read()
    at = Position(w, w > 99, 0.1, landscape=land)
    before = land.outputs(w)
    ((name, _, N),) = land.null_spaces(w)
    assert name == "0"
    noise = FlatNoise(0.5, "null", "norm")
    if N.shape[1]:
        w_tilde, _ = noise.perturb(None, at, noise.init(w))
        assert float((land.outputs(w_tilde) - before).abs().max()) < 1e-10
    else:
        with pytest.raises(ValueError, match=r"'null' is empty.*0 \(rank 9\)"):
            noise.perturb(None, at, noise.init(w))


def test_lengths_before_a_normalisation_get_no_noise():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).double()
    X, y = torch.randn(64, 4).double(), torch.randint(0, 3, (64,))
    land = Landscape(Network(module, nn.CrossEntropyLoss()), X, y)
    w = land.vector.read()
    assert land.free_length.tolist() == [True] * 20 + [False] * (len(w) - 20)
    assert land.inert.tolist() == [False] * 20 + [True] * 5 + [False] * (len(w) - 25)
    at = Position(w, w > 99, 0.1, landscape=land)
    noise = FlatNoise(0.3, "isotropic", "norm")
    xi = noise.perturb(None, at, noise.init(w))[0] - w
    rows, before = xi[:20].view(5, 4), w[:20].view(5, 4)
    assert (rows * before).sum(1).abs().max() < 1e-12
    assert xi[20:25].abs().max() == 0


def test_masked_parameters_get_no_noise():
    module, X, y = small_net()
    land = Landscape(Network(module, nn.CrossEntropyLoss()), X, y)
    mask = torch.rand(len(land), generator=torch.Generator().manual_seed(0)) > 0.5
    w = land.vector.read() * mask
    at = Position(w, w > 99, 0.1, landscape=land, mask=mask)
    for subspace in ("flat", "soft", "isotropic", "sharp"):
        noise = FlatNoise(0.3, subspace, "loss", n_directions=3)
        xi = noise.perturb(None, at, noise.init(w))[0] - w
        assert xi[~mask].abs().max() < 1e-10, subspace
        assert xi.norm() > 0


# --- estimators -------------------------------------------------------------------------------

QUICK = {
    "hidden_layer_sizes": (16,),
    "max_iter": 20,
    "batch_size": 50,
    "learning_rate_init": 0.01,
    "n_directions": 5,
    "refresh": 40,
    "random_state": 0,
}


@pytest.mark.parametrize(
    "subspace", slow_after(1, ["flat", "soft", "isotropic", "sharp", "random"])
)
def test_the_loss_budget_is_met_in_training(subspace):
    """The rise at the end of training, on the same samples, with draws of our own."""
    clf = FlatNoiseClassifier(**{**QUICK, "subspace": subspace, "refresh": 10}).fit(DIGITS, DIGIT)
    history = clf.noise_history_
    reached = (history["length"] < 0.25) & (history["step"] > 40)
    assert reached.sum() >= 6
    assert np.abs(history["rise"][reached] - 0.05).max() < 0.005
    assert clf.score(DIGITS, DIGIT) > 0.85
    assert clf.n_gradient_evaluations_ == 6 * clf.n_iter_


def test_without_noise_it_is_the_base_optimizer():
    noisy = FlatNoiseClassifier(sigma=0, **QUICK).fit(DIGITS, DIGIT)
    names = {k: v for k, v in QUICK.items() if k not in ("n_directions", "refresh")}
    plain = SAMClassifier(rho=0, **names).fit(DIGITS, DIGIT)
    np.testing.assert_array_equal(noisy.predict_proba(DIGITS), plain.predict_proba(DIGITS))
    assert noisy.noise_scale_ == 0
    assert len(noisy.subspace_overlap_) == 0


def test_it_is_reproducible_and_leaves_the_generators_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    a = FlatNoiseClassifier(dropout=0.2, **QUICK).fit(DIGITS, DIGIT)
    b = clone(a).fit(DIGITS, DIGIT)
    np.testing.assert_array_equal(a.predict_proba(DIGITS), b.predict_proba(DIGITS))
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.slow
def test_flat_noise_is_longer_than_isotropic_noise_at_equal_rise():
    scales = [
        FlatNoiseClassifier(subspace=s, **QUICK).fit(DIGITS, DIGIT).noise_scale_
        for s in ("flat", "isotropic", "sharp")
    ]
    assert scales[0] > 1.3 * scales[1] > 1.3 * scales[2]


@pytest.mark.slow  # tests/probing/test_largest_noise.py has a quick one
def test_largest_noise_keeps_the_accuracy_budget():
    clf = FlatNoiseClassifier(sigma="max", accuracy_budget=0.05, **QUICK).fit(DIGITS, DIGIT)
    assert 0 < clf.noise_scale_ <= 1
    strict = clone(clf).set_params(accuracy_budget=0.0).fit(DIGITS, DIGIT)
    assert strict.noise_scale_ < clf.noise_scale_


GRIDS = [
    [{"subspace": ["flat"], "sigma": [0.05]}, {"subspace": ["sharp"], "n_directions": [2]}],
    {"subspace": ["flat", "sharp"], "sigma": [0.05, 0.2], "n_directions": [2, 4]},
]


@pytest.mark.parametrize("grid", slow_after(1, GRIDS))
def test_grid_search_and_the_regressor(grid):
    search = GridSearchCV(FlatNoiseClassifier(**{**QUICK, "max_iter": 10}), grid, cv=2)
    assert search.fit(MOONS, SIDE).best_score_ > 0.5
    x = np.linspace(-1, 1, 200)[:, None]
    reg = FlatNoiseRegressor(**{**QUICK, "max_iter": 60}).fit(x, x[:, 0] ** 2)
    assert reg.score(x, x[:, 0] ** 2) > 0.8


def test_batch_statistics_are_those_of_the_final_weights():
    def net(n_features, n_outputs):
        return nn.Sequential(
            nn.Linear(n_features, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, n_outputs)
        )

    own = {k: v for k, v in QUICK.items() if k != "hidden_layer_sizes"}
    clf = FlatNoiseClassifier(net=net, **{**own, "sigma": 0.02, "refresh": 8}).fit(DIGITS, DIGIT)
    first, norm = clf.module_[0], clf.module_[1]
    with torch.no_grad():
        a = first(torch.as_tensor(DIGITS).to(first.weight.dtype))
    torch.testing.assert_close(norm.running_mean, a.mean(0))
    torch.testing.assert_close(norm.running_var, a.var(0))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"sigma": -0.1}, "sigma"),
        ({"sigma": "large"}, "sigma"),
        ({"subspace": "wide"}, "subspace"),
        ({"budget": "time"}, "budget"),
        ({"n_directions": 0}, "n_directions"),
        ({"n_directions": 10**6}, r"n_directions=1000000 .* parameters, so .* at most"),
        ({"refresh": 0}, "refresh"),
        ({"antithetic": "yes"}, "antithetic"),
        ({"max_samples": 0}, "max_samples"),
    ],
)
def test_bad_parameters(bad, message):
    with pytest.raises(ValueError, match=message):
        FlatNoiseClassifier(**{**QUICK, **bad}).fit(MOONS, SIDE)


def test_noise_that_is_too_large_backs_off_and_says_so():
    clf = FlatNoiseClassifier(sigma=1e200, budget=None, subspace="isotropic", **QUICK)
    with pytest.warns(NoiseWarning, match="not finite"):
        clf.fit(MOONS, SIDE)
    with pytest.warns(NoiseWarning, match="times the parameters' length"):
        FlatNoiseClassifier(sigma=1e6, subspace="isotropic", **QUICK).fit(MOONS, SIDE)


def test_a_loss_that_is_constant_has_no_sharp_directions():
    def silent(n_features, n_outputs):
        class Silent(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(n_features, n_outputs)

            def forward(self, X):
                return 0 * self.linear(X)

        return Silent()

    own = {k: v for k, v in QUICK.items() if k != "hidden_layer_sizes"}
    with pytest.warns(NoiseWarning, match="there was no direction"):
        FlatNoiseClassifier(net=silent, subspace="sharp", **own).fit(DIGITS, DIGIT)
    with pytest.warns(NoiseWarning, match="times the parameters' length"):
        FlatNoiseClassifier(net=silent, subspace="isotropic", **own).fit(DIGITS, DIGIT)


def test_an_empty_null_space_names_the_layers():
    X = np.random.RandomState(0).normal(size=(120, 4))
    clf = FlatNoiseClassifier(subspace="null", budget="norm", **{**QUICK, "hidden_layer_sizes": ()})
    with pytest.raises(ValueError, match=r"'null' is empty.*\(rank 5\)"):
        clf.fit(X, X[:, 0] > 0)
    digits = load_digits().data[:300] / 16
    clf = FlatNoiseClassifier(subspace="null", budget="norm", sigma=0.1, activation="tanh", **QUICK)
    with pytest.warns(NoiseWarning, match="null space of the inputs of"):
        clf.fit(digits, DIGIT)
    assert max(clf.null_dimensions_.values()) > 0
    with pytest.warns(NoiseWarning, match="use budget='norm'"):
        FlatNoiseClassifier(subspace="null", **QUICK).fit(digits, DIGIT)
