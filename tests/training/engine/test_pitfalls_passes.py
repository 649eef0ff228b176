"""Pitfalls 18 to 32 of docs/pitfalls.md: what the passes of a step do to everything around them."""

import copy
from contextlib import suppress

import numpy as np
import pytest
import torch
from skorch.callbacks import GradientNormClipping, Unfreezer
from torch import nn
from torch.optim import SGD, Adam, AdamW

from sklflat import PerturbedOptimizer
from sklflat.training.perturbations import SAM, VARIANTS, FriendlySAM, MomentumSAM
from tests._loops import (
    H,
    HalfSquare,
    MeanOutput,
    W,
    closure_of,
    on_all_paths,
    quadratic,
    train,
    weight,
    with_all_variants,
)

# Momentum-SAM never evaluates anything at the unperturbed point
TWO_PASSES = [variant for variant in VARIANTS if variant != "momentum"]


@with_all_variants
def test_18_loss_scaling_changes_nothing(variant):
    results = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=1024.0)):
        module, X = quadratic()
        base = SGD(module.parameters(), lr=0.1, momentum=0.5)
        perturbed = PerturbedOptimizer(base, VARIANTS[variant](), max_grad_norm=1.0)

        def closure(module=module, X=X, scaler=scaler):
            loss = HalfSquare()(module(X), None)
            (loss if scaler is None else scaler.scale(loss)).backward()
            return loss

        for _ in range(4):
            perturbed.step(closure, grad_scaler=scaler)
            _ = scaler and scaler.update()
        results.append(weight(module))
    # torch adds 1e-6 to the norm that it clips, which is scaled in the second run only
    np.testing.assert_allclose(*results, rtol=1e-5)


@pytest.mark.parametrize("failing", [0, 1], ids=["first pass", "second pass"])
def test_18_a_pass_that_is_not_finite_skips_the_whole_step(failing):
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    X, passes = torch.randn(8, 3), iter([False, False, failing == 0, failing == 1])
    base = AdamW(module.parameters(), lr=0.1)
    perturbed = PerturbedOptimizer(base, FriendlySAM(), module=module)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

    def closure():
        with torch.autocast("cpu", torch.bfloat16):
            loss = HalfSquare()(module(X), None).float()
        scaler.scale(loss * (torch.inf if next(passes) else 1)).backward()
        return loss

    perturbed.step(closure, grad_scaler=scaler)
    scaler.update()
    before = copy.deepcopy([module.state_dict(), base.state_dict(), perturbed.perturbation_state])
    perturbed.step(closure, grad_scaler=scaler)
    scaler.update()
    after = [module.state_dict(), base.state_dict(), perturbed.perturbation_state]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert perturbed.n_skipped_steps == 1
    assert scaler.get_scale() == 2.0


@pytest.mark.parametrize("variant", TWO_PASSES)
def test_18_an_infinite_gradient_is_not_taken_for_no_direction(variant):
    module, X = quadratic()
    perturbed = PerturbedOptimizer(SGD(module.parameters(), lr=0.1), VARIANTS[variant]())
    perturbed.step(closure_of(module, X))
    before, calls = weight(module).copy(), []

    def closure():
        loss = closure_of(module, X, calls=calls)()
        module.weight.grad[0, 0] = torch.inf if len(calls) == 1 else 0.0
        return loss

    perturbed.step(closure)
    assert perturbed.n_skipped_steps == 1
    assert np.array_equal(weight(module), before)


