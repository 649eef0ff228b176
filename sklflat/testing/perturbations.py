"""What a perturbation has to keep to, checked on a small network and on its loss."""

import pickle
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn

from sklflat.curvature import Landscape
from sklflat.networks import Network
from sklflat.testing.global_state import are_unchanged, global_random_states
from sklflat.training.engine.step import ascends_at_all, perturbed_direction
from sklflat.training.perturbations.base import Perturbation, PerturbationState, Position

#: a point further away than this share of the parameters' length is no perturbed one
_FAR = 0.5
_N_STEPS, _RATE = 12, 0.05


def check_perturbation(variant: Perturbation) -> None:
    """Check whether a perturbation keeps to what every training loop relies on.

    Its methods are pure functions: of the same gradient, position and state they return the same
    tensors, and change none that they were given. ``perturb`` returns the point and not the step
    to it. A state is tensors by name, and a training that was cut off goes on from it to the same
    bits. Small and vanishing gradients give finite points, in the precision of the parameters.

    Parameters
    ----------
    variant : Perturbation
        An instance; it is not changed.

    Raises
    ------
    AssertionError
        If it does not; says in which way.

    Examples
    --------
    >>> from sklflat.testing import check_perturbation
    >>> from sklflat.training.perturbations import SAM, Perturbation
    >>> check_perturbation(SAM())
    >>> class Step(Perturbation):
    ...     def __init__(self, rho=0.05):
    ...         self.rho = rho
    ...
    ...     def perturb(self, g, at, state):
    ...         return self.rho * g / g.norm(), state
    >>> check_perturbation(Step())
    Traceback (most recent call last):
        ...
    AssertionError: Step.perturb has to return the perturbed point w~ = w + eps, ...
    """
    for check in PERTURBATION_CHECKS:
        check(variant)


# --- a network to check on ----------------------------------------------------------------------


class _Walk:
    """Plain gradient descent with a perturbation, on the loss of a small network."""

    def __init__(self, variant: Perturbation, dtype: torch.dtype = torch.float64) -> None:
        self.variant = variant
        generator = torch.Generator().manual_seed(0)
        X = torch.randn(24, 5, generator=generator, dtype=torch.float64).to(dtype)
        y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
        module = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
        self.landscape = Landscape(Network(module, nn.CrossEntropyLoss()), X, y, dtype=dtype)
        self.landscape.score = lambda z: float((z.argmax(1) == y.numpy()).mean())
        self.is_weight = torch.cat(
            [torch.full((p.numel(),), p.ndim > 1) for p in module.parameters()]
        )
        self.w = self.landscape.vector.read()
        self.velocity = torch.zeros_like(self.w)

    def gradient(self, w: Tensor) -> Tensor:
        return self.landscape.hessian(w).gradient.to(w)  # type: ignore[attr-defined]

    def at(self, t: int, w: Tensor | None = None) -> Position:
        at = Position(self.w if w is None else w, self.is_weight, _RATE, t=t, seeds=(3, t))
        at.landscape = self.landscape
        at.velocity = self.velocity.clone() if t else None
        at.squared_gradients = lambda labels: self.gradient(at.w).square()
        return at

    def step(self, t: int, state: PerturbationState) -> PerturbationState:
        def gradient_at(w_tilde: Tensor | None) -> tuple[Tensor, Tensor]:
            point = self.w if w_tilde is None else w_tilde
            return torch.zeros(()), self.gradient(point)

        _, direction, after = perturbed_direction(self.variant, self.at(t), state, gradient_at)
        self.velocity = 0.5 * self.velocity + direction
        self.w = self.w - _RATE * self.velocity
        assert after is not None
        return after


def _copies(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _copies(value) for key, value in values.items()}
    return values.clone() if isinstance(values, Tensor) else values


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if not isinstance(a, Tensor):
        return bool(a == b)
    return a.dtype == b.dtype and bool(np.array_equal(a.numpy(), b.numpy(), equal_nan=True))


def _name(variant: Perturbation) -> str:
    return type(variant).__name__


