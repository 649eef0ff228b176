"""Weight matching: planted permutations, exhaustive search, and what no permutation connects."""

import itertools

import numpy as np
import pytest
import torch
from torch.func import functional_call

from sklflat.matching import match_weights
from sklflat.networks.state import read_state
from sklflat.paths.paths import LinearPath
from sklflat.symmetry import find_symmetry
from tests._slow import slow_after
from tests.aligned_cases import ALIGNED
from tests.symmetry import _symmetries

PLANTED = ["mlp", "residual", "conv", "heads", "grouped", "recurrent"]


def planted(name, seed):
    generator = torch.Generator().manual_seed(seed)
    make, n_in = _symmetries.CASES[name]
    symmetry, state, function = make(generator)
    perm = symmetry.random(generator)
    return symmetry, state, symmetry.permute(state, perm), function, n_in


@pytest.mark.parametrize("name", PLANTED)
def test_the_hand_made_symmetries_are_symmetries(name):
    _, a, b, function, n_in = planted(name, 0)
    X = torch.randn(7, n_in, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(function(b, X), function(a, X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_networks", slow_after(1, [5, 100]))
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_permutation_is_recovered_in_every_restart(name, n_networks):
    """Networks that are each matched from a start of its own; 99 of 100 exactly, or all of five."""
    n_exact = 0
    for seed in range(n_networks):
        symmetry, a, b, _, _ = planted(name, seed)
        # the first restart begins at the identity, which is as good as a random permutation;
        # the second at the initial guess: it has to find the optimum alone
        matching = match_weights(symmetry, a, b, n_restarts=2, random_state=seed)
        back = symmetry.permute(b, matching.perm)
        n_exact += all(torch.equal(back[n], a[n]) for n in a)
    assert n_exact >= 0.99 * n_networks


@pytest.mark.parametrize(
    "name", ["mlp", "resnet", "transformer", "group_norm", "densenet", "grouped"]
)
def test_a_planted_permutation_of_a_module_is_recovered(name):
    case = ALIGNED[name]
    module, X = case.module(), case.rows()
    symmetry, a = find_symmetry(module, X), read_state(module)
    for seed in range(5):
        perm = symmetry.random(torch.Generator().manual_seed(seed))
        b = symmetry.permute(a, perm)
        names = [n for n, _ in module.named_parameters()]
        matching = match_weights(symmetry, a, b, names=names, random_state=0)
        back = symmetry.permute(b, matching.perm)
        z, expected = functional_call(module, back, (X,)), module(X)
        torch.testing.assert_close(z, expected, rtol=1e-9, atol=1e-9)
        assert matching.objective == pytest.approx(matching.upper_bound, rel=1e-9)


def all_permutations(symmetry):
    """Every allowed permutation of plain groups."""
    orders = [list(itertools.permutations(range(len(g)))) for g in symmetry.groups]
    for chosen in itertools.product(*orders):
        perm = symmetry.identity()
        for group, order in zip(symmetry.groups, chosen, strict=True):
            perm = group.place(perm, torch.tensor(order))
        yield perm


@pytest.mark.parametrize("n_pairs", slow_after(1, [2, 10]))
def test_the_best_of_all_permutations_of_a_small_network(n_pairs):
    """Against exhaustive search, on networks that have nothing to do with each other."""
    n_best = 0
    orders = [list(order) for order in itertools.permutations(range(4))]
    for seed in range(n_pairs):
        generator = torch.Generator().manual_seed(seed)
        symmetry, a, _ = _symmetries.mlp(generator, sizes=(3, 4, 4, 2))
        _, b, _ = _symmetries.mlp(generator, sizes=(3, 4, 4, 2))
        x, y = ({name: tensor.numpy() for name, tensor in state.items()} for state in (a, b))
        values = []
        for p, q in itertools.product(orders, repeat=2):
            moved = {
                "W0": y["W0"][p],
                "b0": y["b0"][p],
                "W1": y["W1"][q][:, p],
                "b1": y["b1"][q],
                "W2": y["W2"][:, q],
                "b2": y["b2"],
            }
            values.append(sum(float((x[n] * t).sum()) for n, t in moved.items()))
        matching = match_weights(symmetry, a, b, n_restarts=10, random_state=0)
        assert matching.objective <= max(values) + 1e-9
        assert matching.objective >= matching.objective_identity
        n_best += matching.objective >= max(values) - 1e-9
    assert n_best >= 0.9 * n_pairs


def test_the_objective_is_that_of_the_permutation():
    generator = torch.Generator().manual_seed(0)
    symmetry, a, _ = _symmetries.heads(generator)
    _, b, _ = _symmetries.heads(generator)
    matching = match_weights(symmetry, a, b, random_state=0)
    moved = symmetry.permute(b, matching.perm)
    assert matching.objective == pytest.approx(sum(float((a[n] * moved[n]).sum()) for n in a))
    # the distance falls as the inner product rises
    before = sum(float((a[n] - b[n]).square().sum()) for n in a)
    after = sum(float((a[n] - moved[n]).square().sum()) for n in a)
    expected = 2 * (matching.objective - matching.objective_identity)
    assert before - after == pytest.approx(expected)


def test_two_units_that_no_permutation_connects():
    symmetry, a, b, X, outputs = two_units()
    np.testing.assert_allclose(outputs(a, X), outputs(b, X))
    for perm in all_permutations(symmetry):
        path = LinearPath(a, symmetry.permute(b, perm))
        middle = (outputs(path.at(0.5), X) - outputs(a, X)).abs().max()
        assert float(middle) >= 0.5


def two_units():
    """Two networks of two units that are the same function on their data; and that data.

    ``f(x) = relu(w_1 . x) + relu(w_2 . x)``: in the first network the units look along (1, 0) and
    (-1, 0), in the second along (0, 1) and (0, -1); the data are on the diagonals, where
    ``|x_1| = |x_2|``. Halfway every unit looks along a diagonal, whichever is matched with which.
    """
    symmetry, _, _ = _symmetries.mlp(torch.Generator().manual_seed(0), sizes=(2, 2, 1))
    common = {"b0": torch.zeros(2), "W1": torch.ones(1, 2), "b1": torch.zeros(1)}
    a = {"W0": torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), **common}
    b = {"W0": torch.tensor([[0.0, 1.0], [0.0, -1.0]]), **common}
    X = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])

    def outputs(state, X):
        return torch.relu(X @ state["W0"].T) @ state["W1"].T

    return symmetry, a, b, X, outputs


def test_bad_input():
    symmetry, a, b, _, _ = planted("mlp", 0)
    for bad in ({"n_restarts": 0}, {"max_sweeps": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            match_weights(symmetry, a, b, **bad)
    with pytest.raises(ValueError, match="not finite"):
        match_weights(symmetry, a, {**b, "W0": b["W0"] * float("nan")})
    with pytest.raises(ValueError, match="does not have"):
        match_weights(symmetry, a, b, names=["W9"])