class Root(nn.Module):
    """``-sqrt(1 - w x)``, which is NaN for w x > 1, and a count of its passes."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5]))
        self.register_buffer("n_passes", torch.zeros(()))

    def forward(self, X):
        self.n_passes += 1
        return -torch.sqrt(1 - X * self.w)


@on_all_paths
@pytest.mark.parametrize("variant", TWO_PASSES)
def test_18_a_skipped_step_leaves_nothing_behind_on_any_path(path, variant):
    module, X = Root(), torch.tensor([[1.0], [0.0]])
    perturbation = VARIANTS[variant](rho=1.0)
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2, "batch_size": 1}
    run = train(path, module, X, perturbation, loss=MeanOutput, **options)
    # the first sample's step goes beyond 1; the second sample's gradient is zero
    assert run.steps.n_skipped_steps == 1
    assert run.steps.t == 1
    assert module.w.item() == pytest.approx(0.5 - 0.1 * 0.2 * 0.5)
    assert module.n_passes == 1


def test_18_half_precision_gradients_do_not_underflow_in_the_norm():
    w = nn.Parameter(torch.ones(1, dtype=torch.float16))
    perturbed = PerturbedOptimizer(SGD([w], lr=0.0), SAM(rho=0.5))

    def closure():
        loss = 1e-4 * (w * w).sum() / 2
        loss.backward()
        return loss

    perturbed.step(closure)  # g^2 = 1e-8 is zero in half precision
    assert w.grad.item() == pytest.approx(1.5e-4, rel=1e-2)


@pytest.mark.parametrize("path", ["optimizer", "skorch"])
def test_19_only_the_final_direction_is_clipped(path):
    module, X = quadratic()
    if path == "optimizer":
        base = SGD(module.parameters(), lr=1.0)
        PerturbedOptimizer(base, SAM(rho=0.5), max_grad_norm=0.1).step(closure_of(module, X))
    else:
        clip = GradientNormClipping(gradient_clip_value=0.1)
        train(path, module, X, SAM(rho=0.5), callbacks=[clip], lr=1.0)
    g = H @ W
    g_tilde = H @ (W + 0.5 * g / np.linalg.norm(g))
    expected = W - 0.1 * g_tilde / np.linalg.norm(g_tilde)
    np.testing.assert_allclose(weight(module), expected, rtol=1e-6)


@with_all_variants
def test_20_accumulating_micro_batches_is_one_large_batch(variant):
    torch.manual_seed(0)
    X, whole = torch.randn(12, 3).double(), nn.Linear(3, 2).double()
    pieces = copy.deepcopy(whole)

    def closure():
        losses = [HalfSquare()(pieces(x), None) / 4 for x in X.split(3)]
        for loss in losses:
            loss.backward()
        return torch.stack(losses).sum()

    losses = []
    for module, compute in ((whole, closure_of(whole, X)), (pieces, closure)):
        base = SGD(module.parameters(), lr=0.05, momentum=0.9)
        perturbed = PerturbedOptimizer(base, VARIANTS[variant](rho=0.3))
        losses.append([perturbed.step(compute).item() for _ in range(3)])
    assert losses[0] == pytest.approx(losses[1])
    torch.testing.assert_close(pieces.state_dict(), whole.state_dict(), rtol=1e-9, atol=1e-12)


class OwnNorm(nn.Module):
    """A normalisation that no isinstance check knows; it replaces its buffer by a new tensor."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(1))

    def forward(self, X):
        if self.training:
            self.running_mean = 0.9 * self.running_mean + 0.1 * X.mean(0).detach()
        return X - X.mean(0) + 0.1 * self.running_mean


@on_all_paths
@pytest.mark.parametrize("norm", [lambda: nn.BatchNorm1d(1), OwnNorm], ids=["BatchNorm", "own"])
def test_21_running_statistics_see_the_clean_pass_only(path, norm):
    module = nn.Sequential(nn.Linear(1, 1), norm(), nn.Linear(1, 1))
    with torch.no_grad():
        module[0].weight.fill_(3.0)
        module[0].bias.fill_(-1.0)
    train(path, module, torch.tensor([[1.0], [5.0]]), SAM(rho=2.0), n=4, lr=0.0)
    # the layer's mean output is 3 * 3 - 1 = 8 at the unperturbed weights
    assert module[1].running_mean.item() == pytest.approx(8 * (1 - 0.9**4), rel=1e-5)


@on_all_paths
@pytest.mark.parametrize("rho", [0.3, 30.0])
def test_22_both_passes_see_the_same_dropout_mask(path, rho):
    # a linear loss has the same gradient at w + eps, so with the same masks SAM is plain SGD
    def weights(perturbation):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 1))
        X = torch.randn(5, 6)
        train(path, module, X, perturbation, n=5, loss=MeanOutput, lr=0.1)
        return module[1].weight.detach().numpy(), torch.rand(1)

    plain, perturbed = weights(SAM(rho=0.0)), weights(SAM(rho=rho))
    np.testing.assert_array_equal(perturbed[0], plain[0])
    assert perturbed[1] == plain[1]  # and as many random numbers were drawn


