"""Groups that are no symmetry are never kept, and those that are always."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.symmetry import Group, Symmetry, find_symmetry
from sklflat.symmetry.verification import CHANGED, verified

#: a few seeds are quick, and many slow
SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 20))]


class Unseen(nn.Module):
    """Leaves torch and comes back, so that no operation shows the order that it makes."""

    def __init__(self, n_false, n_true):
        super().__init__()
        self.first, self.second = nn.Linear(4, n_false), nn.Linear(n_false, n_true)
        self.last = nn.Linear(n_true, 2)

    def forward(self, X):
        x = torch.relu(self.first(X)).detach().numpy()
        return self.last(torch.relu(self.second(torch.from_numpy(np.sort(x) - x))))


@pytest.mark.parametrize("seed", [*SEEDS, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_false_group_is_never_kept_and_a_true_one_of_two_always(n, seed):
    for own in range(20, 40) if seed is None else [seed]:
        torch.manual_seed(own)
        symmetry = find_symmetry(Unseen(n, 2), torch.randn(9, 4))
        assert [(g.name, len(g)) for g in symmetry.groups] == [("second.weight[0]", 2)]
        assert symmetry.pinned == {CHANGED: ("first.weight[0]",)}
        assert symmetry.verified


# --- functions of one vector, whose symmetries are known --------------------------------------


def of_vector(function, *groups, seed=0):
    """The groups that are kept of a function of the entries of a vector w."""
    n = 1 + max(int(group.members.max()) for group in groups)
    w = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    symmetry = Symmetry(n, groups, {"w": (torch.arange(n),)})
    found = verified(symmetry, lambda state: [function(state["w"])], [{"w": w}], seed=seed)
    assert found.verified
    return found


def group(*members):
    return Group(f"w{list(members)}", torch.tensor(members))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_moves_together_only_is_no_group_alone(seed):
    pairs = group(0, 1), group(2, 3), group(4, 5)
    found = of_vector(lambda w: w[:2] @ w[2:4] + w[4] * w[5], *pairs, seed=seed)
    assert found.groups == pairs[2:]
    assert found.pinned == {CHANGED: ("w[0, 1]", "w[2, 3]")}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [3, 5])
def test_even_permutations_alone_are_no_symmetry(n, seed):
    def vandermonde(w):
        rows, columns = torch.triu_indices(n, n, offset=1)
        return (w[rows] - w[columns]).prod()

    assert of_vector(vandermonde, group(*range(n)), seed=seed).groups == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_group_with_a_single_member_of_another_kind(seed):
    weight = torch.ones(9, dtype=torch.float64)
    weight[seed % 9] = 1.1
    found = of_vector(lambda w: w @ weight, group(*range(9)), seed=seed)
    (rest,) = found.groups
    assert sorted(rest.members.tolist()) == sorted(set(range(9)) - {seed % 9})
    assert list(found.pinned) == [CHANGED]
    assert found.n_movable == 8


@pytest.mark.parametrize("seed", SEEDS)
def test_a_group_of_several_kinds_is_split_by_them(seed):
    """Of every kind all members are found, whatever their order; of one member there is none."""
    kinds = torch.randint(0, 4, (20,), generator=torch.Generator().manual_seed(seed))
    found = of_vector(lambda w: w.sin() @ (1 + kinds.double()), group(*range(20)), seed=seed)
    expected = [torch.nonzero(kinds == k).flatten().tolist() for k in kinds.unique().tolist()]
    parts = sorted(sorted(part.members.tolist()) for part in found.groups)
    assert parts == sorted(members for members in expected if len(members) > 1)


def test_blocks_of_several_kinds_are_split_with_what_is_within():
    members, inner = torch.arange(4), torch.arange(4, 12).view(4, 2)
    symmetry = Symmetry(12, (Group("w[0]", members, (inner,)),), {"w": (inner.flatten(),)})
    w = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([1.0, 2.0, 1.0, 2.0]).double()

    def function(state):
        return [state["w"].view(4, 2).prod(1) @ weight]

    found = verified(symmetry, function, [{"w": w}])
    assert [(g.members.tolist(), g.inner[0].tolist()) for g in found.groups] == [
        ([0, 2], [[4, 5], [8, 9]]),
        ([1, 3], [[6, 7], [10, 11]]),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_blocks_of_two_whose_order_is_that_of_all_blocks(seed):
    """Two blocks of two: parts meet at the same places, so swapping them in all is a symmetry."""
    members, inner = torch.tensor([0, 1]), torch.tensor([[2, 3], [4, 5]])
    labels = {"w": (inner.flatten(),)}
    symmetry = Symmetry(6, (Group("w[0]", members, (inner,)),), labels)
    w = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

    def function(state):
        a, b = state["w"].view(2, 2)
        return [a @ b]

    assert verified(symmetry, function, [{"w": w}], seed=seed).groups == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_of_false_blocks_what_is_within_them_is_kept(seed):
    members, inner = torch.tensor([0, 1]), torch.tensor([[2, 3], [4, 5]])
    labels = {"w": (inner.flatten(),)}
    symmetry = Symmetry(6, (Group("w[0]", members, (inner,)),), labels)
    w = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

    def function(state):
        a, b = state["w"].view(2, 2)
        return [a.prod() - b.prod()]

    found = verified(symmetry, function, [{"w": w}], seed=seed)
    assert [g.members.tolist() for g in found.groups] == [[2, 3], [4, 5]]
    assert found.pinned == {CHANGED: ("w[0]",)}


def test_of_groups_that_hold_alone_but_not_together_one_is_left():
    w = torch.arange(12, dtype=torch.float64)
    groups = tuple(group(*range(3 * i, 3 * i + 3)) for i in range(4))

    def function(state):
        moved = (state["w"] != w).view(4, 3).any(1)
        return [torch.tensor(float(moved.sum() > 1))]

    symmetry = Symmetry(12, groups, {"w": (torch.arange(12),)})
    found = verified(symmetry, function, [{"w": w}])
    assert found.verified
    assert found.groups == groups[:1]
    assert found.pinned == {CHANGED: tuple(g.name for g in groups[1:])}


@pytest.mark.parametrize("n_calls", range(2, 40))
def test_what_is_left_holds_whenever_a_function_begins_to_tell(n_calls):
    """From some call on, only outputs at the own weights are the right ones: nothing may be left.

    Before that everything holds, so groups that are kept were seen to hold in all their draws.
    """
    w = torch.arange(12, dtype=torch.float64)
    groups = tuple(group(*range(3 * i, 3 * i + 3)) for i in range(4))
    calls = []

    def function(state):
        moved = not torch.equal(state["w"], w)
        calls.append(moved)
        return [torch.tensor(float(moved and len(calls) >= n_calls))]

    found = verified(Symmetry(12, groups, {"w": (torch.arange(12),)}), function, [{"w": w}])
    assert found.verified
    if len(calls) >= n_calls:
        assert found.groups == ()
        assert found.pinned == {CHANGED: tuple(g.name for g in groups)}
    else:
        assert found.groups == groups


def test_outputs_that_drift_are_refused():
    calls = []

    def function(state):
        calls.append(state)
        return [torch.tensor(float(len(calls) > 3))]

    symmetry = Symmetry(3, (group(0, 1, 2),), {"w": (torch.arange(3),)})
    with pytest.raises(UnsupportedNetworkError, match="not the same when it is run again"):
        verified(symmetry, function, [{"w": torch.arange(3.0)}])


# --- modules whose outputs are random ---------------------------------------------------------


class Random(nn.Module):
    def __init__(self, noise):
        super().__init__()
        self.first, self.last, self.noise = nn.Linear(4, 6), nn.Linear(6, 2), noise

    def forward(self, X):
        return self.last(self.noise(torch.relu(self.first(X))))


@pytest.mark.parametrize(
    "noise",
    [
        lambda x: F.dropout(x, training=True),
        lambda x: x + torch.randn(6).to(x),
        lambda x: x * float(np.random.uniform()),  # noqa: NPY002
    ],
    ids=["dropout", "torch", "numpy"],
)
def test_random_outputs_are_refused(noise):
    torch.manual_seed(0)
    module = Random(noise)
    generator = torch.get_rng_state()
    with pytest.raises(UnsupportedNetworkError, match="not the same when it is run again"):
        find_symmetry(module, torch.linspace(-1, 1, 20).view(5, 4))
    assert torch.equal(torch.get_rng_state(), generator)
