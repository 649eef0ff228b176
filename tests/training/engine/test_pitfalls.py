"""What goes wrong in other implementations of sharpness-aware training must not go wrong here.

One test or a few for each pitfall that can occur, under the number it has in docs/pitfalls.md: 1 to
17 here, 18 to 32 in test_pitfalls_passes.py. Expected values are closed forms, mostly on the
quadratic ``w.H w / 2``, or dense computations.
"""

import copy
import warnings

import numpy as np
import pytest
import torch
from skorch.callbacks import LRScheduler
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import StepLR

from sklflat import PerturbedOptimizer, SAMClassifier
from sklflat.training.perturbations import ASAM, GSAM, SAM, VARIANTS, FriendlySAM, LookSAM
from tests._loops import (
    H,
    MeanOutput,
    W,
    closure_of,
    on_all_paths,
    quadratic,
    train,
    weight,
    with_all_variants,
)


def looksam_directions(h, w, rho, k, alpha):
    """LookSAM on a quadratic with dense vectors; sent the new w, yields the next direction."""
    t = 0
    while True:
        g = h @ w
        if t % k == 0:
            d = h @ (w + rho * g / np.linalg.norm(g))
            g_v = d - (g @ d) / (g @ g) * g
        else:
            d = g + alpha * np.linalg.norm(g) * g_v / np.linalg.norm(g_v)
        w = yield d
        t += 1


BASES = {
    "plain SGD": (SGD, {"lr": 0.05}),
    "momentum SGD": (SGD, {"lr": 0.05, "momentum": 0.9}),
    "AdamW": (AdamW, {"lr": 0.05}),
}


@on_all_paths
@pytest.mark.parametrize("base", BASES)
def test_01_looksam_works_on_any_base_optimizer(path, base):
    optimizer, options = BASES[base]
    module, X = quadratic()
    train(path, module, X, LookSAM(rho=0.3, k=3), optimizer=optimizer, n=7, **options)
    w = nn.Parameter(torch.tensor(W))
    directions, oracle = looksam_directions(H, W, 0.3, 3, 0.7), optimizer([w], **options)
    d = next(directions)
    for _ in range(7):
        w.grad = torch.as_tensor(d)
        oracle.step()
        d = directions.send(w.detach().numpy())
    np.testing.assert_allclose(weight(module), w.detach().numpy(), rtol=1e-10)


@on_all_paths
@pytest.mark.parametrize("base", BASES)
def test_02_looksam_refreshes_every_kth_step_only(path, base):
    optimizer, options = BASES[base]
    run = train(path, *quadratic(), LookSAM(k=3), optimizer=optimizer, n=7, **options)
    assert run.steps.n_gradient_evaluations == 7 + 3  # refreshed at t = 0, 3, 6


@pytest.mark.parametrize("base", BASES)
def test_03_looksam_reuse_step_costs_one_gradient_and_is_not_doubled(base):
    optimizer, options = BASES[base]
    module, X = quadratic()
    perturbed = PerturbedOptimizer(optimizer(module.parameters(), **options), LookSAM(k=5, alpha=0))
    calls = []
    perturbed.step(closure_of(module, X, calls=calls))
    w = weight(module).copy()
    perturbed.step(closure_of(module, X, calls=calls))
    assert len(calls) == 2 + 1
    np.testing.assert_allclose(module.weight.grad.numpy()[0], H @ w, rtol=1e-12)


def test_04_looksam_decomposes_over_all_parameters_of_all_groups():
    a, b = nn.Parameter(torch.tensor(W[:1])), nn.Parameter(torch.tensor(W[1:]))
    base = SGD([{"params": [a]}, {"params": [b]}], lr=0.1)
    perturbed = PerturbedOptimizer(base, LookSAM(rho=0.3, k=2))

    def closure():
        w = torch.cat([a, b])
        loss = w @ torch.as_tensor(H) @ w / 2
        loss.backward()
        return loss

    directions = looksam_directions(H, W, 0.3, 2, 0.7)
    w, d = W, next(directions)
    for _ in range(4):
        perturbed.step(closure)
        w = w - 0.1 * d
        d = directions.send(w)
    np.testing.assert_allclose(torch.cat([a, b]).detach(), w, rtol=1e-12)
    assert perturbed.perturbation_state["u"].shape == (3,)


@on_all_paths
@with_all_variants
def test_05_nothing_moves_at_learning_rate_zero(path, variant):
    module, X = quadratic()
    train(path, module, X, VARIANTS[variant](rho=0.5), n=3, lr=0.0, momentum=0.9)
    assert np.array_equal(weight(module), W)


@on_all_paths
def test_06_friendly_sam_averages_the_raw_gradient(path):
    X = torch.tensor([[3.0, -1.0], [1.0, 5.0]], dtype=torch.float64)
    module, _ = quadratic(np.eye(2), np.ones(2))
    run = train(path, module, X, FriendlySAM(lam=0.6), n=6, loss=MeanOutput, lr=0.1)
    np.testing.assert_allclose(run.steps.state["m"], [2.0, 2.0], rtol=1e-12)