@on_all_paths
@pytest.mark.parametrize("variant", TWO_PASSES)
def test_23_the_reported_loss_is_the_clean_one(path, variant):
    module, X = quadratic()
    run = train(path, module, X, VARIANTS[variant](rho=0.5), n=4, lr=0.0)
    assert run.losses == pytest.approx([W @ H @ W / 2] * 4, rel=1e-12)


def test_23_step_calls_the_closure_itself():
    module, X = quadratic()
    perturbed, calls = PerturbedOptimizer(SGD(module.parameters(), lr=0.1), SAM(rho=0.5)), []
    loss = perturbed.step(closure=closure_of(module, X, calls=calls))
    g = H @ W
    w_tilde = W + 0.5 * g / np.linalg.norm(g)
    assert calls == pytest.approx([W @ H @ W / 2, w_tilde @ H @ w_tilde / 2])
    assert loss.item() == calls[0]
    with pytest.raises(ValueError, match="step needs a closure"):
        perturbed.step(None)


class Fails(nn.Module):
    """Raises in its second pass, after its normalisation."""

    def __init__(self, error):
        super().__init__()
        self.linear, self.norm = nn.Linear(1, 1), nn.BatchNorm1d(1)
        nn.init.constant_(self.linear.weight, 3.0)
        nn.init.constant_(self.linear.bias, -1.0)
        self.error, self.n_passes = error, 0

    def forward(self, X):
        z = self.linear(X)
        z = z + self.norm(z)
        self.n_passes += 1
        if self.n_passes == 2:
            raise self.error
        return z


@on_all_paths
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_24_an_exception_in_the_second_pass_restores_everything(path, error):
    module = Fails(error)
    before = [p.detach().clone() for p in module.parameters()]
    with suppress(error):  # skorch keeps a KeyboardInterrupt, as the wish to stop
        train(path, module, torch.tensor([[1.0], [5.0]]), SAM(rho=2.0), lr=0.1)
    assert module.n_passes == 2
    assert all(map(torch.equal, module.parameters(), before))
    assert module.norm.running_mean.item() == pytest.approx(0.8)  # 8 at the unperturbed weights
    assert module.norm.num_batches_tracked == 1


@on_all_paths
@with_all_variants
def test_25_a_zero_gradient_is_no_division_by_zero(path, variant):
    module, X = quadratic(w=np.zeros(3))
    run = train(path, module, X, VARIANTS[variant](rho=0.5), n=3, lr=0.1, momentum=0.9)
    assert np.array_equal(weight(module), np.zeros(3))
    assert run.steps.n_skipped_steps == 0


@on_all_paths
def test_26_weights_are_restored_to_the_last_bit(path):
    w = np.array([1e8, 3.0, 1e-8], dtype=np.float32)
    eps = np.float32(1e3 / np.sqrt(3))
    assert not np.array_equal((w + eps) - eps, w)  # going back by subtraction would drift
    module, X = nn.Linear(3, 1, bias=False), torch.ones(2, 3)
    module.weight.data = torch.tensor(w)[None]
    train(path, module, X, SAM(rho=1e3), n=3, loss=MeanOutput, lr=0.0)
    assert np.array_equal(weight(module), w)


@on_all_paths
def test_28_a_loss_of_zero_is_no_failed_step(path):
    module, X = quadratic(np.eye(1), np.zeros(1))
    run = train(path, module, X, SAM(), loss=MeanOutput, lr=0.25)
    assert run.losses[0] == 0.0
    assert run.steps.n_skipped_steps == 0
    assert module.weight.item() == -0.25


