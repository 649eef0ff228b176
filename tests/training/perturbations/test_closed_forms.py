"""The first two steps of every variant against numbers worked out by hand.

Quadratic: L = (w1^2 + 4 w2^2) / 2 from w = (3, 1), so g = (3, 4) and |g| = 5.
Logistic: L = log(1 + exp(-m)) with m = w1 x1 + w2 x2, x = (1, 2), whose gradient is
-x / (1 + exp(m)).
"""

import numpy as np
import pytest
import torch

from sklflat import PerturbedOptimizer
from sklflat.training.perturbations import (
    ASAM,
    GSAM,
    SAM,
    FisherSAM,
    FriendlySAM,
    LookSAM,
    MomentumSAM,
)

A = np.array([1.0, 4.0])
x = np.array([1.0, 2.0])
PROBLEMS = {
    "quadratic": (np.array([3.0, 1.0]), lambda w: A * w),
    "logistic": (np.array([0.5, -0.25]), lambda w: -x / (1 + np.exp(w @ x))),
}
TORCH_LOSS = {
    "quadratic": lambda w: (torch.tensor(A) * w**2).sum() / 2,
    "logistic": lambda w: torch.log1p(torch.exp(-w @ torch.tensor(x))),
}
LR, MU, B1, B2, EPS, DECAY = 0.1, 0.9, 0.9, 0.999, 1e-8, 0.01


# --- directions, written out from the papers; s is what a variant remembers ------------------


def length(v):
    return np.sqrt((v**2).sum())


def sam(w, grad, t, s, v):
    g = grad(w)
    return grad(w + 0.5 * g / length(g))


def asam(w, grad, t, s, v):
    g, T = grad(w), np.abs(w) + 0.01
    return grad(w + 0.5 * T**2 * g / length(T * g))


def gsam(w, grad, t, s, v):
    g = grad(w)
    p = grad(w + 0.5 * g / length(g))
    return p - 0.2 * (g - (g @ p) / (p @ p) * p)


def looksam(w, grad, t, s, v):
    g = grad(w)
    if t % 2 == 0:
        p = grad(w + 0.5 * g / length(g))
        s["g_v"] = p - (g @ p) / (g @ g) * g
        return p
    gv = length(s["g_v"])
    return g + (0.7 * length(g) / gv * s["g_v"] if gv > 1e-12 else 0)


def fisher(w, grad, t, s, v):
    g = grad(w)
    F = 1 / (1 + g**2)
    return grad(w + 0.5 * F * g / np.sqrt(g @ (F * g)))


def friendly(w, grad, t, s, v):
    g = grad(w)
    u = g if t == 0 else g - s["m"]
    s["m"] = g if t == 0 else 0.9 * s["m"] + 0.1 * g
    return grad(w + 0.5 * u / length(u))


def momentum(w, grad, t, s, v):
    return grad(w - 0.5 * v / length(v)) if v.any() else grad(w)


VARIANTS = {
    "sam": (SAM(0.5), sam),
    "asam": (ASAM(0.5), asam),
    "gsam": (GSAM(0.5), gsam),
    "looksam": (LookSAM(0.5, k=2), looksam),
    "fisher": (FisherSAM(0.5), fisher),
    "friendly": (FriendlySAM(0.5), friendly),
    "momentum": (MomentumSAM(0.5), momentum),
    "none": (SAM(0.0), lambda w, grad, t, s, v: grad(w)),
}


# --- base optimisers, from their textbook form ------------------------------------------------


def by_hand(direction, problem, base, steps=2):
    w, grad = problem
    m, q, s = np.zeros(2), np.zeros(2), {}
    for t in range(steps):
        d = direction(w, grad, t, s, m)
        if base == "sgd":
            w = w - LR * (d + DECAY * w)
        elif base == "momentum":
            d = d + DECAY * w
            m = d if t == 0 else MU * m + d
            w = w - LR * m
        else:
            m, q = B1 * m + (1 - B1) * d, B2 * q + (1 - B2) * d**2
            hat = m / (1 - B1 ** (t + 1)), q / (1 - B2 ** (t + 1))
            w = (1 - LR * DECAY) * w - LR * hat[0] / (np.sqrt(hat[1]) + EPS)
    return w


