"""PerturbedOptimizer behaves as users of torch expect of an optimiser."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim import lr_scheduler as schedulers

from sklflat import PerturbedOptimizer
from sklflat.training.perturbations import (
    ASAM,
    GSAM,
    SAM,
    VARIANTS,
    FisherSAM,
    LookSAM,
    MomentumSAM,
)

BASES = {"SGD": (SGD, {"lr": 0.05, "momentum": 0.9}), "AdamW": (AdamW, {"lr": 0.02})}
with_all_variants = pytest.mark.parametrize("variant", VARIANTS)
with_both_bases = pytest.mark.parametrize("base", BASES)


def problem(seed=0):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
    X = torch.randn(32, 3)
    return module, X, X[:, :1] * X[:, 1:2]


def closure_of(module, X, y):
    def closure():
        loss = nn.functional.mse_loss(module(X), y)
        loss.backward()
        return loss

    return closure


def setting(base="SGD", perturbation=None, **options):
    """A module, its perturbed optimiser and a closure."""
    optimizer, own = BASES[base]
    module, X, y = problem()
    options = {"module": module, **options}
    perturbed = PerturbedOptimizer(
        optimizer(module.parameters(), **own), perturbation or SAM(), **options
    )
    return module, perturbed, closure_of(module, X, y)


def same(a, b):
    return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


@with_both_bases
@with_all_variants
def test_a_plain_loop_lowers_the_loss(base, variant):
    _, perturbed, closure = setting(base, VARIANTS[variant]())
    losses = [perturbed.step(closure).item() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


@with_both_bases
@with_all_variants
def test_a_saved_run_continues_to_the_last_bit(base, variant):
    module, perturbed, closure = setting(base, VARIANTS[variant](rho=0.1))
    for _ in range(4):
        perturbed.step(closure)
    file = io.BytesIO()
    torch.save([module.state_dict(), perturbed.state_dict()], file)
    file.seek(0)
    resumed, other, closure_there = setting(base, VARIANTS[variant](rho=0.1))
    for part, state in zip((resumed, other), torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    for _ in range(4):
        assert perturbed.step(closure) == other.step(closure_there)
    assert same(resumed, module)
    assert other.n_gradient_evaluations == perturbed.n_gradient_evaluations


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"]
)
@with_all_variants
def test_a_copy_continues_to_the_last_bit(variant, duplicate):
    module, perturbed, closure = setting("SGD", VARIANTS[variant](rho=0.1))
    for _ in range(4):
        perturbed.step(closure)
    resumed, other = duplicate((module, perturbed))
    closure_there = closure_of(resumed, *problem()[1:])
    for _ in range(4):
        assert perturbed.step(closure) == other.step(closure_there)
    assert same(resumed, module)


def test_a_state_dict_is_a_snapshot():
    _, perturbed, closure = setting("SGD", LookSAM(k=2))
    perturbed.step(closure)
    saved = perturbed.state_dict()["perturbation"]
    before = copy.deepcopy(saved)
    for _ in range(2):
        perturbed.step(closure)
    assert saved["t"] == before["t"] == 1
    assert torch.equal(saved["state"]["u"], before["state"]["u"])


def test_a_state_dict_of_the_base_optimizer_is_refused_by_name():
    _, perturbed, _ = setting()
    with pytest.raises(ValueError, match=r"no entry 'perturbation'.*base_optimizer.load_state"):
        perturbed.load_state_dict(perturbed.base_optimizer.state_dict())


def test_loading_into_the_base_optimizer_keeps_the_two_together():
    _, perturbed, closure = setting()
    perturbed.step(closure)
    base = perturbed.base_optimizer
    base.load_state_dict(base.state_dict())
    scheduler = schedulers.StepLR(perturbed, 1, gamma=0.5)
    perturbed.step(closure)
    scheduler.step()
    assert base.param_groups[0]["lr"] == perturbed.param_groups[0]["lr"] == 0.025
    assert perturbed.state is base.state


SCHEDULES = {
    "StepLR": lambda o: schedulers.StepLR(o, 2, 0.5),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, max_lr=0.1, total_steps=6),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, total_iters=2), schedulers.ExponentialLR(o, 0.5)], [2]
    ),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, 5),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedulers_set_the_rates_that_they_set_on_the_base_optimizer(schedule):
    module, perturbed, closure = setting("SGD", SAM(rho=0.0))
    plain, X, y = problem()
    base = SGD(plain.parameters(), lr=0.05, momentum=0.9)
    ours, theirs = SCHEDULES[schedule](perturbed), SCHEDULES[schedule](base)
    for _ in range(5):
        base.zero_grad()
        closure_of(plain, X, y)()
        base.step()
        theirs.step()
        perturbed.step(closure)
        ours.step()
        assert ours.get_last_lr() == theirs.get_last_lr()
    assert same(module, plain)


def test_plateau_schedulers_take_the_returned_loss():
    _, perturbed, closure = setting()
    plateau = schedulers.ReduceLROnPlateau(perturbed, factor=0.1, patience=0)
    plateau.threshold, plateau.threshold_mode = 1e9, "abs"  # nothing counts as better
    for _ in range(2):
        plateau.step(perturbed.step(closure))
    assert perturbed.base_optimizer.param_groups[0]["lr"] == pytest.approx(0.005)


@with_both_bases
def test_rho_zero_is_the_base_optimizer(base):
    module, perturbed, closure = setting(base, SAM(rho=0.0))
    plain, X, y = problem()
    optimizer, options = BASES[base]
    oracle = optimizer(plain.parameters(), **options)
    for _ in range(5):
        perturbed.step(closure)
        oracle.zero_grad()
        closure_of(plain, X, y)()
        oracle.step()
    assert same(module, plain)
    assert perturbed.n_gradient_evaluations == 5


@with_all_variants
def test_splitting_the_parameters_into_groups_changes_nothing(variant):
    results = []
    for split in (False, True):
        module, X, y = problem()
        ps = list(module.parameters())
        groups = [{"params": ps[:1]}, {"params": ps[1:]}] if split else ps
        base = SGD(groups, lr=0.05, momentum=0.9)
        perturbed = PerturbedOptimizer(base, VARIANTS[variant](), module=module)
        for _ in range(5):
            perturbed.step(closure_of(module, X, y))
        results.append(module)
    assert same(*results)


def test_groups_keep_their_own_learning_rate_and_decay():
    a, b = (nn.Parameter(torch.tensor([1.0])) for _ in range(2))
    groups = [{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.2, "weight_decay": 0.5}]
    perturbed = PerturbedOptimizer(SGD(groups), SAM(rho=np.sqrt(2)))

    def closure():
        loss = (a**2 + b**2).sum() / 2
        loss.backward()
        return loss

    perturbed.step(closure)  # the gradient is taken at (2, 2), the decay at b = 1
    assert [a.item(), b.item()] == pytest.approx([1 - 0.1 * 2, 1 - 0.2 * 2.5])


def test_a_group_added_later_is_perturbed_with_the_others():
    a, b = (nn.Parameter(torch.tensor([value])) for value in (3.0, 4.0))
    perturbed = PerturbedOptimizer(SGD([a], lr=0.1), LookSAM(rho=0.5, k=2))

    def closure():
        loss = (a**2 + b**2).sum() / 2
        loss.backward()
        return loss

    perturbed.step(closure)
    perturbed.add_param_group({"params": [b]})
    assert len(perturbed.param_groups) == len(perturbed.base_optimizer.param_groups) == 2
    a.data.fill_(3.0)
    b.data.fill_(4.0)
    perturbed.step(closure)  # what is reused covers a only, and vanishes there
    assert [a.item(), b.item()] == pytest.approx([2.7, 3.6])
    with pytest.raises(ValueError, match="appear in more than one"):
        perturbed.add_param_group({"params": [b]})


def test_a_group_without_momentum_is_refused_by_momentum_sam():
    _, perturbed, _ = setting("SGD", MomentumSAM())
    with pytest.raises(ValueError, match="SGD has none"):
        perturbed.add_param_group({"params": [nn.Parameter(torch.ones(1))], "momentum": 0.0})
    assert len(perturbed.param_groups) == 1


@pytest.mark.parametrize("how", ["module", "named_parameters"])
def test_biases_are_known_by_name(how):
    module = nn.LayerNorm(1)  # its weight has one dimension, as its bias
    nn.init.constant_(module.weight, 2.0)
    named = how == "named_parameters"
    base = SGD(module.named_parameters() if named else module.parameters(), lr=1.0)
    perturbed = PerturbedOptimizer(base, ASAM(), module=None if named else module)
    assert perturbed._vector.is_weight.tolist() == [True, False]
    anonymous = PerturbedOptimizer(SGD(module.parameters(), lr=1.0), ASAM())
    assert anonymous._vector.is_weight.tolist() == [False, False]


def test_without_module_the_parameters_are_trained_alike():
    # batch statistics of training mode do not depend on running ones
    (one, with_module, closure), (two, without, other) = setting(), setting(module=None)
    for _ in range(3):
        assert with_module.step(closure) == without.step(other)
    assert all(map(torch.equal, one.parameters(), two.parameters()))
    assert one[1].num_batches_tracked == 3
    assert two[1].num_batches_tracked == 6  # why module= is there


@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_max_grad_norm_bounds_the_direction(limit):
    (module, clipped, closure), (_, free, other) = setting(max_grad_norm=limit), setting()
    clipped.step(closure)
    free.step(other)
    norm = nn.utils.get_total_norm(
        [p.grad for group in free.param_groups for p in group["params"]]
    ).item()
    own = nn.utils.get_total_norm([p.grad for p in module.parameters()]).item()
    assert own == pytest.approx(min(limit, norm), rel=1e-2)


def test_a_scaler_that_is_off_changes_nothing():
    (one, plain, closure), (two, scaled, other) = setting(), setting()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for _ in range(3):
        plain.step(closure)
        scaled.step(other, grad_scaler=scaler)
        scaler.update()
    assert same(one, two)


def test_training_in_bfloat16_autocast_follows_training_in_float32():
    module, perturbed, _ = setting()
    _, X, y = problem()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)

    def closure():
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.mse_loss(module(X).float(), y)
        scaler.scale(loss).backward()
        return loss

    _, reference, full = setting()
    for _ in range(10):
        loss = perturbed.step(closure, grad_scaler=scaler)
        scaler.update()
        assert loss.item() == pytest.approx(reference.step(full).item(), rel=0.05)
    assert perturbed.n_skipped_steps == 0


def test_zero_grad_clears_the_gradients():
    module, perturbed, closure = setting()
    perturbed.step(closure)
    assert all(p.grad is not None for p in module.parameters())
    perturbed.zero_grad()
    assert all(p.grad is None for p in module.parameters())


def test_closures_that_clear_the_gradients_themselves_change_nothing():
    (one, bare, closure), (two, usual, other) = setting(), setting()

    def clearing():
        usual.zero_grad()
        return other()

    for _ in range(3):
        assert bare.step(closure) == usual.step(clearing)
    assert same(one, two)


def test_hooks_run_once_a_step():
    _, perturbed, closure = setting()
    seen = []
    perturbed.register_step_post_hook(lambda *args: seen.append("perturbed"))
    perturbed.base_optimizer.register_step_pre_hook(lambda *args: seen.append("base"))
    for _ in range(2):
        perturbed.step(closure)
    assert seen == ["base", "perturbed"] * 2


def test_step_works_under_no_grad_and_leaves_grad_mode_alone():
    _, perturbed, closure = setting()
    with torch.no_grad():
        perturbed.step(closure)
        assert not torch.is_grad_enabled()
    perturbed.step(closure)
    assert torch.is_grad_enabled()


def test_repr_names_the_groups():
    _, perturbed, _ = setting()
    text = repr(perturbed)
    assert text.startswith("PerturbedOptimizer (")
    assert "lr: 0.05" in text
    assert "momentum: 0.9" in text


def test_fisher_sam_takes_per_sample_gradients_from_the_caller():
    w = nn.Parameter(torch.tensor([1.0, 1.0]))
    perturbed = PerturbedOptimizer(SGD([w], lr=1.0), FisherSAM(rho=1.0, fisher="per_sample"))

    def closure():
        loss = (w**2).sum() / 2
        loss.backward()
        return loss

    with pytest.raises(ValueError, match="squared_gradients="):
        perturbed.step(closure)
    perturbed.step(closure, squared_gradients=lambda labels: torch.tensor([0.0, 1.0]))
    # g = (1, 1), F g = (1, 1/2), g . F g = 3/2, so w becomes -eps
    np.testing.assert_allclose(w.detach(), -np.array([1.0, 0.5]) / np.sqrt(1.5), rtol=1e-6)
    cosine = perturbed.perturbation_state["cosine"]
    assert cosine.item() == pytest.approx(1.5 / np.sqrt(2 * 1.25))


def test_gsam_remembers_the_largest_learning_rate_when_resumed():
    _, perturbed, closure = setting("SGD", GSAM(rho=0.5))
    perturbed.step(closure)
    saved = perturbed.state_dict()
    _, resumed, _ = setting("SGD", GSAM(rho=0.5))
    resumed.load_state_dict(saved)
    assert resumed.perturbation_state["lr_max"].item() == pytest.approx(0.05)


@pytest.mark.parametrize("variant", ["sam", "looksam", "momentum"])
def test_gradient_evaluations_are_counted(variant):
    _, perturbed, closure = setting("SGD", VARIANTS[variant]())
    calls = []
    for _ in range(7):
        perturbed.step(lambda: calls.append(1) or closure())
    expected = {"sam": 14, "looksam": 7 + 2, "momentum": 7}
    assert perturbed.n_gradient_evaluations == len(calls) == expected[variant]


def test_parameters_of_another_optimizer_get_one_gradient():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).double()
    X = torch.randn(5, 2, dtype=torch.float64)
    expected = torch.autograd.grad(module(X).square().mean(), module[1].weight)[0]
    base = torch.optim.SGD(module[0].parameters(), lr=0.1)
    optimizer = PerturbedOptimizer(base, SAM(rho=0.5), module=module)

    def closure():
        loss = module(X).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(module[1].weight.grad, expected)
