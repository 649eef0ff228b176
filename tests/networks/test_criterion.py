"""Every criterion, reduction and kind of target against the user's own call."""

import pytest
import torch
from torch import nn

from sklflat.curvature import Fisher, GaussNewton, Hessian
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Network, TaskLoss
from sklflat.networks.criterion import Criterion
from sklflat.networks.state import read_state
from sklflat.paths.losses import path_losses
from sklflat.paths.paths import LinearPath
from tests._slow import slow_after, slow_unless

N, FEATURES, CLASSES, POSITIONS = 11, 3, 4, 5
GENERATOR = torch.Generator().manual_seed(0)


def draw(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def integers(high, *shape):
    return torch.randint(high, shape, generator=GENERATOR)


class Sequences(nn.Module):
    """Outputs (n, classes, positions), by a convolution."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv1d(FEATURES, CLASSES, 1)

    def forward(self, X):
        return self.layer(X).tanh() * 2


class Rows(nn.Module):
    """Outputs (n, classes), put through a last function."""

    def __init__(self, last=None):
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, 3), nn.Linear(3, CLASSES)
        self.last = last

    def forward(self, X):
        z = self.second(self.first(X).tanh())
        return z if self.last is None else self.last(z)


def log_softmax(z):
    return z.log_softmax(1)


WEIGHT = torch.tensor([0.1, 1.0, 5.0, 2.0], dtype=torch.float64)
ROWS, SEQUENCES = draw(N, FEATURES), draw(N, FEATURES, POSITIONS)
LABELS, SIGNS = integers(CLASSES, N), 2.0 * integers(2, N, CLASSES) - 1
PADDED = integers(CLASSES, N, POSITIONS)
PADDED[0] = -100
PADDED[1:4, 2:] = -100
SMOOTH = draw(N, CLASSES).softmax(1)
SHARES = draw(N, CLASSES, POSITIONS).softmax(1)
MEANS = ("mean", "sum", "none")

#: name: criterion by reduction, reductions, targets, module
CASES = {
    "CrossEntropy": (nn.CrossEntropyLoss, {}, MEANS, LABELS, Rows),
    "CrossEntropy, weights": (nn.CrossEntropyLoss, {"weight": WEIGHT}, MEANS, LABELS, Rows),
    "CrossEntropy, ignored": (nn.CrossEntropyLoss, {"ignore_index": 1}, MEANS, LABELS, Rows),
    "CrossEntropy, smoothing, weights": (
        nn.CrossEntropyLoss,
        {"label_smoothing": 0.3, "weight": WEIGHT, "ignore_index": 2},
        MEANS,
        LABELS,
        Rows,
    ),
    "CrossEntropy, probabilities": (
        nn.CrossEntropyLoss,
        {"weight": WEIGHT, "label_smoothing": 0.1},
        MEANS,
        SMOOTH,
        Rows,
    ),
    "CrossEntropy, positions": (nn.CrossEntropyLoss, {}, MEANS, PADDED, Sequences),
    "CrossEntropy, positions, weights": (
        nn.CrossEntropyLoss,
        {"weight": WEIGHT, "label_smoothing": 0.2},
        MEANS,
        PADDED,
        Sequences,
    ),
    "CrossEntropy, positions, probabilities": (nn.CrossEntropyLoss, {}, MEANS, SHARES, Sequences),
    "NLL, weights": (
        nn.NLLLoss,
        {"weight": WEIGHT, "ignore_index": 3},
        MEANS,
        LABELS,
        lambda: Rows(log_softmax),
    ),
    "NLL, positions": (
        nn.NLLLoss,
        {"weight": WEIGHT},
        MEANS,
        PADDED,
        lambda: nn.Sequential(Sequences(), nn.LogSoftmax(1)),
    ),
    "BCE": (nn.BCELoss, {}, MEANS, SMOOTH, lambda: Rows(torch.sigmoid)),
    "BCEWithLogits": (nn.BCEWithLogitsLoss, {}, MEANS, SMOOTH, Rows),
    "BCEWithLogits, weights": (
        nn.BCEWithLogitsLoss,
        {"weight": WEIGHT, "pos_weight": WEIGHT.flip(0)},
        MEANS,
        SMOOTH,
        Rows,
    ),
    "BCEWithLogits, positions": (nn.BCEWithLogitsLoss, {}, MEANS, SHARES, Sequences),
    "MSE": (nn.MSELoss, {}, MEANS, draw(N, CLASSES), Rows),
    "MSE, positions": (nn.MSELoss, {}, MEANS, draw(N, CLASSES, POSITIONS), Sequences),
    "SmoothL1": (nn.SmoothL1Loss, {"beta": 0.5}, MEANS, draw(N, CLASSES), Rows),
    "Huber": (nn.HuberLoss, {"delta": 0.5}, MEANS, draw(N, CLASSES), Rows),
    "KLDiv": (nn.KLDivLoss, {}, (*MEANS, "batchmean"), SMOOTH, lambda: Rows(log_softmax)),
    "KLDiv, positions": (
        nn.KLDivLoss,
        {"log_target": True},
        (*MEANS, "batchmean"),
        draw(N, CLASSES, POSITIONS).log_softmax(1),
        lambda: nn.Sequential(Sequences(), nn.LogSoftmax(1)),
    ),
    "PoissonNLL": (nn.PoissonNLLLoss, {"full": True}, MEANS, 3.0 * SMOOTH, Rows),
    "PoissonNLL of means": (
        nn.PoissonNLLLoss,
        {"log_input": False},
        MEANS,
        3.0 * SMOOTH,
        lambda: Rows(torch.exp),
    ),
    "HingeEmbedding": (nn.HingeEmbeddingLoss, {}, MEANS, SIGNS, Rows),
    "SoftMargin": (nn.SoftMarginLoss, {}, MEANS, SIGNS, Rows),
    "MultiMargin": (nn.MultiMarginLoss, {"p": 2, "weight": WEIGHT}, MEANS, LABELS, Rows),
    "MultiLabelMargin": (
        nn.MultiLabelMarginLoss,
        {},
        MEANS,
        torch.tensor([[2, 0, -1, -1]] * N),
        Rows,
    ),
    "MultiLabelSoftMargin": (nn.MultiLabelSoftMarginLoss, {}, MEANS, SMOOTH, Rows),
}
ALL = [
    (name, reduction)
    for name, (_, _, reductions, _, _) in CASES.items()
    for reduction in reductions
]


class OwnSum(nn.Module):
    """A sum over rows, without saying so."""

    def forward(self, z, y):
        return (z - y).square().sum()


class OwnFocal(nn.Module):
    """A mean over rows of a user's own."""

    def forward(self, z, y):
        log_p = z.log_softmax(1).gather(1, y[:, None])[:, 0]
        return -((1 - log_p.exp()) ** 2 * log_p).mean()


class SaysMeanButSums(nn.Module):
    reduction = "mean"

    def forward(self, z, y):
        return (z - y).square().sum()


class HonoursNone(nn.Module):
    reduction = "mean"

    def forward(self, z, y):
        losses = (z - y).abs().sum(1)
        return losses if self.reduction == "none" else losses.mean()


OWN = {
    "sum": (OwnSum(), draw(N, CLASSES)),
    "focal": (OwnFocal(), LABELS),
    "says mean, sums": (SaysMeanButSums(), draw(N, CLASSES)),
    "honours none": (HonoursNone(), draw(N, CLASSES)),
}


def inputs_of(make):
    module = make()
    has_positions = isinstance(module, Sequences) or isinstance(
        next(module.children(), None), Sequences
    )
    return SEQUENCES if has_positions else ROWS


def made(make):
    torch.manual_seed(1)
    return make().double()


def own_value(criterion, module, X, y):
    return criterion(module(X), y).mean()


def check(criterion, make, y, batch_size, w=None):
    """Loss, gradient and Hessian are autograd's on the user's own call."""
    X, module = inputs_of(make), made(make)
    parameters = list(module.parameters())
    value = own_value(criterion, module, X, y)
    is_twice = not isinstance(criterion, (nn.MultiMarginLoss, nn.MultiLabelMarginLoss))
    gradients = torch.autograd.grad(value, parameters, create_graph=is_twice)
    g = torch.cat([t.flatten() for t in gradients])
    network = Network(module, criterion, batch_size=batch_size)
    ours, gradient = network.loss_and_gradient(network.vector.read(), X, y)
    torch.testing.assert_close(ours, value.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(network.loss(X, y), value.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, g.detach(), rtol=1e-10, atol=1e-10)
    if not is_twice:  # PyTorch has no second derivative of these
        with pytest.raises(UnsupportedNetworkError, match="cannot be differentiated twice"):
            Hessian(network, X, y) @ draw(len(g))
    elif g.requires_grad:
        v = draw(len(g))
        Hv = torch.autograd.grad(g @ v, parameters, allow_unused=True)
        parts = zip(Hv, parameters, strict=True)
        Hv = torch.cat([(torch.zeros_like(p) if t is None else t).flatten() for t, p in parts])
        torch.testing.assert_close(Hessian(network, X, y) @ v, Hv, rtol=1e-10, atol=1e-10)


#: PyTorch announces that this mean will be the batch mean
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize("batch_size", slow_after(1, [4, N]))
@pytest.mark.parametrize(("name", "reduction"), slow_unless(lambda _, how: how == "mean", ALL))
def test_torchs_criteria(name, reduction, batch_size):
    of, options, _, y, make = CASES[name]
    check(of(reduction=reduction, **options), make, y, batch_size)


@pytest.mark.parametrize("batch_size", slow_after(1, [4, N]))
@pytest.mark.parametrize(("criterion", "y"), OWN.values(), ids=OWN)
def test_criteria_of_ones_own(criterion, y, batch_size):
    check(criterion, Rows, y, batch_size)


class OwnWeights(nn.Module):
    """Averages by weights of its own, which no row alone shows."""

    def forward(self, z, y):
        s = WEIGHT[y]
        return (s * nn.functional.cross_entropy(z, y, reduction="none")).sum() / s.sum()


class SquareOfMean(nn.Module):
    def forward(self, z, y):
        return (z - y).square().mean() ** 2


class Draws(nn.Module):
    def forward(self, z, y):
        return (z - y + torch.randn_like(z)).square().mean()


class GradientOfMore(nn.Module):
    """A mean over rows whose gradient has a part that is no mean."""

    def forward(self, z, y):
        return (z - y).square().mean() + (z - z.detach()).sum()


class NoTensor(nn.Module):
    def forward(self, z, y):
        return (z - y).sum().item()


@pytest.mark.parametrize(
    ("criterion", "y"),
    [
        (OwnWeights(), torch.arange(N) % CLASSES),
        (SquareOfMean(), draw(N, CLASSES)),
        (Draws(), draw(N, CLASSES)),
        (GradientOfMore(), draw(N, CLASSES)),
        (NoTensor(), draw(N, CLASSES)),
        (nn.GaussianNLLLoss(), draw(N, CLASSES)),
        (nn.CosineEmbeddingLoss(), draw(N, CLASSES)),
        (nn.MarginRankingLoss(), draw(N, CLASSES)),
        (nn.TripletMarginLoss(), draw(N, CLASSES)),
        (nn.CTCLoss(), LABELS),
    ],
)
def test_what_is_no_sum_over_rows_is_refused_by_name(criterion, y):
    network = Network(made(Rows), criterion)
    for ask in (network.loss, network.losses, lambda X, y: Hessian(network, X, y)):
        with pytest.raises(UnsupportedNetworkError, match=type(criterion).__name__):
            ask(ROWS, y)


def test_a_later_batch_that_does_not_add_up_is_refused():
    # the first batch has one class, so own weights do not show
    y = torch.tensor([1] * 6 + [0, 1, 2, 3, 0])
    with pytest.raises(UnsupportedNetworkError, match="OwnWeights"):
        Network(made(Rows), OwnWeights(), batch_size=6).loss(ROWS, y)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize("reduction", slow_after(1, MEANS))
@pytest.mark.parametrize("name", list(CASES))
def test_a_weight_of_two_is_a_row_twice(name, reduction):
    of, options, _, y, make = CASES[name]
    X, network = inputs_of(make), Network(made(make), of(reduction=reduction, **options))
    repeats = torch.arange(N) % 3
    repeated = network.loss(X.repeat_interleave(repeats, 0), y.repeat_interleave(repeats, 0))
    torch.testing.assert_close(network.loss(X, y, repeats.double()), repeated, rtol=1e-10, atol=0)


LIKELIHOODS = [
    (name, reduction)
    for name, reduction in ALL
    if CASES[name][0]
    in (nn.CrossEntropyLoss, nn.NLLLoss, nn.BCEWithLogitsLoss, nn.MSELoss, nn.PoissonNLLLoss)
    and name != "PoissonNLL of means"
]
LIKELIHOODS += [("softmax", None), ("logistic", None), ("squared", None), ("poisson", None)]


#: one of each kind of what weights a sample
QUICK = ("CrossEntropy, positions, weights", "NLL, weights", "BCEWithLogits, weights", "MSE")


@pytest.mark.parametrize(
    ("name", "reduction"),
    slow_unless(lambda name, how: name in QUICK and how == "mean", LIKELIHOODS),
)
def test_the_sampled_fisher_is_the_exact_one_on_average(name, reduction):
    if reduction is None:
        criterion, make = TaskLoss(name, temperature=2.0), Rows
        y = LABELS if name == "softmax" else 3.0 * SMOOTH
    else:
        of, options, _, y, make = CASES[name]
        criterion = of(reduction=reduction, **options)
    X, network = inputs_of(make), Network(made(make), criterion)
    weight = torch.arange(N, dtype=torch.float64) % 4
    exact = GaussNewton(network, X, y, weight)
    v = draw(len(exact))
    wanted = exact @ v
    drawn = Fisher(network, X, y, weight, kind="monte_carlo", n_draws=500) @ v
    # 500 draws for each of 11 rows know the quadratic form to about .03
    assert float(v @ drawn) == pytest.approx(float(v @ wanted), rel=0.12)
    torch.testing.assert_close(Fisher(network, X, y, weight) @ v, wanted, rtol=1e-12, atol=1e-12)


def test_means_of_counts_are_no_natural_parameters():
    network = Network(made(lambda: Rows(torch.exp)), nn.PoissonNLLLoss(log_input=False))
    with pytest.raises(TypeError, match="PoissonNLLLoss"):
        Fisher(network, ROWS, 3.0 * SMOOTH)


@pytest.mark.parametrize("batch_size", slow_after(1, [4, N]))
def test_errors_are_shares_of_what_is_counted(batch_size):
    network = Network(made(Sequences), nn.CrossEntropyLoss(), batch_size=batch_size)
    state = read_state(network.module)
    path = LinearPath(state, {k: -v for k, v in state.items()})
    found = path_losses(network, path, [0.0, 1.0], SEQUENCES, PADDED)
    z = network.module(SEQUENCES)
    counted = PADDED != -100
    wrong = (z.argmax(1) != PADDED) & counted
    assert found.error[0] == pytest.approx(float(wrong.sum() / counted.sum()))
    assert (found.error <= 1).all()


def test_terms_of_positions_by_hand():
    cross_entropy = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
    y = torch.tensor([[0, 1, -100], [1, 1, 1]])
    losses, weights = Criterion(cross_entropy).terms(torch.zeros(2, 2, 3), y)
    torch.testing.assert_close(weights, torch.tensor([4 / 3, 3.0]))
    torch.testing.assert_close(losses, weights * torch.log(torch.tensor(2.0)))


def test_a_first_batch_without_losses_does_not_decide():
    class HingeSum(nn.Module):
        def forward(self, z, y):
            return (1 - z * (2 * y - 1)).clamp_min(0).sum()

    criterion, y = Criterion(HingeSum()), torch.ones(3, 1)
    total = [criterion.terms(z, y)[0].sum() for z in (torch.full((3, 1), 5.0), torch.zeros(3, 1))]
    assert criterion.is_sum
    assert float(criterion.mean(sum(total), torch.tensor(6.0))) == 3
