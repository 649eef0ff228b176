"""What a closure and the constructor of PerturbedOptimizer have to be given is said."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from sklflat import PerturbedOptimizer
from sklflat.training.perturbations import SAM, VARIANTS

X, y = torch.randn(20, 3, generator=torch.manual_seed(0)), torch.arange(20) % 2


def made(variant=SAM, **own):
    torch.manual_seed(1)
    module = nn.Linear(3, 2)
    return module, PerturbedOptimizer(SGD(module.parameters(), 0.1, momentum=0.9, **own), variant())


def loss_of(module):
    return nn.functional.cross_entropy(module(X), y)


@pytest.mark.parametrize("returned", [None, 1.0, "loss", [torch.ones(())]])
@pytest.mark.parametrize("variant", VARIANTS.values())
def test_a_closure_that_returns_no_tensor(variant, returned):
    module, optimizer = made(variant)
    before = [p.detach().clone() for p in module.parameters()]

    def closure():
        loss_of(module).backward()
        return returned

    with pytest.raises(TypeError, match=r"has to call loss\.backward\(\) and return the loss"):
        optimizer.step(closure)
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))


@pytest.mark.parametrize("variant", VARIANTS.values())
def test_a_closure_that_never_goes_backward(variant):
    module, optimizer = made(variant)
    with pytest.raises(ValueError, match=r"call loss\.backward\(\)"):
        optimizer.step(lambda: loss_of(module))


def test_a_module_of_which_only_a_part_is_used_is_trained():
    module, other = nn.Linear(3, 2), nn.Linear(3, 2)
    parameters = [*module.parameters(), *other.parameters()]
    optimizer = PerturbedOptimizer(SGD(parameters, 0.1), SAM())

    def closure():
        loss = loss_of(module)
        loss.backward()
        return loss

    before = float(optimizer.step(closure))
    assert float(loss_of(module).detach()) < before
    assert all(p.grad is None for p in other.parameters())


def test_what_is_no_optimizer_or_no_perturbation():
    module = nn.Linear(3, 2)
    for given in (SGD, module.parameters(), list(module.parameters()), module):
        with pytest.raises(TypeError, match="base_optimizer must be an instance"):
            PerturbedOptimizer(given, SAM())
    for given in ("sam", SAM, SGD, None, 0.05):
        with pytest.raises(TypeError, match=r"such as SAM\(rho=0\.05\)"):
            PerturbedOptimizer(SGD(module.parameters(), 0.1), given)


def test_gradients_through_a_step_are_refused():
    with pytest.raises(ValueError, match="differentiable=True"):
        made(differentiable=True)


@pytest.mark.parametrize("options", [{"foreach": False}, {"foreach": True}, {"fused": True}])
@pytest.mark.parametrize("base", [SGD, Adam])
def test_options_of_the_base_optimizer_keep_their_meaning(base, options):
    """Without a radius the step is the base optimizer's; with one, all options give the same."""
    results = []
    for rho, own in ((0.0, options), (0.0, {}), (0.05, options), (0.05, {})):
        torch.manual_seed(1)
        module = nn.Linear(3, 2)
        optimizer = PerturbedOptimizer(base(module.parameters(), lr=0.1, **own), SAM(rho=rho))

        def closure(module=module):
            loss = loss_of(module)
            loss.backward()
            return loss

        for _ in range(5):
            optimizer.step(closure)
        results.append(module.weight.detach().clone())
    assert torch.allclose(results[0], results[1], atol=1e-6)
    assert torch.allclose(results[2], results[3], atol=1e-6)
    assert not torch.allclose(results[0], results[2], atol=1e-6)
