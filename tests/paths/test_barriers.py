"""Barriers in closed form, and on paths between networks."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklflat import SAMClassifier
from sklflat.exceptions import DivergenceError
from sklflat.networks import Network
from sklflat.networks.state import read_state
from sklflat.paths.barrier_table import BarrierTable
from sklflat.paths.barriers import (
    DEFINITIONS,
    Barriers,
    barrier,
    measure_barriers,
    refine,
    walk_barriers,
)
from sklflat.paths.losses import PathLosses, path_losses
from sklflat.paths.paths import LinearPath
from sklflat.paths.trained_curves import fit_bend
from sklflat.probing import resolve
from tests._slow import slow_after


@pytest.mark.parametrize("ends", [(1.0, 2.0), (3.0, 1.0), (2.0, 2.0)])
@pytest.mark.parametrize("height", [2.0, 0.1, 0.0, -1.5])
def test_definitions_in_closed_form(ends, height):
    """A parabola above (or below) the chord: where it turns between the ends, and where not."""
    t = np.linspace(0, 1, 1001)
    (L0, L1), d = ends, ends[1] - ends[0]
    L = L0 + d * t + 4 * height * t * (1 - t)
    turns = height > 0 and abs(d) < 4 * height
    top = (L0 + L1) / 2 + height + d**2 / (16 * height) if turns else max(ends)
    assert barrier(t, L, "lower") == pytest.approx(top - min(ends), abs=1e-5)
    assert barrier(t, L, "mean") == pytest.approx(top - (L0 + L1) / 2, abs=1e-5)
    assert barrier(t, L, "chord") == pytest.approx(max(height, 0), abs=1e-12)
    found = Barriers({"train": PathLosses(t, L, None)})
    halfway = {d: found.midpoint("loss", "train", d) for d in DEFINITIONS}
    wanted = {"lower": height + abs(d) / 2, "mean": height, "chord": height}
    assert halfway == pytest.approx(wanted)


@pytest.mark.parametrize("n_points", [5, 25, 101])
def test_a_curve_below_its_ends_does_not_depend_on_the_grid(n_points):
    t = np.linspace(0, 1, n_points)
    found = Barriers({"train": PathLosses(t, (1 - 2 * t) ** 2, None)})
    for row in found.rows():
        assert (row["barrier"], row["midpoint"], row["t"]) == (0.0, -1.0, 0.0)


@pytest.mark.parametrize("n_points", [2, 3, 10, 37])
def test_a_ramp_has_no_more_than_the_difference_of_its_ends(n_points):
    t = np.linspace(0, 1, n_points)
    for curve in (1 + 3 * t, 4 - 3 * t):
        found = {definition: barrier(t, curve, definition) for definition in DEFINITIONS}
        assert found == pytest.approx({"lower": 3, "mean": 1.5, "chord": 0})
        midpoint = Barriers({"train": PathLosses(t, curve, None)}).midpoint("loss", "train")
        assert np.isnan(midpoint) if n_points % 2 == 0 else midpoint == pytest.approx(0)


def test_a_table_of_several_networks():
    t = np.array([0.0, 0.25, 0.5, 1.0])
    first, second = (
        Barriers({"held-out": PathLosses(t, np.array(L), np.array(L) / 10)})
        for L in ([1.0, 5.0, 4.0, 2.0], [1.0, 0.5, 0.0, 1.0])
    )
    table = BarrierTable({(1, "aligned"): first, (2, "aligned"): second, (2, "naive"): first})
    assert table.value() == 3.5
    assert table.midpoint() == 2.5
    assert table.midpoint("aligned", "error", "held-out", "lower", 2) == pytest.approx(-0.1)
    assert table.largest("aligned", "loss", "held-out", "mean") == 3.5
    (row,) = (
        row
        for row in table.rows()
        if (row["network"], row["kind"], row["measure"]) == (2, "aligned", "loss")
        and row["definition"] == "mean"
    )
    assert (row["barrier"], row["t"], row["midpoint"]) == (0.0, 0.0, -1.0)
    with pytest.raises(ValueError, match="kind='repaired'"):
        table.midpoint("repaired")


def test_not_finite_points_are_reported():
    t, L = np.array([0, 0.25, 0.5, 1]), np.array([1.0, np.nan, 2.0, 1.0])
    found = Barriers({"train": PathLosses(t, L, None)})
    assert np.isnan(found.value("loss", "train"))
    assert found.non_finite["train"].tolist() == [0.25]
    assert {row["definition"] for row in found.rows()} == set(DEFINITIONS)
    assert np.isnan(found.value("error", "train"))
    assert found.midpoint("loss", "train") == 1.0  # is known all the same
    assert np.isnan(found.midpoint("error", "train"))
    assert np.isnan(barrier([0, 0.5, 1], [1, 1, np.inf], "chord"))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (([0, 0.5], [1, 1]), "from 0 to 1, both among them"),
        (([0, 1, 2], [1, 1, 1]), "from 0 to 1, both among them"),
        (([0, 0.5, 1], [1, 1]), "one for each of values"),
        (([0, 0.5, 1], [1, 1, 1], "height"), "definition must be one of"),
    ],
)
def test_bad_barriers(bad, message):
    with pytest.raises(ValueError, match=message):
        barrier(*bad)


class Spike(nn.Module):
    """Its output is a narrow peak of its only parameter."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, X):
        return torch.exp(-((self.w - 0.7731) ** 2) / (2 * 0.012**2)).expand(len(X), 1)


