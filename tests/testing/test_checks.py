"""The public checks find what is wrong with a newcomer's class, and say it by name."""

import numpy as np
import pytest
import torch

from sklflat import ActivationProbe, SAMClassifier
from sklflat.probing import Null, UnitProbe
from sklflat.testing import check_perturbation, check_probe, checks_of
from sklflat.training.perturbations import SAM
from tests._estimators import IRIS, SPECIES


class Step(SAM):
    def perturb(self, g, at, state):
        return super().perturb(g, at, state)[0] - at.w, state


class InPlace(SAM):
    def init(self, w):
        return {"mean": torch.zeros_like(w)}

    def perturb(self, g, at, state):
        state["mean"].mul_(0.9).add_(g)
        return at.w + self.rho * state["mean"] / state["mean"].norm().clamp(min=1e-9), state


class Hoarding(SAM):
    def perturb(self, g, at, state):
        self.last = g
        return super().perturb(g, at, state)


class Forgetful(SAM):
    """Remembers the gradients of the steps before outside of its state."""

    seen: dict = {}

    def perturb(self, g, at, state):
        before = self.seen.setdefault(at.t, torch.randn(1, generator=torch.Generator()))
        self.seen[at.t] = before + 1
        return at.w + self.rho * before * g, state


class Worldly(SAM):
    def perturb(self, g, at, state):
        torch.rand(1)
        return super().perturb(g, at, state)


class Dividing(SAM):
    def perturb(self, g, at, state):
        return at.w + self.rho * g / g.norm(), state


class Doubling(SAM):
    def perturb(self, g, at, state):
        return super().perturb(g, at, state)[0].double(), state


class Climbing(SAM):
    def combine(self, g, g_tilde, state):
        return -g_tilde, state


class Alone(SAM):
    def perturb(self, g, at, state):
        return super().perturb(g, at, state)[0]


class WithoutInit(SAM):
    def perturb(self, g, at, state):
        m = 0.9 * state["m"] + 0.1 * g
        return super().perturb(m, at, {})[0], {"m": m}


WRONG = [
    (WithoutInit, "looks for 'm'.*WithoutInit.init returns \\[\\]"),
    (Step, "has to return the perturbed point w~ = w \\+ eps"),
    (InPlace, "InPlace.perturb changes state in place"),
    (Hoarding, "Hoarding sets attributes"),
    (Forgetful, "Forgetful.perturb gives another answer"),
    (Worldly, "Worldly draws from the global random numbers"),
    (Dividing, "of a gradient of length 0 the point is not finite"),
    (Doubling, "the point is torch.float64, not float32"),
    (Climbing, "raise the loss"),
    (Alone, "has to return the point and the next state, got Tensor"),
]


@pytest.mark.parametrize(("variant", "message"), WRONG, ids=lambda v: getattr(v, "__name__", ""))
def test_a_wrong_perturbation_is_found(variant, message):
    with pytest.raises(AssertionError, match=message):
        check_perturbation(variant())


def test_a_perturbation_checked_at_zero_is_none():
    with pytest.raises(AssertionError, match="is to be checked with rho > 0, got rho=0"):
        check_perturbation(SAM(rho=0))
    with pytest.raises(TypeError, match="pass an instance of a subclass"):
        list(checks_of(SAM))


# --- probes -----------------------------------------------------------------------------------


class Probe(ActivationProbe):
    """Quick, and right; what a subclass changes is wrong."""


class OtherScale(Probe):
    def _draw_nulls(self, sample, n_draws, rng):
        return [Null(n.name, 1e-3 * n.draws - 1) for n in super()._draw_nulls(sample, n_draws, rng)]


class FewDraws(Probe):
    def _draw_nulls(self, sample, n_draws, rng):
        return [Null(n.name, n.draws[:4]) for n in super()._draw_nulls(sample, n_draws, rng)]


class ByPlace(Probe):
    def _score_units(self, sample):
        return super()._score_units(sample) + np.arange(len(sample.units))


