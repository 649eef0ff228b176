"""The functional view of a network against the module's own loss and gradient."""

import copy

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from torch import nn
from torch.nn import functional as F

from sklflat.networks import MLP, Network, TaskLoss
from sklflat.training.estimators.trained_network import network_of
from tests._estimators import IRIS, SPECIES, Net, skorch_net

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(37, 5, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.randint(0, 3, (37,), generator=GENERATOR)
REAL = torch.randn(37, 3, generator=GENERATOR, dtype=torch.float64)
BINARY = (REAL > 0).double()


class Tied(nn.Module):
    """One square layer used twice, one frozen layer, one that never runs."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.frozen = nn.Linear(5, 5).requires_grad_(False)
        self.last = nn.Linear(5, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, X):
        return self.last(self.frozen(self.first(self.first(X).tanh()).tanh()))


def with_batch_norm():
    module = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    module(torch.randn(20, 5, generator=GENERATOR))  # running statistics other than 0 and 1
    return module


MODULES = {"mlp": lambda: MLP(5, 3, (7, 6), "tanh"), "tied": Tied, "batch norm": with_batch_norm}
CLASS_WEIGHT = torch.tensor([1.0, 2.0, 5.0])
CRITERIA = {
    "softmax": (TaskLoss("softmax"), LABELS),
    "temperature": (TaskLoss("softmax", temperature=2.0), LABELS),
    "logistic": (TaskLoss("logistic"), BINARY),
    "squared": (TaskLoss("squared"), REAL),
    "torch": (nn.CrossEntropyLoss(), LABELS),
    "weights, ignored": (nn.CrossEntropyLoss(weight=CLASS_WEIGHT, ignore_index=1), LABELS),
    "smoothing": (nn.CrossEntropyLoss(weight=CLASS_WEIGHT, label_smoothing=0.1), LABELS),
    "soft labels": (nn.CrossEntropyLoss(), REAL.softmax(1)),
    "mse": (nn.MSELoss(), REAL),
    "mse, sum": (nn.MSELoss(reduction="sum"), REAL),
    "huber": (nn.SmoothL1Loss(), REAL),
}


@pytest.mark.parametrize("batch_size", [37, 10])
@pytest.mark.parametrize(("criterion", "y"), CRITERIA.values(), ids=CRITERIA)
@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_loss_and_gradient_are_the_modules_own(make, criterion, y, batch_size):
    torch.manual_seed(0)
    module = make()
    network = Network(module, criterion, batch_size=batch_size, dtype=torch.float64)
    own = make().double().eval()
    own.load_state_dict(module.state_dict())
    expected = criterion.double()(own(X), y)
    trained = [p for p in own.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(expected, trained, allow_unused=True)
    flat = [
        torch.zeros(p.numel()) if g is None else g.flatten()
        for p, g in zip(trained, gradients, strict=True)
    ]

    value, gradient = network.loss_and_gradient(network.vector.read(), X, y)

    torch.testing.assert_close(value, expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, torch.cat(flat).double(), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(network.loss(X, y), expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(network.outputs(X), own(X).detach(), rtol=1e-12, atol=0)


def double(module, criterion, **settings):
    return Network(module, criterion, dtype=torch.float64, **settings)


@pytest.mark.parametrize("batch_size", [37, 4])
def test_a_weight_is_a_repeated_row(batch_size):
    repeats = torch.arange(37) % 3
    network = double(MLP(5, 3), TaskLoss("softmax"), batch_size=batch_size)
    w = network.vector.read()
    repeated = [t.repeat_interleave(repeats, 0) for t in (X, LABELS)]
    weighted = network.loss_and_gradient(w, X, LABELS, repeats.double())
    for a, b in zip(weighted, network.loss_and_gradient(w, *repeated), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(network.loss(X, LABELS, repeats.double()), weighted[0])


def test_losses_are_those_of_single_samples():
    network = double(MLP(5, 3), TaskLoss("softmax"), batch_size=5)
    alone = [network.loss(X[i : i + 1], LABELS[i : i + 1]) for i in range(len(X))]
    torch.testing.assert_close(network.losses(X, LABELS), torch.stack(alone))


def test_a_criterion_without_reduction_is_a_mean_of_samples():
    class MeanSquare(nn.Module):
        def forward(self, z, y):
            return (z - y).square().mean()

    network = double(MLP(5, 3), MeanSquare(), batch_size=10)
    expected = (network.outputs(X) - REAL).square().mean()
    torch.testing.assert_close(network.loss(X, REAL), expected, rtol=1e-12, atol=0)


def test_the_given_module_is_left_alone():
    module = with_batch_norm().train()
    before = {name: t.clone() for name, t in module.state_dict().items()}
    network = Network(module, nn.CrossEntropyLoss())
    network.loss_and_gradient(network.vector.read(), X, LABELS)
    assert module.training
    assert all(p.grad is None and p.dtype == torch.float32 for p in module.parameters())
    for name, t in module.state_dict().items():
        assert torch.equal(t, before[name])


@pytest.mark.parametrize(
    ("own", "right"),
    [
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
)
def test_precision_is_the_modules_own_and_never_half(own, right):
    module = MLP(5, 3).to(own)
    network = Network(module, nn.CrossEntropyLoss(), batch_size=4)
    assert network.dtype == right
    exact = copy.deepcopy(module).double()(X).detach()
    found = network.outputs(X)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, exact, rtol=0, atol=20 * torch.finfo(right).eps)
    loss = F.cross_entropy(exact, LABELS)
    tol = 20 * torch.finfo(right).eps
    torch.testing.assert_close(network.loss(X, LABELS), loss, rtol=tol, atol=0)
    value, gradient = network.loss_and_gradient(network.vector.read(), X, LABELS)
    torch.testing.assert_close(value, loss, rtol=tol, atol=0)
    assert gradient.dtype == right


def test_mixed_precisions_are_joined_in_the_widest():
    module = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3).double())
    network = Network(module, nn.CrossEntropyLoss())
    assert network.dtype == torch.float64
    right = module.double()(X).detach()
    torch.testing.assert_close(network.outputs(X), right, rtol=1e-12, atol=0)


def test_losses_are_summed_in_double_precision():
    """A hundred thousand losses of 1 and one of 2**24 are no sum of single precision."""
    network = Network(nn.Linear(1, 1, bias=False), nn.MSELoss(reduction="sum"))
    network.vector.write(torch.ones(1))
    rows = torch.ones(100_001, 1)
    rows[0] = 2.0**12
    assert float(network.loss(rows, torch.zeros(100_001, 1))) == 2.0**24 + 100_000


def test_probabilities_of_a_skorch_net_become_log_probabilities():
    net = skorch_net(module__softmax=True, module__n_inputs=4, module__n_classes=3)
    net.set_params(criterion=nn.NLLLoss)
    net.fit(IRIS.astype("float32"), SPECIES)
    network = network_of(net)
    z = network.outputs(torch.as_tensor(IRIS))
    p = net.predict_proba(IRIS.astype("float32"))
    np.testing.assert_allclose(z.exp().numpy(), p, rtol=1e-4, atol=1e-6)
    expected = F.nll_loss(z, torch.as_tensor(SPECIES))
    torch.testing.assert_close(
        network.loss(torch.as_tensor(IRIS), torch.as_tensor(SPECIES)), expected
    )


def test_a_nets_own_infer_and_loss_are_used():
    class Own(NeuralNetClassifier):
        def infer(self, x, **fit_params):
            return 2 * super().infer(x, **fit_params)

        def get_loss(self, y_pred, y_true, *args, **kwargs):
            return 3 * super().get_loss(y_pred, y_true, *args, **kwargs)

    net = Own(Net, criterion=nn.CrossEntropyLoss, train_split=None).initialize()
    x, y = torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 1, 0])
    z = 2 * net.module_(x)
    network = network_of(net)
    torch.testing.assert_close(network.outputs(x), z.detach().double(), rtol=1e-5, atol=1e-6)
    expected = 3 * F.cross_entropy(z, y).detach().double()
    torch.testing.assert_close(network.loss(x, y), expected, rtol=1e-5, atol=1e-6)