class Two(nn.Module):
    """The output is ``X @ (a, b)``."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor([1.0]).double())
        self.b = nn.Parameter(torch.tensor([-2.0]).double())

    def forward(self, X):
        return X @ torch.cat([self.a, self.b])


@pytest.mark.parametrize("path", ["optimizer", "skorch", "vector"])
def test_29_momentum_sam_with_groups_decays_and_ends_at_the_iterate(path):
    module, h = Two(), H[:2, :2]
    X = torch.as_tensor(np.sqrt(2) * np.linalg.cholesky(h).T)
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}
    if path == "optimizer":
        groups = [{"params": [module.a]}, {"params": [module.b], "lr": 0.05, "weight_decay": 0.0}]
        perturbed = PerturbedOptimizer(SGD(groups, **options), MomentumSAM(rho=0.5))
        for _ in range(4):
            perturbed.step(closure_of(module, X))
    else:
        options["param_groups"] = [("b", {"lr": 0.05, "weight_decay": 0.0})]
        train(path, module, X, MomentumSAM(rho=0.5), n=4, **options)
    w, v, decay, lr = np.array([1.0, -2.0]), np.zeros(2), np.array([0.3, 0]), np.array([0.1, 0.05])
    for _ in range(4):
        eps = -0.5 * v / max(np.linalg.norm(v), 1e-30)
        v = 0.9 * v + h @ (w + eps) + decay * w  # the decay is of w, not of w + eps
        w = w - lr * v
    np.testing.assert_allclose([module.a.item(), module.b.item()], w, rtol=1e-12)


def test_30_a_graph_from_outside_the_closure_is_torchs_error_and_restores():
    module, X = quadratic()
    perturbed = PerturbedOptimizer(SGD(module.parameters(), lr=0.1), SAM())
    assert not perturbed.step(closure_of(module, X)).requires_grad
    before, outside = module.weight.detach().clone(), module(X).square().sum()

    def closure():
        outside.backward()
        return outside

    with pytest.raises(RuntimeError, match="second time"):
        perturbed.step(closure)
    assert torch.equal(module.weight, before)


@on_all_paths
@with_all_variants
def test_32_sparse_gradients_give_what_dense_ones_give(path, variant):
    tables = []
    for sparse in (True, False):
        torch.manual_seed(0)
        module = nn.Embedding(5, 2, sparse=sparse, dtype=torch.float64)
        untouched = module.weight[4].detach().clone()
        X = torch.tensor([0, 1, 1, 3])
        train(path, module, X, VARIANTS[variant](rho=0.3), n=3, lr=0.1, momentum=0.9)
        tables.append(module.weight.detach())
        assert torch.equal(module.weight[4], untouched)
    assert torch.equal(*tables)


# --- beside the numbered ones -----------------------------------------------------------------


@on_all_paths
def test_a_tied_parameter_counts_once_and_a_frozen_one_not_at_all(path):
    layer, frozen = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    for part, value in ((layer, 2.0), (frozen, 3.0)):
        nn.init.constant_(part.weight, value)
    module = nn.Sequential(layer, layer, frozen.requires_grad_(False))
    train(path, module, torch.ones(1, 1), SAM(rho=0.5), lr=0.01)
    # the loss is (3 w^2)^2 / 2 with the derivative 18 w^3, which is taken at 2.5
    assert layer.weight.item() == pytest.approx(2 - 0.01 * 18 * 2.5**3)
    assert frozen.weight.item() == 3.0


@pytest.mark.parametrize("path", ["skorch", "vector"])
@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_thawing_a_layer_keeps_the_history_of_the_others(path, optimizer):
    def make():
        module = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
        for layer in module:
            nn.init.constant_(layer.weight, 2.0)
        return module

    options = {"lr": 0.01, **({"momentum": 0.9} if optimizer is SGD else {})}
    module, plain = make(), make()
    module[0].requires_grad_(False)
    thaw = Unfreezer("0.*", at=3)
    one, plain_step = torch.ones(1, 1), SAM(rho=0.0)
    train(path, module, one, plain_step, optimizer=optimizer, n=4, callbacks=[thaw], **options)
    oracle = optimizer(plain.parameters(), **options)
    for epoch in range(4):
        plain[0].requires_grad_(epoch >= 2)
        oracle.zero_grad()
        closure_of(plain, one)()
        oracle.step()
    for own, expected in zip(module.parameters(), plain.parameters(), strict=True):
        assert own.item() == pytest.approx(expected.item(), rel=1e-6)
