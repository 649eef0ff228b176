"""Symmetries that are found: the function stays as it is, and what can move does."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.units import Units
from sklflat.symmetry import Group, Symmetry, find_symmetry
from sklflat.symmetry.activation_recorder import ActivationRecorder
from sklflat.symmetry.verification import CHANGED
from tests.aligned_cases import ALIGNED, Unknown, symmetry_of

# Hidden channels that a permutation can move, and those that none can, counted by hand: a residual
# stream counts once, and so do channels that a product ties to each other.
MOVABLE = {
    "mlp": (7 + 5, 0),
    "linear_mlp": (7 + 5, 0),
    "functional_mlp": (7 + 5, 0),
    "dropout_mlp": (7 + 5, 0),
    "cnn": (4 + 5, 0),
    "functional_cnn": (4 + 5 + 6, 0),
    "depthwise_cnn": (4 + 8 + 6, 0),
    "sequence_cnn": (4 + 5, 0),
    "resnet": (3 + 3 + 5 + 5, 0),
    "preactivation_resnet": (4, 0),  # inner channels are added to the stream at once
    "transformer": (4 + 2 * (8 + 4 + 4), 0),  # the stream; inner layers, queries with keys, values
    "transformer_batch_second": (4 + 2 * (8 + 4 + 4), 0),
    "attention": (6 + 4 + 4 + 7, 0),
    "gated_mlp": (5 + 4, 0),
    "tied_mlp": (5, 0),
    "tied_autoencoder": (4, 0),
    "conv_autoencoder": (4 + 6, 0),
    "concatenation": (3 + 4 + 5, 0),
    "time_distributed": (3 + 4, 0),
    "mixer": (6 + 7, 5 + 4),  # what is added to the input has the input's order
    "einsum": (2 + 3 + 5, 0),
    "no_bias": (8 + 7, 0),
    "tanh": (8 + 7, 0),
    "gelu": (8 + 7, 0),
    "layer_norm": (8 + 7, 0),
    "group_norm": (6 + 4, 0),
    "densenet": (4 + 3 + 3 + 3 + 6, 0),
    "squeeze_excitation": (6 + 4, 0),
    "grouped": (6 + 9, 0),  # the output, which the input is added to, is not hidden
    "inception": (3 + 4 + 2, 0),
    "bag_of_tokens": (6 + 7, 0),
    "weight_norm": (7, 0),
    # the stream with class token and positions; inner layer, queries with keys, values
    "vision_transformer": (12 + 16 + 12 + 12, 0),
}


def state_of(module):
    return {
        name: t.detach().clone()
        for name, t in itertools.chain(module.named_parameters(), module.named_buffers())
    }


@pytest.mark.parametrize("name", ALIGNED)
def test_the_function_is_kept_and_hidden_units_move(name):
    case = ALIGNED[name]
    symmetry = symmetry_of(name)
    assert symmetry.verified
    n_movable, n_fixed = MOVABLE[name]
    assert bool(symmetry.pinned) == (n_fixed > 0)
    assert (symmetry.n_movable, symmetry.n_hidden) == (n_movable, n_movable + n_fixed)
    module, X = case.module(seed=5), case.rows(seed=7)  # other weights and data than were traced
    state = state_of(module)
    before = module(X).detach()
    generator = torch.Generator().manual_seed(0)
    n_moved = 0
    for _ in range(4):
        perm = symmetry.random(generator)
        moved = symmetry.permute(state, perm)
        n_moved += any(not torch.equal(moved[n], state[n]) for n in state)
        after = functional_call(module, moved, (X,)).detach()
        assert float((after - before).abs().max()) <= 1e-9 * float(before.abs().max())
    assert n_moved >= 2


@pytest.mark.parametrize("name", ALIGNED)
def test_nearly_all_units_are_in_groups(name):
    """Units as another part of the package finds them, seen to move."""
    case = ALIGNED[name]
    module, X = case.module(), case.rows()
    units = Units.find(module, X)
    symmetry = symmetry_of(name)
    before = units.activations(module, X).detach().numpy()
    moved = np.zeros(len(units), dtype=bool)
    generator = torch.Generator().manual_seed(1)
    for _ in range(12):
        state = symmetry.permute(state_of(module), symmetry.random(generator))
        other = case.module()
        other.load_state_dict({**other.state_dict(), **state}, strict=False)
        moved |= ~np.isclose(units.activations(other, X).detach().numpy(), before).all(axis=0)
    assert moved.mean() >= 0.95


def test_permutations_compose():
    case = ALIGNED["transformer"]
    symmetry, state = symmetry_of("transformer"), state_of(case.module())
    generator = torch.Generator().manual_seed(0)
    p, q = symmetry.random(generator), symmetry.random(generator)
    twice, once = symmetry.permute(symmetry.permute(state, p), q), symmetry.permute(state, p[q])
    for name in state:
        assert torch.equal(twice[name], once[name])
    back = symmetry.permute(symmetry.permute(state, p), torch.argsort(p))
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_heads_move_as_blocks_and_within():
    symmetry = symmetry_of("attention")
    (heads,) = [group for group in symmetry.groups if group.inner]
    assert len(heads) == 2
    assert [tuple(part.shape) for part in heads.inner] == [(2, 2), (2, 2)]


def test_group_normalisation_keeps_its_groups():
    symmetry = symmetry_of("group_norm")
    assert [(len(g), tuple(g.inner[0].shape)) for g in symmetry.groups] == [
        (3, (3, 2)),
        (2, (2, 2)),
    ]


def test_an_unknown_operation_pins_what_reaches_it_and_is_named():
    torch.manual_seed(0)
    symmetry = find_symmetry(Unknown(), torch.randn(4, 6))
    assert list(symmetry.pinned) == ["_fft_r2c"]
    assert "first.weight[0]" in symmetry.pinned["_fft_r2c"]
    assert [group.name for group in symmetry.groups] == ["second.weight[0]"]
    assert symmetry.verified


class Unseen(nn.Module):
    """Leaves torch and comes back, so that no operation shows what becomes of the units."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, X):
        x = torch.relu(self.first(X)).detach().numpy()
        return self.last(torch.relu(self.second(torch.from_numpy(np.sort(x) - x))))