class Carrying(Probe):
    def _score_units(self, sample):
        self.scores = super()._score_units(sample)
        return self.scores


class Impure(Probe):
    def _score_units(self, sample):
        sample.activations[:] -= sample.activations.mean(0)
        return super()._score_units(sample)


class Restless(Probe):
    def _draw_nulls(self, sample, n_draws, rng):
        return super()._draw_nulls(sample, n_draws, np.random.mtrand._rand)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (OtherScale, "not on the scale of its scores"),
        (FewDraws, "n_null=200 asks for as many draws, and the null 'permuted targets' has"),
        (ByPlace, "A score must not depend on where a unit is"),
        (Carrying, "Carrying._score_units sets scores"),
        (Impure, "changes the sample in place"),
        (Restless, "two fits with the same random_state differ in p_values_"),
    ],
)
def test_a_wrong_probe_is_found(probe, message):
    with pytest.raises(AssertionError, match=message):
        check_probe(probe(n_null=200))


class Bare(UnitProbe):
    def _score_units(self, sample):
        return np.zeros(len(sample.units))


def returning(scores=None, nulls=None):
    """A probe whose functions return these."""

    class Wrong(ActivationProbe):
        def _score_units(self, sample):
            return super()._score_units(sample) if scores is None else scores

        def _draw_nulls(self, sample, n_draws, rng):
            return super()._draw_nulls(sample, n_draws, rng) if nulls is None else nulls

    return Wrong(SAMClassifier((4,), max_iter=2, random_state=0), random_state=0)


DRAWS = np.random.RandomState(0).normal(size=(50, 4))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (Bare(), r"Bare has no parameters estimator, layers, .*: a subclass of UnitProbe writes"),
        (returning(np.zeros(3)), r"_score_units .* each of the 4 units.* got an array of shape"),
        (returning(np.zeros((4, 1))), r"of shape \(4,\); got an array of shape \(4, 1\)"),
        (returning(np.full(4, np.nan)), r"returned NaN for \d units that live"),
        (returning(["a"] * 4), r"one number for each of the 4 units"),
        (returning(nulls=[]), r"_draw_nulls has to return a list of Null.* got \[\] of type list"),
        (returning(nulls=DRAWS), r"got an array of shape \(50, 4\).* Wrap draws as Null"),
        (returning(nulls=[DRAWS]), r"has to hold Null objects, and holds an array"),
        (returning(nulls=[Null("x", DRAWS.T)]), r"the shape \(4, 50\).*: transpose them"),
        (returning(nulls=[Null("x", DRAWS[:, 0])]), r"the shape \(50,\).* say matched=False"),
        (returning(nulls=[Null("x", DRAWS * np.nan)]), r"NaN among the draws of 'x'"),
    ],
)
def test_what_a_probe_returns_is_checked_by_name(probe, message):
    with pytest.raises((TypeError, ValueError), match=message):
        probe.fit(IRIS, SPECIES)


@pytest.mark.parametrize("wrong", [returning(np.zeros(3)), returning(nulls=[DRAWS])])
def test_a_check_of_what_cannot_be_fitted_fails_as_a_check(wrong):
    with pytest.raises(AssertionError, match="Wrong cannot be fitted to a small network: "):
        check_probe(wrong)


class Halves(SAM):
    def combine(self, g, g_tilde, state):
        return g_tilde.mul_(0.5), state


class Rounding(SAM):
    def perturb(self, g, at, state):
        point, state = super().perturb(g, at, state)
        return point.float(), state


class Alone(SAM):
    def combine(self, g, g_tilde, state):
        return g_tilde


class NotFinite(SAM):
    def combine(self, g, g_tilde, state):
        return g_tilde * torch.nan, state


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (Halves, "combine changes g_tilde in place"),
        (Rounding, "the point is torch.float32, not float64"),
        (Alone, "combine has to return the direction and the next state, got Tensor"),
        (NotFinite, "combine: the direction is not finite"),
    ],
)
def test_directions_are_checked_as_points_are(variant, message):
    with pytest.raises(AssertionError, match=message):
        check_perturbation(variant())
