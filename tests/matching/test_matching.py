"""Matching by activations and through gradients, and of several networks."""

import itertools
import sys

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from torch import nn

from sklflat import SAMClassifier
from sklflat.matching import (
    ActivationGram,
    match_by_activations,
    match_many,
    match_straight_through,
    match_transport,
    match_weights,
)
from sklflat.networks import Network
from sklflat.networks.state import read_state
from sklflat.paths.losses import path_losses
from sklflat.paths.paths import LinearPath
from sklflat.probing import resolve
from sklflat.symmetry import Group, Symmetry, find_symmetry
from tests._slow import slow_after
from tests.aligned_cases import ALIGNED, symmetry_of
from tests.symmetry import _symmetries

DIGITS, DIGIT = load_digits(return_X_y=True)
DIGITS = (DIGITS / 16).astype(np.float32)


# --- activations ------------------------------------------------------------------------------


def plain_symmetry(n):
    units = torch.arange(n)
    return Symmetry(n, (Group("W[0]", units),), {"W": (units[:, None],)})


@pytest.mark.parametrize("batch_size", [1, 7, 60])
def test_correlations_are_those_of_numpy_for_every_batch_size(batch_size):
    rng = np.random.RandomState(0)
    A = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)) + 1e4  # far from 0
    B = A[:, ::-1] * [1, 2, -3, 1, 1] + rng.normal(size=(60, 5))
    gram, units = ActivationGram(plain_symmetry(5)), torch.arange(5)
    for start in range(0, 60, batch_size):
        rows = slice(start, start + batch_size)
        gram.update(
            [(units, torch.tensor(A[rows].copy()))], [(units, torch.tensor(B[rows].copy()))]
        )
    (found,) = gram.gains(gram.symmetry.groups[0])
    np.testing.assert_allclose(found, np.corrcoef(A.T, B.T)[:5, 5:], atol=1e-9)


def test_dead_units_correlate_with_nothing():
    A = torch.tensor(np.random.RandomState(0).normal(size=(30, 3)))
    A[:, 1] = 4.2
    gram, units = ActivationGram(plain_symmetry(3)), torch.arange(3)
    for rows in A.split(7):
        gram.update([(units, rows)], [(units, rows)])
    (found,) = gram.gains(gram.symmetry.groups[0])
    assert (found[1] == 0).all()
    assert (found[:, 1] == 0).all()


@pytest.mark.parametrize("name", [n for n in ALIGNED if n not in ("einsum", "linear_mlp")])
@pytest.mark.parametrize("seed", slow_after(1, range(3)))
def test_a_planted_permutation_is_found_from_activations(name, seed):
    case = ALIGNED[name]
    module, X = case.module(), case.rows(96)
    symmetry, a = symmetry_of(name), read_state(module)
    b = symmetry.permute(a, symmetry.random(torch.Generator().manual_seed(seed)))
    matching = match_by_activations(symmetry, module, a, b, X, batch_size=40)
    assert matching.objective >= matching.objective_identity - 1e-9
    moved = symmetry.permute(b, matching.perm)
    for n in a:
        torch.testing.assert_close(moved[n], a[n])


# --- digits -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    ends = [
        SAMClassifier(
            (48, 48),
            rho=0,
            alpha=0.3,
            max_iter=30,
            learning_rate_init=0.005,
            random_state=seed,
        ).fit(DIGITS, DIGIT)
        for seed in range(4)
    ]
    first = resolve(ends[0])
    states = [read_state(resolve(end).network.module) for end in ends]
    X, y = first.to_input(DIGITS), first.to_target(DIGIT)
    return first.network, find_symmetry(first.network.module, X), states, X, y