def base_optimizer(base, parameters):
    if base == "adamw":
        return torch.optim.AdamW(parameters, lr=LR, betas=(B1, B2), eps=EPS, weight_decay=DECAY)
    mu = MU if base == "momentum" else 0.0
    return torch.optim.SGD(parameters, lr=LR, momentum=mu, weight_decay=DECAY)


def by_sklflat(perturbation, name, base, steps=2):
    w = torch.nn.Parameter(torch.tensor(PROBLEMS[name][0]))
    # named, as a vector alone would count as a bias, which ASAM does not scale
    optimizer = PerturbedOptimizer(base_optimizer(base, [("weight", w)]), perturbation)

    def closure():
        loss = TORCH_LOSS[name](w)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return w.detach().numpy()


@pytest.mark.parametrize("base", ["sgd", "momentum", "adamw"])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("steps", [1, 2])
def test_steps(variant, problem, base, steps):
    perturbation, direction = VARIANTS[variant]
    if variant == "momentum" and base == "sgd":
        with pytest.raises(ValueError, match="has none"):
            by_sklflat(perturbation, problem, base, steps)
        return
    expected = by_hand(direction, PROBLEMS[problem], base, steps)
    np.testing.assert_allclose(by_sklflat(perturbation, problem, base, steps), expected, rtol=1e-12)


# With w = (3, 1), g = (3, 4): SAM goes to (3.3, 1.4), whose gradient is (3.3, 5.6).
FIRST_DIRECTIONS = {
    "sam": (3.3, 5.6),
    "looksam": (3.3, 5.6),
    "friendly": (3.3, 5.6),
    # T = (3.01, 1.01), T g = (9.03, 4.04), A T^2 g = (27.1803, 16.3216)
    "asam": (
        3 + 0.5 * 3.01**2 * 3 / np.hypot(9.03, 4.04),
        4 * (1 + 0.5 * 1.01**2 * 4 / np.hypot(9.03, 4.04)),
    ),
    # g.g~ / g~.g~ = 32.3 / 42.25; the part of g orthogonal to g~ is (0.4772, -0.2812)
    "gsam": (3.3 - 0.2 * (3 - 32.3 / 42.25 * 3.3), 5.6 - 0.2 * (4 - 32.3 / 42.25 * 5.6)),
    # f = (9, 16), F = (1/10, 1/17), g.F g = 0.9 + 16/17 = 1.841176
    "fisher": (3 + 0.5 * 0.3 / 1.841176471**0.5, 4 * (1 + 0.5 * (4 / 17) / 1.841176471**0.5)),
    "momentum": (3.0, 4.0),
    "none": (3.0, 4.0),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_first_direction_on_the_quadratic(variant):
    base = "momentum" if variant == "momentum" else "sgd"
    w = by_sklflat(VARIANTS[variant][0], "quadratic", base, steps=1)
    start = PROBLEMS["quadratic"][0]
    direction = (start - w) / LR - DECAY * start
    np.testing.assert_allclose(direction, FIRST_DIRECTIONS[variant], rtol=1e-8)


def test_gsam_radius_follows_the_learning_rate():
    """rho_t = rho_min + (rho - rho_min) (lr - lr_min) / (lr_max - lr_min) = 0.3 at half rate."""
    w = torch.nn.Parameter(torch.tensor(PROBLEMS["quadratic"][0]))
    base = torch.optim.SGD([w], lr=LR)
    optimizer = PerturbedOptimizer(base, GSAM(rho=0.5, rho_min=0.1, alpha=0.0))
    seen = []

    def closure():
        seen.append(w.detach().clone())
        loss = TORCH_LOSS["quadratic"](w)
        loss.backward()
        return loss

    optimizer.step(closure)
    base.param_groups[0]["lr"] = LR / 2
    optimizer.step(closure)
    radii = [float(torch.linalg.norm(seen[i + 1] - seen[i])) for i in (0, 2)]
    np.testing.assert_allclose(radii, [0.5, 0.3], rtol=1e-12)