class Mean(nn.Module):
    reduction = "mean"

    def forward(self, z, y):
        return z.mean() if self.reduction == "mean" else z[:, 0]


def test_a_peak_between_the_points_of_the_grid_is_found():
    network = Network(Spike(), Mean())
    path = LinearPath({"w": torch.zeros(1)}, {"w": torch.ones(1)})
    data = {"train": (torch.zeros(3, 1), torch.zeros(3, 1))}
    coarse = measure_barriers(network, path, data, refined=False)
    fine = measure_barriers(network, path, data)
    assert coarse.value("loss", "train") < 0.6
    assert fine.value("loss", "train") == pytest.approx(1.0, abs=0.01)
    (peak,) = {row["t"] for row in fine.rows() if row["definition"] == "mean"}
    assert peak == pytest.approx(0.7731, abs=2e-3)


def bump(ts, at, height=1.0):
    return height * np.exp(-(((ts - at) / 0.01) ** 2))


def test_each_measure_is_refined_above_its_chord_too():
    """Narrow peaks on a ramp: the highest value is at one, the highest above the chord at another.

    Each of them is between points of the grid.
    """
    asked = []

    def train(ts):
        asked.append(ts)
        return PathLosses(ts, 2 * ts + bump(ts, 0.1073, 1.2) + bump(ts, 0.9317, 1.0), None)

    def held_out(ts):
        error = 2 * ts + bump(ts, 0.3763, 1.2) + bump(ts, 0.7731, 1.0)
        return PathLosses(ts, np.zeros(len(ts)), error)

    found = walk_barriers({"train": train, "held-out": held_out}, n_points=41)
    assert sorted(np.concatenate(asked)) == found.ts.tolist()  # none of them twice
    rows = {(r["data"], r["measure"], r["definition"]): r for r in found.rows()}
    for data, measure, over_ramp, highest in (
        ("train", "loss", 0.1073, 0.9317),
        ("held-out", "error", 0.3763, 0.7731),
    ):
        chord, lower = (rows[data, measure, definition] for definition in ("chord", "lower"))
        assert chord["t"] == pytest.approx(over_ramp, abs=1e-3)
        assert chord["barrier"] == pytest.approx(1.2, abs=0.01)
        assert lower["t"] == pytest.approx(highest, abs=1e-3)
        assert lower["barrier"] == pytest.approx(1 + 2 * highest, abs=0.01)


@pytest.mark.parametrize("n_points", [3, 12, 25])
def test_the_middle_is_always_there(n_points):
    curve = {"train": lambda ts: PathLosses(ts, (1 - 2 * ts) ** 2, None)}
    found = walk_barriers(curve, n_points=n_points, refined=False)
    assert len(found.ts) == n_points + 1 - n_points % 2
    assert found.midpoint("loss", "train") == -1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [(({}, 25), "no data"), (({"train": None}, 2), "n_points must be at least 3, got 2")],
)
def test_barriers_of_nothing_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        walk_barriers(given[0], n_points=given[1])


# --- refinement ---------------------------------------------------------------------------------


def test_a_narrow_peak_between_points_of_the_grid_is_found():
    def f(t):
        return np.exp(-(((t - 0.3123) / 0.008) ** 2))

    grid = np.linspace(0, 1, 25)
    assert f(grid).max() < 0.02
    ts, values = refine(f, grid)
    assert values.max() > 0.98
    assert abs(ts[values.argmax()] - 0.3123) < 1e-3
    assert set(grid) <= set(ts)
    assert (np.diff(ts) > 0).all()
    assert len(ts) <= 25 + 4 * 4
    np.testing.assert_array_equal(values, f(ts))