def test_what_the_tracing_did_not_see_is_found_by_verification():
    torch.manual_seed(0)
    symmetry = find_symmetry(Unseen(), torch.randn(4, 4))
    assert symmetry.pinned[CHANGED] == ("first.weight[0]",)
    assert [group.name for group in symmetry.groups] == ["second.weight[0]"]
    assert symmetry.verified


class Fixed(nn.Module):
    """Constants along the units, of which some are equal by chance."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)
        nn.init.zeros_(self.first.bias)
        nn.init.constant_(self.last.weight, 0.5)

    def forward(self, X):
        return self.last(torch.relu(self.first(X)) * torch.tensor([1.0, 2, 3, 4, 5, 6]).to(X))


def test_constants_are_an_order_and_equal_weights_are_no_symmetry():
    torch.manual_seed(0)
    symmetry = find_symmetry(Fixed(), torch.randn(4, 4))
    assert symmetry.groups == ()
    assert symmetry.n_movable == 0
    assert symmetry.n_hidden == 6


def test_in_place_writes_into_a_view():
    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.last = nn.Linear(4, 3), nn.Linear(4, 5), nn.Linear(8, 2)

        def forward(self, X):
            x = X.new_zeros(len(X), 8)
            x[:, :3] = self.a(X)
            x[:, 3:] = self.b(X)
            return self.last(x.tanh_())

    torch.manual_seed(0)
    symmetry = find_symmetry(Written(), torch.randn(4, 4))
    assert sorted(len(group) for group in symmetry.groups) == [3, 5]


def test_spectral_norm_and_state_are_left_alone():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 2)
    ).train()
    X = torch.randn(4, 4)
    rows, before, generator = X.clone(), state_of(module), torch.get_rng_state()
    symmetry = find_symmetry(module, X)
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.equal(X, rows)
    assert symmetry.n_movable == 6
    assert module.training
    assert all(torch.equal(t, before[name]) for name, t in state_of(module).items())


def test_modules_that_cannot_be_run_or_are_not_finite():
    with pytest.raises(UnsupportedNetworkError, match="cannot be run on X of shape"):
        find_symmetry(nn.Linear(3, 2), torch.randn(4, 5))
    bad = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.constant_(bad[0].weight, float("nan"))
    with pytest.raises(UnsupportedNetworkError, match="not finite"):
        find_symmetry(bad, torch.randn(4, 3))
    with pytest.raises(UnsupportedNetworkError, match="lazy"):
        find_symmetry(nn.LazyLinear(3), torch.randn(4, 3))


# what is refused here is deprecated by torch itself
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_what_is_no_module_or_no_rows_is_named():
    module, X = nn.Linear(3, 2), torch.randn(4, 3)
    with pytest.raises(TypeError, match=r"module must be a torch.nn.Module, got function"):
        find_symmetry(lambda X: X, X)
    with pytest.raises(TypeError, match=r"X must be a torch.Tensor, got ndarray"):
        find_symmetry(module, X.numpy())
    with pytest.raises(ValueError, match=r"X must have at least one row, got shape \(0, 3\)"):
        find_symmetry(module, X[:0])
    for compiled in (torch.jit.script(module), nn.Sequential(torch.jit.script(module))):
        with pytest.raises(UnsupportedNetworkError, match=r"torch\.jit"):
            find_symmetry(compiled, X)


class Casting(nn.Sequential):
    def forward(self, X):
        return super().forward(X.float())


def test_a_module_that_casts_is_told_not_to():
    with pytest.raises(UnsupportedNetworkError, match="must not cast to a fixed precision"):
        find_symmetry(Casting(nn.Linear(3, 2)), torch.randn(4, 3))


def test_representations_are_short():
    symmetry = symmetry_of("attention")
    assert repr(symmetry) == "<Symmetry: 21 of 21 hidden channels in 3 groups, verified>"
    assert [repr(group) for group in symmetry.groups] == [
        "<Group 'inner.weight[0]': 6 units>",
        "<Group 'up.weight[0]': 7 units>",
        "<Group 'qkv.weight[0]': 2 blocks of 2 and 2>",
    ]
    assert repr(Symmetry(2, (Group("w[0]", torch.arange(2)),), {}, {"mul": ("w[0]", "v[0]")})) == (
        "<Symmetry: 0 of 0 hidden channels in 1 group, not verified; pinned: mul (w[0], v[0])>"
    )


def test_permutations_may_be_of_numpy_and_have_to_be_some():
    symmetry = Symmetry(3, (Group("w[0]", torch.arange(3)),), {"w": (torch.arange(3),)})
    state = {"w": torch.tensor([5.0, 6.0, 7.0])}
    for kind in (np.int32, np.int64):
        moved = symmetry.permute(state, np.array([2, 0, 1], dtype=kind))
        assert moved["w"].tolist() == [7.0, 5.0, 6.0]
    for bad in ([0, 1], [0, 1, 2, 3], [0, 1, 1], [1, 2, 3], [[0, 1, 2]]):
        with pytest.raises(ValueError, match="perm must be a permutation of 0 to 2"):
            symmetry.permute(state, torch.tensor(bad))
    with pytest.raises(ValueError, match="perm must be integers"):
        symmetry.permute(state, torch.tensor([0.0, 1.0, 2.0]))
    with pytest.raises(TypeError, match=r"state must be a state, as .*read_state"):
        symmetry.permute(nn.Linear(1, 3), torch.arange(3))


def test_a_permutation_across_sizes_is_refused():
    labels = {"w": (torch.tensor([0, 0, 1]),)}
    symmetry = Symmetry(2, (Group("w[0]", torch.arange(2)),), labels)
    with pytest.raises(ValueError, match="different sizes of 'w'"):
        symmetry.permute({"w": torch.arange(3.0)}, torch.tensor([1, 0]))


# --- recording points ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALIGNED)
def test_recording_points_show_every_class_and_move_with_a_permutation(name):
    case = ALIGNED[name]
    module, X = case.module(), case.rows()
    symmetry = symmetry_of(name)
    recorder = ActivationRecorder(module, symmetry)
    perm = symmetry.random(torch.Generator().manual_seed(3))
    plain = recorder(X)
    moved = recorder(X, symmetry.permute(state_of(module), perm))
    recorded = set()
    for (classes, values), (again, other) in zip(plain, moved, strict=True):
        assert torch.equal(classes, again)
        recorded |= set(classes.tolist())
        for c in classes.unique().tolist():
            source = values[:, classes == int(perm[c])]
            torch.testing.assert_close(other[:, classes == c], source, rtol=1e-9, atol=1e-9)
    in_labels = {
        c for layers in symmetry.labels.values() for x in layers for c in x.unique().tolist()
    }
    assert recorded >= in_labels - {-1}


def test_recordings_of_a_linear_layer_are_its_outputs():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    X = torch.randn(7, 3).double()
    ((classes, values),) = ActivationRecorder(module, find_symmetry(module, X))(X)
    assert classes.tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(values, torch.tanh(module[0](X)).detach())