@with_all_variants
def test_07_state_dict_holds_momentum_and_perturbation(variant):
    def make():
        module, X = quadratic()
        base = SGD(module.parameters(), lr=0.05, momentum=0.9)
        return module, PerturbedOptimizer(base, VARIANTS[variant](rho=0.3)), closure_of(module, X)

    straight, there, closure = make()
    for _ in range(3):
        there.step(closure)
    resumed, here, closure_here = make()
    resumed.load_state_dict(straight.state_dict())
    here.load_state_dict(copy.deepcopy(there.state_dict()))
    for _ in range(3):
        there.step(closure)
        here.step(closure_here)
    assert torch.equal(resumed.weight, straight.weight)
    assert here.n_gradient_evaluations == there.n_gradient_evaluations


class Sometimes(nn.Module):
    """Mean output w + b while w <= 1, and w beyond; never depends on c."""

    def __init__(self):
        super().__init__()
        self.w, self.b, self.c = (nn.Parameter(torch.ones(1)) for _ in range(3))

    def forward(self, X):
        return X * self.w + (self.b if self.w.item() <= 1 else 0)


@on_all_paths
def test_08_parameters_unused_in_a_pass_are_restored(path):
    module = Sometimes()
    options = {"lr": 0.5, "weight_decay": 0.5}
    train(path, module, torch.ones(2, 1), SAM(rho=1.0), loss=MeanOutput, **options)
    assert module.w.item() == 1 - 0.5 * (1 + 0.5)  # g~ = 1, and the decay of w = 1
    assert module.b.item() == 1 - 0.5 * 0.5  # used in the first pass: g~ = 0, and the decay
    assert module.c.item() == 1  # never used: no gradient, so torch does not decay it either


@on_all_paths
@pytest.mark.parametrize("momentum", [0.25, None])
def test_09_batch_norm_keeps_its_momentum_and_counts_batches_once(path, momentum):
    X = torch.tensor([[1.0], [5.0]])
    module = nn.Sequential(nn.BatchNorm1d(1, momentum=momentum), nn.Linear(1, 1))
    train(path, module, X, SAM(rho=0.5), n=4, lr=0.1)
    assert module[0].momentum == momentum
    assert module[0].num_batches_tracked == 4
    share = 1 if momentum is None else 1 - 0.75**4
    assert module[0].running_mean.item() == pytest.approx(3 * share)


class Counted(nn.Module):
    """``n w x`` in the n-th batch."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.register_buffer("n", torch.zeros(()))

    def forward(self, X):
        self.n += 1
        return X * self.w * self.n


@on_all_paths
def test_09_the_second_pass_sees_the_buffers_that_the_first_saw(path):
    module = Counted()
    train(path, module, torch.ones(1, 1), SAM(rho=0.5), n=4, loss=MeanOutput, lr=0.01)
    assert module.w.item() == pytest.approx(1 - 0.01 * (1 + 2 + 3 + 4))


@on_all_paths
@with_all_variants
def test_10_parameters_stay_where_they_are_in_memory(path, variant):
    flat = torch.tensor(W)
    module, X = quadratic()
    module.weight.data = flat[None]
    address = module.weight.data_ptr()
    train(path, module, X, VARIANTS[variant](), n=4, lr=0.1, momentum=0.5)
    assert module.weight.data_ptr() == address
    assert np.array_equal(flat, weight(module))
    assert not np.array_equal(flat, W)


@on_all_paths
def test_11_looksam_uses_the_direction_that_it_kept(path):
    # g = (1, 3), eps = g / 10, g~ = (1.1, 3.9): g_v is along (-3, 1), so d = g + (-3, 1) / 2
    module, X = quadratic(np.diag([1.0, 3.0]), np.ones(2))
    run = train(path, module, X, LookSAM(np.sqrt(0.1), k=2, alpha=0.5), lr=0.0)
    d = run.steps.perturbation.reuse(torch.tensor([1.0, 3.0]).double(), run.steps.state)
    np.testing.assert_allclose(d, [-0.5, 3.5], rtol=1e-12)
    module, X = quadratic(np.diag([1.0, 3.0]), np.ones(2))
    train(path, module, X, LookSAM(np.sqrt(0.1), k=2, alpha=0.5), n=2, lr=1.0)
    # w = (1, 1) - (1.1, 3.9) = (-0.1, -2.9), g = (-0.1, -8.7)
    length = np.hypot(0.1, 8.7)
    expected = [-0.1 + 0.1 + 0.5 * length * 3 / np.sqrt(10), 5.8 - 0.5 * length / np.sqrt(10)]
    np.testing.assert_allclose(weight(module), expected, rtol=1e-12)


@on_all_paths
@pytest.mark.parametrize("w", [[0.0, 0.0, 0.0], [0.1, 0.7, -0.3]], ids=["g = 0", "g~ along g"])
def test_12_looksam_without_direction_to_reuse_is_the_base_optimizer(path, w):
    module, X = quadratic(2 * np.eye(3), w)
    train(path, module, X, LookSAM(rho=0.5, k=5), n=3, lr=0.1)
    g_tilde = 2 * np.asarray(w) * (1 + 0.5 / max(np.linalg.norm(w), 1e-30))
    np.testing.assert_allclose(weight(module), (w - 0.1 * g_tilde) * 0.8**2, rtol=1e-6, atol=1e-12)


def test_12_gradients_from_before_the_step_do_not_count():
    module, X = quadratic()
    module.weight.grad = torch.full_like(module.weight, 100.0)
    PerturbedOptimizer(SGD(module.parameters(), lr=1.0), SAM(rho=0.5)).step(closure_of(module, X))
    g = H @ W
    np.testing.assert_allclose(weight(module), W - H @ (W + 0.5 * g / np.linalg.norm(g)))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_14_sample_weight_counts_in_both_passes():
    rng = np.random.default_rng(0)
    X, times = rng.normal(size=(30, 4)), rng.integers(0, 4, 30)
    y = (X[:, 0] > 0).astype(int)
    options = {"rho": 0.5, "max_iter": 20, "shuffle": False, "random_state": 0}
    weighted = SAMClassifier((5,), **options).fit(X, y, sample_weight=times)
    repeated = SAMClassifier((5,), **options).fit(X.repeat(times, 0), y.repeat(times))
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=1e-8)


@on_all_paths
def test_14_both_passes_are_in_training_mode(path):
    module, X = quadratic()
    modes = []
    module.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    train(path, module, X, SAM(), lr=0.1)
    assert modes == [True, True]


class Affine(nn.Module):
    """``weight x + bias`` with both of one dimension, as in normalisation layers."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))

    def forward(self, X):
        return X * self.weight + self.bias