def test_points_of_a_round_are_asked_for_together():
    calls = []

    def f(t):
        calls.append(len(t))
        return -np.abs(t - 0.51)

    refine(f, np.linspace(0, 1, 25))
    assert calls == [25, 4, 4, 4, 4]


def test_a_maximum_at_an_end_is_refined_on_its_one_side():
    ts, values = refine(lambda t: 1 - t, [0.0, 0.5, 1.0], tol=0.1)
    assert values.argmax() == 0
    assert ts[1] <= 0.1


def test_nothing_is_added_to_a_constant():
    ts, values = refine(np.zeros_like, np.linspace(0, 1, 5))
    np.testing.assert_array_equal(ts, np.linspace(0, 1, 5))
    np.testing.assert_array_equal(values, np.zeros(5))


def test_values_that_are_not_finite_are_no_maximum():
    ts, values = refine(lambda t: np.where(t > 0.6, np.nan, t), np.linspace(0, 1, 11))
    assert np.isnan(values[ts > 0.6]).all()
    assert 0.599 < ts[np.nanargmax(values)] <= 0.6
    assert len(refine(lambda t: t * np.nan, [0, 1])[0]) == 2


def test_a_grid_of_one_point_is_refused():
    with pytest.raises(ValueError, match="at least two points, got 1"):
        refine(np.sin, [0.5, 0.5])


# --- trained paths ----------------------------------------------------------------------------

DIGITS, DIGIT = load_digits(return_X_y=True)
DIGITS = (DIGITS / 16).astype(np.float32)


@pytest.fixture(scope="module")
def pair():
    """Two networks from independent seeds, with the data."""
    ends = [
        SAMClassifier((64,), rho=0, max_iter=60, learning_rate_init=0.005, random_state=seed).fit(
            DIGITS, DIGIT
        )
        for seed in (0, 1)
    ]
    first, second = map(resolve, ends)
    states = [read_state(t.network.module) for t in (first, second)]
    return first.network, *states, first.to_input(DIGITS), first.to_target(DIGIT)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", slow_after(1, ["polychain", "bezier"]))
def test_a_curve_leads_around_the_barrier(pair, kind):
    network, a, b, X, y = pair
    data = {"train": (X, y)}
    straight = measure_barriers(network, LinearPath(a, b), data).value("loss", "train")
    path = fit_bend(network, a, b, X, y, kind=kind, random_state=0)
    curved = measure_barriers(network, path, data).value("loss", "train")
    assert straight > 0.2
    assert curved <= 0.02
    shares = [0.25, 0.5, 0.25] if kind == "bezier" else [0.0, 1.0, 0.0]
    assert path.coefficients(0.5).tolist() == shares
    assert path.losses_[-1] < path.losses_[0]
    for t, end in ((0.0, a), (1.0, b)):  # the ends stay where they are
        assert all(torch.equal(path.at(t)[n].to(end[n]), end[n]) for n in end)
    first, again = (
        fit_bend(network, a, b, X, y, kind=kind, max_iter=2, random_state=0) for _ in range(2)
    )
    assert all(torch.equal(again.at(0.5)[n], t) for n, t in first.at(0.5).items())


def test_batch_normalisation_on_a_curve():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    X, y = torch.as_tensor(DIGITS[:300]), torch.as_tensor(DIGIT[:300])
    a = read_state(module)
    module[0].reset_parameters()
    b = read_state(module)
    network = Network(module.eval(), nn.CrossEntropyLoss())
    before = path_losses(network, LinearPath(a, b), [0.5], X, y, batch_statistics=X).loss
    path = fit_bend(network, a, b, X, y, max_iter=20, learning_rate=0.02, random_state=0)
    after = path_losses(network, path, [0.5], X, y, batch_statistics=X).loss
    assert after[0] < before[0] / 2


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"kind": "spline"}, "kind"),
        ({"n_bends": 2}, "n_bends=2"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"max_iter": 0}, "max_iter"),
    ],
)
def test_bad_training(pair, bad, message):
    network, a, b, X, y = pair
    with pytest.raises(ValueError, match=message):
        fit_bend(network, a, b, X, y, **bad)


def test_a_path_that_is_not_finite_is_an_error(pair):
    network, a, b, X, y = pair
    broken = {name: t * float("nan") for name, t in b.items()}
    with pytest.raises(DivergenceError, match="loss along the path"):
        fit_bend(network, a, broken, X, y, max_iter=2)