def midpoint(network, a, b, X, y):
    losses = path_losses(network, LinearPath(a, b), [0.0, 0.5, 1.0], X, y).loss
    return losses[1] - (losses[0] + losses[2]) / 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_all_ways_lower_the_barrier_of_independent_networks(trained):
    network, symmetry, (a, b, *_), X, y = trained
    naive = midpoint(network, a, b, X, y)
    names = [n for n, _ in network.module.named_parameters()]
    found = {
        "weights": match_weights(symmetry, a, b, names=names, random_state=0),
        "activations": match_by_activations(symmetry, network.module, a, b, X),
        "transport": match_transport(symmetry, a, b, names=names),
        "straight-through": match_straight_through(
            symmetry, network, a, b, X, y, n_steps=30, random_state=0
        ),
    }
    assert naive > 0.5
    for name, matching in found.items():
        moved = symmetry.permute(b, matching.perm)
        assert midpoint(network, a, moved, X, y) < naive / 2, name
    # its objective is the loss that it says it is
    moved = symmetry.permute(b, found["straight-through"].perm)
    loss = path_losses(network, LinearPath(a, moved), [0.5], X, y).loss[0]
    assert found["straight-through"].objective == pytest.approx(-loss)
    assert found["straight-through"].objective >= found["straight-through"].objective_identity


def test_straight_through_is_not_worse_than_its_first_projection():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))
    network, X = Network(module, nn.CrossEntropyLoss()), torch.randn(50, 3)
    y = (X[:, 0] > 0).long()
    symmetry, a = find_symmetry(module, X), read_state(network.module)
    b = symmetry.permute(a, symmetry.random(torch.Generator().manual_seed(1)))
    matching = match_straight_through(symmetry, network, a, b, X, y, n_steps=3, random_state=0)
    assert matching.objective == pytest.approx(-float(network.loss(X, y)))  # found at once
    with pytest.raises(ValueError, match="n_steps"):
        match_straight_through(symmetry, network, a, b, X, y, n_steps=0)


# --- optimal transport ------------------------------------------------------------------------


@pytest.mark.parametrize("reg", [0.0, 0.01])
@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "densenet"])
def test_a_planted_permutation_is_found_by_transport(name, reg):
    case = ALIGNED[name]
    module, X = case.module(), case.rows()
    symmetry, a = find_symmetry(module, X), read_state(module)
    b = symmetry.permute(a, symmetry.random(torch.Generator().manual_seed(2)))
    names = [n for n, _ in module.named_parameters()]
    matching = match_transport(symmetry, a, b, names=names, reg=reg)
    moved = symmetry.permute(b, matching.perm)
    assert all(torch.equal(moved[n], a[n]) for n in a)


@pytest.mark.parametrize(("n_in", "n"), slow_after(2, [(5, 12), (20, 200), (60, 2048)]))
def test_transport_is_the_assignment_of_least_distance(n_in, n):
    """One hidden layer, against SciPy on the weights of its units."""
    generator = torch.Generator().manual_seed(0)
    symmetry, a, _ = _symmetries.mlp(generator, sizes=(n_in, n, 3))
    _, b, _ = _symmetries.mlp(generator, sizes=(n_in, n, 3))
    x, y = (torch.cat([s["W0"], s["b0"][:, None], s["W1"].T], 1).numpy() for s in (a, b))
    _, expected = linear_sum_assignment(cdist(x, y, "sqeuclidean"))
    np.testing.assert_array_equal(match_transport(symmetry, a, b).perm.numpy(), expected)


def test_transport_refuses_a_negative_regularisation():
    symmetry, a, b = _symmetries.mlp(torch.Generator().manual_seed(0))[0], {}, {}
    with pytest.raises(ValueError, match="reg must be"):
        match_transport(symmetry, a, b, reg=-1.0)


def test_without_pot_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    generator = torch.Generator().manual_seed(0)
    symmetry, a, _ = _symmetries.mlp(generator)
    with pytest.raises(ImportError, match=r"sklflat\[ot\]"):
        match_transport(symmetry, a, a)


# --- several networks -------------------------------------------------------------------------