def _names_missing_state(check: Callable[[Perturbation], None]) -> Callable[[Perturbation], None]:
    """The check, in which a key that a state does not have is no bare KeyError."""

    @wraps(check)
    def named(variant: Perturbation) -> None:
        try:
            check(variant)
        except KeyError as error:
            name, first = _name(variant), sorted(variant.init(_Walk(variant).w))
            raise AssertionError(
                f"{name} looks for {error}, which is not there. If it is part of the state: the "
                "state before the first step is what init(self, w) returns, a dict of tensors by "
                f"name, such as {{{error}: torch.zeros_like(w)}}, and {name}.init returns {first}; "
                "each later one is what perturb and combine return last."
            ) from error

    return named


# --- the checks ---------------------------------------------------------------------------------


def check_parameters(variant: Perturbation) -> None:
    """Parameters are stored as they are given, so that searches and clones can set them."""
    name = _name(variant)
    assert "__init__" in vars(type(variant)) or variant.get_params(), (
        f"{name} has no parameters: write out __init__(self, rho=...) that stores each as given."
    )
    assert hasattr(variant, "rho"), f"{name} has no rho: rho = 0 has to be the base optimiser."
    before, twin = variant.get_params(), clone(variant)
    for key, value in twin.get_params().items():
        assert value is before[key] or value == before[key], f"{name} changes {key} in __init__."
    variant.validate()
    assert ascends_at_all(variant), f"{name} is to be checked with rho > 0, got rho={variant.rho}."


@_names_missing_state
def check_point_and_state(variant: Perturbation) -> None:
    """``perturb`` returns a point near w, and a state of tensors by name."""
    name, walk = _name(variant), _Walk(variant)
    state = variant.init(walk.w)
    assert _is_state(state), f"{name}.init has to return a dict of tensors by name, got {state!r}."
    found = variant.perturb(walk.gradient(walk.w), walk.at(0), state)
    assert isinstance(found, tuple), (
        f"{name}.perturb has to return the point and the next state, got {type(found).__name__}."
    )
    assert len(found) == 2, f"{name}.perturb has to return two things, got {len(found)}."
    point, after = found
    assert isinstance(point, Tensor), f"{name}.perturb: the point is a {type(point).__name__}."
    assert point.shape == walk.w.shape, (
        f"{name}.perturb: the point has shape {tuple(point.shape)} in place of "
        f"{tuple(walk.w.shape)}."
    )
    assert _is_state(after), f"{name}.perturb: a state is a dict of tensors, got {after!r}."
    _check_direction(name, variant.combine(point - walk.w, point - walk.w, after), walk.w)
    # far from the origin of parameters a step is nowhere near a point
    w = walk.w + 100
    point = variant.perturb(walk.gradient(walk.w), walk.at(0, w), variant.init(w))[0]
    assert float((point - w).norm()) <= _FAR * float(w.norm()), (
        f"{name}.perturb has to return the perturbed point w~ = w + eps, and what it returned is "
        f"{float((point - w).norm() / w.norm()):.2f} of the length of w away from w: return "
        "at.w + eps, not eps; or is rho that large?"
    )


def _check_direction(name: str, found: Any, w: Tensor) -> None:
    """``combine`` returns a finite direction and a state."""
    assert isinstance(found, tuple), (
        f"{name}.combine has to return the direction and the next state, got "
        f"{type(found).__name__}."
    )
    assert len(found) == 2, f"{name}.combine has to return two things, got {len(found)}."
    direction, after = found
    assert isinstance(direction, Tensor), (
        f"{name}.combine: {type(direction).__name__} is no tensor."
    )
    assert direction.shape == w.shape, f"{name}.combine: a shape of {tuple(direction.shape)}."
    assert torch.isfinite(direction).all(), f"{name}.combine: the direction is not finite."
    assert _is_state(after), f"{name}.combine: a state is a dict of tensors, got {after!r}."


def _is_state(state: Any) -> bool:
    return isinstance(state, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    )


