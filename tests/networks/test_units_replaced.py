"""What is put in the place of activations, against networks changed by hand."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap
from torch.nn import functional as F

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import MLP, ParameterVector
from sklflat.networks.units import Units
from tests.cases import CASES

every_case = pytest.mark.parametrize("name", CASES)


@every_case
def test_putting_back_what_was_there_changes_neither_outputs_nor_gradients(name):
    module, X = CASES[name].module(), CASES[name].rows()
    vector = ParameterVector.of(module)

    def output_and_gradient():
        output = module(X)
        gradients = torch.autograd.grad(output.square().sum(), vector.parameters)
        return output, vector.join(gradients)

    plain = output_and_gradient()
    with Units.find(module, X).replaced(lambda i, a: a):
        again = output_and_gradient()
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@every_case
@torch.no_grad()
def test_each_place_is_its_own(name):
    """Rows, units and positions numbered: what was put at one place is seen at it again."""
    module, X = CASES[name].module(), CASES[name].rows(4)
    units = Units.find(module, X)
    numbers = {}

    def number(i, a):
        numbers[i] = torch.arange(a.numel(), dtype=a.dtype).view(a.shape)
        return numbers[i]

    with units.replaced(number):
        module(X)
        got = units.activations(module, X)  # one mode sees what the other put there
    expected = [a.flatten(2).mean(2) if a.ndim > 2 else a for a in numbers.values()]
    torch.testing.assert_close(got, torch.cat(expected, 1), rtol=1e-12, atol=0)


@torch.no_grad()
def test_silent_units_are_those_with_no_outgoing_weights():
    module, X = CASES["mlp"].module(), CASES["mlp"].rows()
    units = Units.find(module, X)
    for unit in range(len(units)):
        layer, channel = units.layer_of[unit], units.channel_of[unit]

        def silence(i, a, layer=layer, channel=channel):
            return a * (torch.arange(a.shape[1]) != channel) if i == layer else a

        with units.replaced(silence):
            silent = module(X)
        twin = copy.deepcopy(module)
        twin.linears[layer + 1].weight[:, channel] = 0
        torch.testing.assert_close(silent, twin(X), rtol=0, atol=1e-12)


@torch.no_grad()
def test_ablation_of_a_layer_that_is_kept_in_a_residual_stream():
    module, X = CASES["resnet"].module(), CASES["resnet"].rows()
    units = Units.find(module, X, layers="block2.relu")
    with units.replaced(lambda i, a: torch.zeros_like(a)):
        got = module(X)
    block = module.block2
    x = module.block1(module.relu(module.bn(module.stem(X))))
    zeros = torch.zeros_like(block.conv1(x))
    x = F.relu(block.bn2(block.conv2(zeros)) + block.downsample(x))
    torch.testing.assert_close(got, module.head(x.mean((2, 3))), rtol=0, atol=1e-12)


def test_gradients_flow_through_the_replacement():
    module, X = CASES["mlp"].module(), CASES["mlp"].rows()
    units = Units.find(module, X)
    gate = torch.ones(7, dtype=torch.float64, requires_grad=True)
    with units.replaced(lambda i, a: a * gate if i == 0 else a):
        z = module(X).sum()
    (got,) = torch.autograd.grad(z, gate)
    a = module.hidden[:2](X).detach().requires_grad_()
    (slope,) = torch.autograd.grad(module.output(module.hidden[3:](a)).sum(), a)
    torch.testing.assert_close(got, (slope * a).sum(0))


@pytest.mark.parametrize("name", ["mlp", "functional_cnn", "transformer_batch_second", "einsum"])
def test_function_transforms_see_the_replacement(name):
    """Derivatives of the output by a shift of all activations, by six ways."""
    module, X = CASES[name].module(), CASES[name].rows(3)
    units = Units.find(module, X)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    state = {k: v.detach() for k, v in state.items()}
    last = len(units.layers) - 1
    n = units.layers[last].n_units

    def shifted(d):
        def shift(i, a):
            return a + d.view(1, -1, *(1 for _ in a.shape[2:])) if i == last else a

        with units.replaced(shift):
            return functional_call(module, state, (X,)).sum(0)

    d = torch.zeros(n, dtype=torch.float64)
    step = 1e-6
    eye = torch.eye(n, dtype=torch.float64)
    by_differences = torch.stack(
        [(shifted(step * e) - shifted(-step * e)) / (2 * step) for e in eye], 1
    )
    ways = {
        "jacrev": jacrev(shifted)(d),
        "jacfwd": jacfwd(shifted)(d),
        "grad": torch.stack([grad(lambda d, k=k: shifted(d)[k])(d) for k in range(3)]),
        "jvp": torch.stack([jvp(shifted, (d,), (e,))[1] for e in eye], 1),
        "vmap": vmap(lambda e: jvp(shifted, (d,), (e,))[1], out_dims=1)(eye),
        "autograd": torch.autograd.functional.jacobian(shifted, d),
    }
    for way, got in ways.items():
        torch.testing.assert_close(got, by_differences, rtol=1e-5, atol=1e-7, msg=way)
    both = vmap(shifted)(torch.stack([d, d + 1]))
    torch.testing.assert_close(both[1], shifted(d + 1))


def test_an_in_place_nonlinearity_takes_the_replacement_where_it_works():
    class Statement(nn.Module):
        """What the call returns is not used."""

        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, X):
            x = self.a(X)
            x.relu_()
            x = 2 * x
            torch.tanh_(x)
            return self.c(x)

    module, X = Statement().double(), CASES["mlp"].rows()[:, :4]
    units = Units.find(module, X)
    with units.replaced(lambda i, a: torch.full_like(a, 2.0)):
        got = module(X)
    torch.testing.assert_close(got, module.c(torch.full((len(X), 3), 2.0).double()))
    with units.replaced(lambda i, a: 3 * a):
        (slope,) = torch.autograd.grad(module(X).sum(), module.a.bias)
    a = module.a(X)
    (expected,) = torch.autograd.grad(module.c(3 * (2 * a.relu()).tanh()).sum(), module.a.bias)
    torch.testing.assert_close(slope, expected)


def test_what_was_seen_is_not_changed_by_what_the_module_does_next():
    class Adding(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(6, 3), nn.Linear(3, 2)

        def forward(self, X):
            x = torch.relu(self.a(X))
            x += 1
            return self.c(x)

    module, X = Adding().double(), CASES["mlp"].rows()
    seen = []
    with torch.no_grad(), Units.find(module, X).replaced(lambda i, a: seen.append(a) or a):
        module(X)
    torch.testing.assert_close(seen[0], module.a(X).relu().detach())


def test_only_the_networks_own_nonlinearities_count():
    """A loss and another network that use the same functions run in between."""
    module, X = CASES["mlp"].module(), CASES["mlp"].rows()
    other = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    units = Units.find(module, X)
    with units.replaced(lambda i, a: torch.zeros_like(a)):
        z = module(F.relu(X))
        loss = F.relu(z).sum() + other(z).sum()
        again = module(X)
    constant = module.output.bias
    assert torch.equal(z, constant.expand_as(z))
    assert torch.equal(again, z)
    assert torch.equal(loss, F.relu(z).sum() + other(z).sum())


def test_a_part_of_a_bigger_module_is_found():
    module, X = CASES["mlp"].module(), CASES["mlp"].rows()
    wrapped = nn.Sequential(nn.ReLU(), copy.deepcopy(module), nn.ReLU())
    with Units.find(module, X).replaced(lambda i, a: torch.zeros_like(a)):
        z = wrapped(X)
    torch.testing.assert_close(z, wrapped[1].output.bias.relu().expand_as(z))


def test_linear_units_are_replaced_too():
    module, X = CASES["linear_mlp"].module(), CASES["linear_mlp"].rows()
    with Units.find(module, X).replaced(lambda i, a: 2 * a if i == 0 else a):
        z = module(X)
    first, second, last = module.linears
    torch.testing.assert_close(z, last(second(2 * first(X))))


def test_nothing_is_replaced_outside_of_the_context():
    module, X = CASES["mlp"].module(), CASES["mlp"].rows()
    units, before = Units.find(module, X), module(X)
    with pytest.raises(KeyError), units.replaced(lambda i, a: {}[i]):
        module(X)
    assert torch.equal(module(X), before)
    with units.replaced(lambda i, a: torch.zeros_like(a)):
        assert not torch.equal(module(X), before)


def test_an_error_in_the_middle_of_a_pass_does_not_shift_the_next():
    module, X = CASES["mlp"].module(), CASES["mlp"].rows()
    units, failed = Units.find(module, X), []

    def fail_once(i, a):
        if i == 0 and not failed:
            failed.append(i)
            raise KeyError(i)
        return torch.full_like(a, i)

    with units.replaced(fail_once):
        with pytest.raises(KeyError):
            module(X)
        z = module(X)
    torch.testing.assert_close(z, module.output(torch.ones(len(X), 5).double()))


def test_half_precision_stays():
    module, X = CASES["cnn"].module(dtype=torch.bfloat16), CASES["cnn"].rows()
    units = Units.find(module, X)
    with units.replaced(lambda i, a: a.double()):
        assert module(X.bfloat16()).dtype == torch.bfloat16


def test_wrong_shapes_and_strangers_are_errors():
    module, X = MLP(6, 3, (4,)).double(), CASES["mlp"].rows()
    units = Units.find(module, X)
    with (
        pytest.raises(ValueError, match=r"must return a tensor of a's shape \(24, 4\), got \(4,\)"),
        units.replaced(lambda i, a: a[0]),
    ):
        module(X)
    for run in (module.forward, nn.Sequential(nn.Linear(6, 4), nn.ReLU()).double()):
        with (
            pytest.raises(UnsupportedNetworkError, match="Nothing was replaced"),
            units.replaced(lambda i, a: a),
        ):
            run(X)
    with units.replaced(lambda i, a: a):
        pass  # nothing ran


@pytest.mark.parametrize("name", CASES)
def test_watched_activations_are_the_same_and_gradients_flow(name):
    case = CASES[name]
    module, X = case.module(), case.rows(5)
    units = Units.find(module, X)
    A = units.watched(lambda: module(X))
    torch.testing.assert_close(A.detach(), units.activations(module, X))
    gradients = torch.autograd.grad(A.square().sum(), list(module.parameters()), allow_unused=True)
    assert any(g is not None and g.any() for g in gradients)