@pytest.mark.parametrize("n_refinements", [0, 3])
def test_four_planted_networks_are_recovered(n_refinements):
    case = ALIGNED["resnet"]
    module, X = case.module(), case.rows()
    symmetry, a = find_symmetry(module, X), read_state(module)
    generator = torch.Generator().manual_seed(0)
    states = [symmetry.permute(a, symmetry.random(generator)) for _ in range(4)]
    names = [n for n, _ in module.named_parameters()]

    def match(one, other):
        return match_weights(symmetry, one, other, names=names, random_state=0).perm

    perms = match_many(symmetry, states, match, n_refinements=n_refinements, random_state=0)
    assert torch.equal(perms[0], symmetry.identity())
    aligned = [symmetry.permute(s, p) for s, p in zip(states, perms, strict=True)]
    for one, other in itertools.pairwise(aligned):
        assert all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("n_sets", slow_after(1, [2, 10]))
def test_no_network_of_many_can_be_aligned_better_with_the_others(n_sets):
    """Against all permutations: refinements end where no single network gains by another one."""
    improved = 0
    for seed in range(n_sets):
        generator = torch.Generator().manual_seed(seed)
        made = [_symmetries.mlp(generator, sizes=(2, 4, 1)) for _ in range(4)]
        symmetry, states = made[0][0], [state for _, state, _ in made]
        orders = [torch.tensor(order) for order in itertools.permutations(range(4))]
        allowed = [symmetry.groups[0].place(symmetry.identity(), order) for order in orders]

        def inner(one, other):
            return sum(float((one[n] * other[n]).sum()) for n in one)

        def best(one, other, symmetry=symmetry, allowed=allowed):
            return max(allowed, key=lambda p: inner(one, symmetry.permute(other, p)))

        def total(perms, symmetry=symmetry, states=states):
            moved = [symmetry.permute(s, p) for s, p in zip(states, perms, strict=True)]
            return sum(inner(a, b) for a, b in itertools.combinations(moved, 2))

        plain = match_many(symmetry, states, best, random_state=0)
        assert torch.equal(plain[0], symmetry.identity())
        for perm, state in zip(plain[1:], states[1:], strict=True):
            assert torch.equal(perm, best(states[0], state))
        perms = match_many(symmetry, states, best, n_refinements=50, random_state=0)
        assert torch.equal(perms[0], symmetry.identity())
        improved += total(perms) > total(plain) + 1e-9
        for i in range(1, 4):
            others = ([*perms[:i], perm, *perms[i + 1 :]] for perm in allowed)
            assert max(map(total, others)) <= total(perms) + 1e-9
    assert improved >= n_sets / 2


def test_many_are_at_least_two():
    symmetry, state, _ = _symmetries.mlp(torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="at least two"):
        match_many(symmetry, [state], lambda one, other: symmetry.identity())


# --- what is no state, or no data -------------------------------------------------------------


WAYS = {
    "weights": lambda s, n, a, b, X, y: match_weights(s, a, b),
    "transport": lambda s, n, a, b, X, y: match_transport(s, a, b),
    "activations": lambda s, n, a, b, X, y: match_by_activations(s, n.module, a, b, X),
    "straight_through": lambda s, n, a, b, X, y: match_straight_through(s, n, a, b, X, y),
    "many": lambda s, n, a, b, X, y: match_many(
        s, [a, b], lambda a, b: match_weights(s, a, b).perm
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_bad_states_and_rows_are_named(name):
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    X, y, network = torch.randn(6, 3), torch.randn(6, 1), Network(module, nn.MSELoss())
    symmetry, state = find_symmetry(module, X), read_state(module)
    with pytest.raises(TypeError, match=r"must be a state, as .*read_state.* got Sequential"):
        WAYS[name](symmetry, network, module, state, X, y)
    with pytest.raises(TypeError, match=r"must be a state, as .*read_state.* got Sequential"):
        WAYS[name](symmetry, network, state, module, X, y)
    if name in ("activations", "straight_through"):
        with pytest.raises(TypeError, match=r"X must be a torch.Tensor, got ndarray"):
            WAYS[name](symmetry, network, state, state, X.numpy(), y)
    for bad in (torch.nan, torch.inf):
        broken = {**state, "0.bias": state["0.bias"] * bad}
        with pytest.raises(ValueError, match=r"'0.bias' of the state b .* not finite"):
            WAYS[name](symmetry, network, state, broken, X, y)