@on_all_paths
@pytest.mark.parametrize("make", [lambda: nn.Linear(1, 1), Affine], ids=["Linear", "Affine"])
def test_15_asam_perturbs_zero_weights_by_eta_and_does_not_scale_biases(path, make):
    module = make().double()
    nn.init.zeros_(module.weight)
    nn.init.ones_(module.bias)
    train(path, module, torch.full((1, 1), 2.0).double(), ASAM(rho=0.5, eta=0.1), lr=1.0)
    # z = 1, g = (2, 1), T = (0.1, 1), |T g| = sqrt(1.04), eps = 0.5 (0.02, 1) / sqrt(1.04)
    z_tilde = 1 + (2 * 0.01 + 0.5) / np.sqrt(1.04)
    assert module.weight.item() == pytest.approx(-2 * z_tilde)
    assert module.bias.item() == pytest.approx(1 - z_tilde)


@pytest.mark.parametrize("given", ["base", "perturbed"])
def test_16_schedulers_may_be_given_either_optimizer(given):
    module, X = quadratic(np.eye(1), np.zeros(1))
    base = SGD(module.parameters(), lr=0.1)
    perturbed = PerturbedOptimizer(base, SAM())
    scheduler = StepLR(base if given == "base" else perturbed, 1, gamma=0.5)
    with warnings.catch_warnings(action="error"):
        for _ in range(3):
            perturbed.step(closure_of(module, X, MeanOutput()))
            scheduler.step()
    assert module.weight.item() == pytest.approx(-(0.1 + 0.05 + 0.025))  # the gradient is 1
    assert base.param_groups[0]["lr"] == perturbed.param_groups[0]["lr"] == 0.0125
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        StepLR(PerturbedOptimizer(SGD(module.parameters(), lr=0.1), SAM()), 1).step()


@pytest.mark.parametrize("path", ["skorch", "vector"])
def test_16_skorch_schedulers_set_the_learning_rate(path):
    module, X = quadratic(np.eye(1), np.zeros(1))
    callbacks = [("decay", LRScheduler(StepLR, step_size=1, gamma=0.5))]
    with warnings.catch_warnings(action="error"):
        train(path, module, X, SAM(), n=3, loss=MeanOutput, callbacks=callbacks, lr=0.1)
    assert module.weight.item() == pytest.approx(-(0.1 + 0.05 + 0.025))


def test_16_gsam_radius_follows_the_learning_rate():
    w = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    base = SGD([w], lr=1.0)
    perturbed = PerturbedOptimizer(base, GSAM(rho=0.5, alpha=0.0, rho_min=0.1, lr_min=0.2))
    seen = []
    for lr in (1.0, 0.6, 0.2):
        base.param_groups[0]["lr"] = lr
        w.data.fill_(1.0)
        perturbed.step(closure_of(lambda X: w[None], None))
        seen.append(w.grad.item() - 1)  # on w^2 / 2, g~ - g = eps
    assert seen == pytest.approx([0.5, 0.3, 0.1])


def test_17_added_groups_get_the_defaults_of_the_base_optimizer():
    a, b = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([4.0]))
    perturbed = PerturbedOptimizer(SGD([a], lr=0.1, momentum=0.9), SAM(rho=0.5))

    def closure():
        loss = (a**2 + b**2).sum() / 2
        loss.backward()
        return loss

    perturbed.add_param_group({"params": [b]})
    assert perturbed.base_optimizer.param_groups[1]["momentum"] == 0.9
    perturbed.step(closure)  # eps = 0.5 (3, 4) / 5
    assert [a.item(), b.item()] == pytest.approx([3 - 0.33, 4 - 0.44])
