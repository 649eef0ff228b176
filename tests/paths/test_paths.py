import numpy as np
import pytest
import torch

from sklflat.paths.paths import BezierPath, LinearPath, Plane, PolygonalChain


def state(*values):
    return {"w": torch.tensor(values, dtype=torch.float64)}


A, B, C = state(0.0, 1.0), state(4.0, -1.0), state(2.0, 5.0)
PATHS = [LinearPath(A, B), BezierPath(A, C, B), PolygonalChain([A, C, B])]


@pytest.mark.parametrize("path", PATHS)
def test_ends_are_exact_and_coefficients_add_up_to_one(path):
    assert torch.equal(path.at(0)["w"], A["w"])
    assert torch.equal(path.at(1)["w"], B["w"])
    ts = torch.linspace(0, 1, 13, dtype=torch.float64)
    torch.testing.assert_close(path.coefficients(ts).sum(1), torch.ones(13).double())


@pytest.mark.parametrize("path", PATHS)
def test_one_point_is_a_row_of_many(path):
    ts = [0.0, 0.3, 0.5, 0.9]
    rows = torch.stack([path.coefficients(t) for t in ts])
    assert torch.equal(path.coefficients(ts), rows)


def test_a_bezier_curve_leaves_towards_its_bend():
    path = BezierPath(A, C, B)
    h = 1e-6
    speed = (path.at(h)["w"] - path.at(0)["w"]) / h
    torch.testing.assert_close(speed, 2 * (C["w"] - A["w"]), rtol=1e-5, atol=1e-5)


def test_a_chain_goes_straight_from_anchor_to_anchor():
    path = PolygonalChain([A, C, B, A])
    torch.testing.assert_close(path.at(1 / 6)["w"], (A["w"] + C["w"]) / 2)
    torch.testing.assert_close(path.at(1 / 2)["w"], (C["w"] + B["w"]) / 2)
    torch.testing.assert_close(path.at(2 / 3)["w"], B["w"])


@pytest.mark.parametrize("t", [-0.1, 1.5, np.nan])
def test_a_point_beyond_the_ends_is_refused(t):
    with pytest.raises(ValueError, match="t must be between 0 and 1"):
        PATHS[0].coefficients(t)


def test_other_architectures_are_refused():
    with pytest.raises(ValueError, match=r"'w' is \(2,\) in one and \(1,\)"):
        LinearPath(A, state(1.0))
    with pytest.raises(ValueError, match="at least two states, got 1"):
        PolygonalChain([A])


def test_distances_on_a_plane_are_those_of_the_parameters():
    rng = np.random.RandomState(0)
    a, b, c = (state(*rng.randn(9)) for _ in range(3))
    plane = Plane(a, b, c)
    for x, y in ((0, 1), (0, 2), (1, 2)):
        wanted = ((a, b, c)[x]["w"] - (a, b, c)[y]["w"]).norm()
        torch.testing.assert_close((plane.positions[x] - plane.positions[y]).norm(), wanted)
    for k, end in enumerate((a, b, c)):
        torch.testing.assert_close(plane.at(plane.positions[k])["w"], end["w"])
    middle = plane.positions.mean(0)
    torch.testing.assert_close(plane.at(middle)["w"], (a["w"] + b["w"] + c["w"]) / 3)


def test_a_plane_measures_only_what_it_is_told_to():
    a, b, c = ({"w": s["w"], "running": 100 * s["w"]} for s in (A, B, C))
    assert torch.equal(Plane(a, b, c, ["w"]).positions, Plane(A, B, C).positions)


def test_no_plane_through_a_line():
    with pytest.raises(ValueError, match="on one line"):
        Plane(A, B, state(2.0, 0.0))
    with pytest.raises(ValueError, match="two coordinates"):
        Plane(A, B, C).coefficients(0.5)