@_names_missing_state
def check_pure(variant: Perturbation) -> None:
    """No method changes what it was given, or the world's random numbers; all repeat themselves."""
    name, walk = _name(variant), _Walk(variant)
    state = variant.init(walk.w)
    for t in range(3):  # a first step may have nothing to change yet
        g = walk.gradient(walk.w)
        g_tilde = 0.5 * g + 0.1
        own = vars(variant).copy()
        world = global_random_states()
        calls: dict[str, Any] = {
            "perturb": lambda g=g, t=t, s=state: variant.perturb(g, walk.at(t), s),
            "combine": lambda g=g, tilde=g_tilde, s=state: variant.combine(g, tilde, s),
        }
        if not variant.ascends(t):
            calls = {"reuse": lambda g=g, s=state: (variant.reuse(g, s), s)}
        for method, call in calls.items():
            before = _copies({"g": g, "g_tilde": g_tilde, "w": walk.w, "state": state})
            first = _copies(dict(enumerate(call())))
            given = {"g": g, "g_tilde": g_tilde, "w": walk.w, "state": state}
            for what, now in given.items():
                assert _same(before[what], now), (
                    f"{name}.{method} changes {what} in place in step {t}: return a new tensor."
                )
            again = dict(enumerate(call()))
            assert _same(first, again), (
                f"{name}.{method} gives another answer to the same question in step {t}: what it "
                "remembers belongs into the state, and random numbers follow from at.seeds."
            )
        kept = vars(variant).keys() == own.keys() and all(
            value is own[key] for key, value in vars(variant).items()
        )
        assert kept, f"{name} sets attributes: what it remembers is the state's."
        assert are_unchanged(world), (
            f"{name} draws from the global random numbers: seed your own by at.seeds."
        )
        state = walk.step(t, state)


@_names_missing_state
def check_resumes(variant: Perturbation) -> None:
    """A training that goes on from a pickled state comes to the same bits."""
    whole = _Walk(variant)
    state = variant.init(whole.w)
    half = None
    for t in range(_N_STEPS):
        if t == _N_STEPS // 2:
            half = pickle.dumps((state, whole.w, whole.velocity))
        state = whole.step(t, state)
    assert half is not None
    rest = _Walk(clone(variant))
    state, rest.w, rest.velocity = pickle.loads(half)
    for t in range(_N_STEPS // 2, _N_STEPS):
        state = rest.step(t, state)
    assert torch.equal(rest.w, whole.w), (
        f"A training with {_name(variant)} that was cut off does not go on as if it had not been: "
        "something is remembered outside of the state."
    )


@_names_missing_state
def check_small_gradients(variant: Perturbation) -> None:
    """Gradients that vanish give finite points."""
    name, walk = _name(variant), _Walk(variant)
    for scale in (1e-30, 0.0):
        g = scale * walk.gradient(walk.w)
        state = variant.init(walk.w)
        at = walk.at(0)
        at.squared_gradients = lambda labels, g=g: g.square()
        point, state = variant.perturb(g, at, state)
        direction, _ = variant.combine(g, g, state)
        for what, value in (("point", point), ("direction", direction)):
            assert torch.isfinite(value).all(), (
                f"{name}: of a gradient of length {float(g.norm()):g} the {what} is not finite. "
                "Divide by perturbations.base.norm(g), which is never 0."
            )


@_names_missing_state
def check_precision(variant: Perturbation) -> None:
    """Points and directions are in the precision of the parameters."""
    name = _name(variant)
    for dtype in (torch.float32, torch.float64):
        walk = _Walk(variant, dtype)
        g = walk.gradient(walk.w)
        point, state = variant.perturb(g, walk.at(0), variant.init(walk.w))
        direction, _ = variant.combine(g, walk.gradient(point), state)
        for what, value in (("point", point), ("direction", direction)):
            right = str(dtype).removeprefix("torch.")
            assert value.dtype == dtype, f"{name}: the {what} is {value.dtype}, not {right}."


@_names_missing_state
def check_trains(variant: Perturbation) -> None:
    """Descent along its directions lowers the loss."""
    walk = _Walk(variant)
    before, state = walk.landscape.loss(walk.w), variant.init(walk.w)
    for t in range(_N_STEPS):
        state = walk.step(t, state)
    after = walk.landscape.loss(walk.w)
    assert after < before, (
        f"{_N_STEPS} steps of size {_RATE} with {_name(variant)} raise the loss of a small network "
        f"from {before:.4g} to {after:.4g}: is the sign of the direction right, and rho small?"
    )


PERTURBATION_CHECKS = (
    check_parameters,
    check_point_and_state,
    check_pure,
    check_resumes,
    check_small_gradients,
    check_precision,
    check_trains,
)
