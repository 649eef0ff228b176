"""Noise in chosen subspaces: flat, sharp, random, or all of the parameters."""

import math
from numbers import Integral, Real

import torch
from torch import Tensor

from sklflat._compat import Interval, StrOptions
from sklflat.curvature import (
    Displacements,
    InSubspace,
    Landscape,
    NoiseGauge,
    NullOfInputs,
    Spread,
    eigenpairs,
    normal,
    orthonormal,
    subspace_overlap,
)
from sklflat.curvature.displacements import Projection
from sklflat.curvature.tracking import follow_top
from sklflat.training.perturbations.base import Perturbation, PerturbationState, Position
from sklflat.training.perturbations.noise_scale import for_rise, longest_within, with_finite_loss
from sklflat.training.perturbations.subspace_check import EMPTY, SubspaceCheck

SUBSPACES = ("flat", "soft", "null", "isotropic", "sharp", "random")
#: those that are made of top eigenvectors
_BY_CURVATURE = ("flat", "soft", "sharp")
#: overlap of two subspaces below which the older one is out of date
DRIFTED = 0.8
#: the second check is after so many steps, and each later one after a share more of all steps: at
#: equal ratios of the steps the Hessian turns by about equal angles
_FIRST, _PACE = 6, 0.9
#: smaller shares, each from so many steps on, as these pay for them: where the last subspace
#: drifted, and in any case
_PACE_DRIFTED, _FROM_DRIFTED, _PACE_LATER, _FROM_LATER = 0.5, 40, 0.6, 300
#: accepted residual of an eigenvector, relative to the largest eigenvalue
_TOL = 0.005
#: longest noise that a budget is filled with, and the length that a search begins with, relative
#: to the parameters' length
LONGEST, _START = 0.25, 0.05
#: measurements by which the scale is found at first, and corrected later
_N_FIRST, _N_LATER = 10, 2
#: pairs of draws by which a rise is measured, and by which it is only watched
_N_PAIRS, _N_WATCHED = 6, 2
#: steps for each further pair that a check may draw to be more precise
_STEPS_A_PAIR = 16
#: draws that are made at once, so that the eigenvectors are read once for all of them
_BLOCK = 4
_NONE = torch.tensor(-1)


class FlatNoise(Perturbation):
    r"""A gradient taken at a noisy point: Gaussian noise in a subspace of the parameters.

    .. math:: \tilde w = w + \xi, \qquad \xi = c\, B\, D z, \qquad d = \tilde g

    z is standard normal, D the length of a parameter's filter (a row of weights) over the root of
    its size, and B projects on

    - ``"flat"``: the complement of the top ``n_directions`` eigenvectors of the Hessian, by
      magnitude of the eigenvalue;
    - ``"soft"``: everything, with the variance along the i-th of these eigenvectors lowered by
      :math:`\lambda / (|\lambda_i| + \lambda)`, :math:`\lambda` the smallest of theirs;
    - ``"null"``: changes of affine layers that none of the training inputs can see. Outputs on
      these do not change, to all orders (of hidden layers, until their inputs change);
    - ``"sharp"``: the eigenvectors; ``"random"``: the complement of as many random directions;
      ``"isotropic"``: everything.

    To second order :math:`E L(w + \xi) - L(w) = \tfrac12 \mathrm{tr}(H \Sigma)`, with
    :math:`\Sigma` the covariance. For ``"flat"`` this says *nothing* about the top eigenvalues:
    flat noise is exploration, not a sharpness regulariser.

    The subspace is computed on a fixed part of the training data, each from the one before by a
    few products with the Hessian, at steps that grow by a constant ratio (6, 12, 24, 46, 88, ...),
    sooner where it has drifted: the Hessian turns fast at first and ever more slowly later.

    Parameters
    ----------
    sigma : float or "max", default=0.05
        Size of the noise, in units of the budget; 0 is the base optimiser. ``"max"`` is the
        largest size at which the score on the fixed data falls by ``accuracy_budget`` at most.
    subspace : {"flat", "soft", "null", "isotropic", "sharp", "random"}, default="flat"
    budget : {"loss", "norm"} or None, default="loss"
        What is the same for all subspaces: the expected rise of the loss, relative to the loss,
        measured and adjusted at every check; or the length of the noise, relative to the
        parameters' (root of mean squares). None: sigma is the standard deviation itself, with
        :math:`\Sigma = \sigma^2 B^2` and no scaling by filters.
    n_directions : int, default=8
        The most eigenvectors: between a third of that and that many, up to the largest relative
        gap of their eigenvalues, as a cut between equal ones is another one after every step.
    refresh : int, default=1000
        The most steps between two refreshes.
    antithetic : bool or "increments", default=True
        True: the sign alternates over consecutive steps, False: independent noise, and
        ``"increments"``: differences of consecutive draws over the root of 2, as in Anti-PGD.
    accuracy_budget : float, default=0.01
        For ``sigma="max"``.

    Notes
    -----
    Noise that is longer than a quarter of the parameters' length is not used to fill a loss budget:
    where that costs nothing, the subspace is as flat as can be. And
    where the curvature is negative the fall of the loss under noise is held to the budget. The
    gradient at :math:`w + \xi_t` with independent :math:`\xi_t` is Anti-PGD in other coordinates:
    with :math:`v_t = w_t + \xi_t` the step is
    :math:`v_{t+1} = v_t - \eta \nabla L(v_t) + (\xi_{t+1} - \xi_t)`.

    References
    ----------
    A. Orvieto et al., "Anticorrelated noise injection for improved generalization", ICML 2022.
    https://arxiv.org/abs/2202.02831 . T. Li et al., "Efficient generalization improvement guided
    by random weight perturbation", 2022. https://arxiv.org/abs/2211.11489 (scaling by filters).

    Examples
    --------
    >>> import torch
    >>> from sklflat.curvature import Landscape
    >>> from sklflat.networks import Network
    >>> from sklflat.training.perturbations import FlatNoise, Position
    >>> X = torch.tensor([[2.0, 0.0, 0.0]]).double()  # the loss is (2 w_1)^2
    >>> layer = torch.nn.Linear(3, 1, bias=False).double()
    >>> land = Landscape(Network(layer, torch.nn.MSELoss()), X, torch.zeros(1, 1).double())
    >>> w = torch.ones(3).double()
    >>> at = Position(w, w > 0, learning_rate=0.1, landscape=land)
    >>> noise = FlatNoise(sigma=1.0, n_directions=1, budget=None)
    >>> w_tilde, _ = noise.perturb(None, at, noise.init(w))
    >>> (w_tilde - w).abs() > 1e-3
    tensor([False,  True,  True])
    """

    needs_gradient = False
    needs_landscape = True
    _parameter_constraints = {
        "sigma": [Interval(Real, 0, None, closed="left"), StrOptions({"max"})],
        "subspace": [StrOptions(set(SUBSPACES))],
        "budget": [StrOptions({"loss", "norm"}), None],
        "n_directions": [Interval(Integral, 1, None, closed="left")],
        "refresh": [Interval(Integral, 1, None, closed="left")],
        "antithetic": ["boolean", StrOptions({"increments"})],
        "accuracy_budget": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        sigma: float | str = 0.05,
        subspace: str = "flat",
        budget: str | None = "loss",
        n_directions: int = 8,
        refresh: int = 1000,
        antithetic: bool | str = True,
        accuracy_budget: float = 0.01,
    ) -> None:
        self.sigma = sigma
        self.subspace = subspace
        self.budget = budget
        self.n_directions = n_directions
        self.refresh = refresh
        self.antithetic = antithetic
        self.accuracy_budget = accuracy_budget

    @property
    def rho(self) -> float:  # type: ignore[override]
        """Zero where there is no noise."""
        return 1.0 if isinstance(self.sigma, str) else self.sigma

    def init(self, w: Tensor) -> PerturbationState:
        """Nothing checked yet."""
        # "looks" is the record of checks, "looked" the step of the last: kept trainings say so
        return {"looks": w.new_zeros(0, len(SubspaceCheck._fields), dtype=torch.float64)}

    def perturb(
        self, g: Tensor | None, at: Position, state: PerturbationState
    ) -> tuple[Tensor, PerturbationState]:
        """``w + xi``; checks subspace and size first where that is due."""
        if at.landscape is None:
            raise ValueError(
                "FlatNoise needs the loss around w, which is not at hand here. Pass landscape= to "
                "PerturbedOptimizer.step."
            )
        n = at.seeds[1]
        if "deviation" in state and len(state["deviation"]) != len(at.w):
            state = {"looks": state["looks"]}  # other parameters are trained now
        if "deviation" not in state or self._due(n, state):
            state = self._check(at, n, state)
        pair, is_second = divmod(n, 2) if self.antithetic is True else (n, 0)
        state = self._drawn(at, state, pair)
        xi = state["block"][pair % _BLOCK]
        if self.antithetic == "increments":
            last = state.get("last")
            state = {**state, "last": xi}
            xi = (xi if last is None else xi - last) / math.sqrt(2)
        return torch.add(at.w, xi, alpha=-1 if is_second else 1, out=at.scratch), state

    def _drawn(self, at: Position, state: PerturbationState, number: int) -> PerturbationState:
        """The state with a block of draws that holds this one."""
        block = number // _BLOCK
        if int(state.get("drawn", _NONE)) == block:
            return state
        assert at.landscape is not None
        numbers = range(_BLOCK * block, _BLOCK * (block + 1))
        Z = torch.stack([normal((at.seeds[0], 0, i), at.w) for i in numbers])
        noise = self._displacements(at.landscape, state, float(state["scale"]))
        return {**state, "block": noise(Z), "drawn": torch.tensor(block)}

    def at(self, landscape: Landscape, w: Tensor, seed: int = 0) -> Displacements:
        """The noise at w (p,), apart from its size: displacements of scale 1."""
        here = Position(w, torch.ones_like(w, dtype=torch.bool), 0.0, landscape=landscape)
        here.seeds = (seed, 0)
        state = self._check(here, 0, self.init(w), exact=True)
        return self._displacements(landscape, state, 1.0)

    # --- subspace checks --------------------------------------------------------------------

    def _due(self, n: int, state: PerturbationState) -> bool:
        looked = int(state["looked"])
        pace = _PACE_LATER if looked >= _FROM_LATER else _PACE
        if looked >= _FROM_DRIFTED and float(state["looks"][-1, 1]) < DRIFTED:
            pace = _PACE_DRIFTED
        ahead = max(_FIRST, math.ceil(pace * looked))
        whole_pair = self.antithetic is not True or n % 2 == 0
        return whole_pair and n - looked >= min(ahead, self.refresh)

    def _check(
        self, at: Position, n: int, state: PerturbationState, exact: bool = False
    ) -> PerturbationState:
        """Bring subspace and scale up to date, and record what was found."""
        landscape, w = at.landscape, at.w
        assert landscape is not None
        state = dict(state)
        overlap = retained = math.nan
        if self._needs_curvature:
            overlap, retained, own = self._directions(at, state, exact)
            state |= own
        if self.subspace == "random" and "random" not in state:
            state["random"] = orthonormal(self._k(w), (at.seeds[0], 1), w)
        if self.subspace == "null":
            state |= self._null(landscape, w, first="deviation" not in state)
        spread = landscape.spread(w, self.budget is not None, at.mask)
        state["deviation"] = spread.deviation
        if spread.radial is not None:
            state["radial"] = spread.radial
        scale, check = self._scaled(at, n, state)
        row = torch.tensor([check._replace(overlap=overlap, kept=retained)], dtype=torch.float64)
        state["looks"] = torch.cat([state["looks"], row.to(state["looks"].device)])
        state["scale"] = w.new_tensor(scale)
        state["looked"] = torch.tensor(n)
        state["drawn"] = _NONE
        return state

    def _k(self, w: Tensor) -> int:
        if self.n_directions >= len(w):
            raise ValueError(
                f"n_directions={self.n_directions} leaves no direction over: the network has "
                f"{len(w)} parameters, so n_directions must be at most {len(w) - 1}."
            )
        return self.n_directions

    @property
    def _needs_curvature(self) -> bool:
        # where a rise is measured, eigenpairs make the measurement precise
        by_loss = self.budget == "loss" and self.sigma != "max" and self.subspace != "null"
        return self.subspace in _BY_CURVATURE or by_loss

    def _directions(
        self, at: Position, state: PerturbationState, exact: bool
    ) -> tuple[float, float, PerturbationState]:
        """Overlap with the last subspace, if any; retained energy; eigenpairs."""
        landscape, w = at.landscape, at.w
        assert landscape is not None
        k = self._k(w)
        operator = landscape.hessian(w, at.mask)
        old, seed = state.get("vectors"), at.seeds[0]
        retained = math.nan
        if exact:
            pairs = eigenpairs(operator, k, "magnitude", tol=_TOL, audit=False, seed=seed)
            vectors, values = pairs.vectors.to(w), torch.as_tensor(pairs.values).to(w)
        else:
            before = None if old is None else (state["values"], old)
            top = follow_top(operator, k, before, tol=_TOL, seed=seed)
            vectors, values, retained = top.vectors.to(w), top.values.to(w), top.retained
        landscape.n_matvec += operator.n_matvec
        if at.mask is not None:
            vectors = torch.linalg.qr((vectors * at.mask).T)[0].T.contiguous()
        # curvature below what rounding does to the loss is none
        rounding = torch.finfo(w.dtype).eps * abs(landscape.loss(w))
        if float(values.abs().max()) * (1 + float(w.square().sum())) <= 10 * rounding:
            vectors = torch.zeros_like(vectors)
        overlap = math.nan  # where there is no curvature, too
        if old is not None and old.any() and vectors.any():
            overlap = subspace_overlap(old, vectors)
        return overlap, retained, {"vectors": vectors, "values": values}

    def _null(self, landscape: Landscape, w: Tensor, first: bool) -> PerturbationState:
        spaces = landscape.null_spaces(w)
        if first and not any(N.shape[1] for _, _, N in spaces):
            ranks = ", ".join(f"{name or 'the module'} (rank {len(N)})" for name, _, N in spaces)
            raise ValueError(
                "subspace='null' is empty: the training inputs of every affine layer span all of "
                f"their space: {ranks or 'there is no Linear or Conv2d'}. Use subspace='flat'."
            )
        return {f"null_{i}": N for i, (_, _, N) in enumerate(spaces)}

    def _projection(self, landscape: Landscape, state: PerturbationState) -> Projection:
        if self.subspace == "null":
            places = landscape.affine_indices
            return NullOfInputs(places, [state[f"null_{i}"] for i in range(len(places))])
        empty = state["deviation"].new_zeros(0, len(state["deviation"]))
        name = {"isotropic": "", "random": "random"}.get(self.subspace, "vectors")
        V = state.get(name, empty)
        inside = V.new_zeros(len(V))
        if self.subspace == "sharp":
            inside = torch.ones_like(inside)
        if self.subspace == "soft":
            size = state["values"].abs()
            floor = size.min().clamp(min=torch.finfo(size.dtype).tiny)
            inside = (floor / (size + floor)).sqrt()
        return InSubspace(V, inside, float(self.subspace != "sharp"))

    def _displacements(
        self, landscape: Landscape, state: PerturbationState, scale: float
    ) -> Displacements:
        spread = Spread(state["deviation"], landscape.filters, state.get("radial"))
        return Displacements(spread, self._projection(landscape, state), scale)

    # --- how large --------------------------------------------------------------------------

    def _scaled(
        self, at: Position, n: int, state: PerturbationState
    ) -> tuple[float, SubspaceCheck]:
        """The scale c that the budget allows, and what is known about it."""
        landscape, w = at.landscape, at.w
        assert landscape is not None
        noise = self._displacements(landscape, state, 1.0)
        length, size = float(noise.length()), float(w.norm())
        if length == 0 or (size == 0 and self.budget is not None):
            return 0.0, SubspaceCheck(n, math.nan, math.nan, 0.0, 0.0, EMPTY)
        searched = self.sigma == "max" or self.budget == "loss"
        before = float(state.get("scale", torch.zeros(())))
        known = {} if self.subspace == "null" else state
        gauge = NoiseGauge(
            landscape,
            w,
            noise,
            _N_PAIRS if searched else _N_WATCHED,
            (at.seeds[0], 3),  # the same draws at every check: what changes is told by a few
            known.get("values"),
            known.get("vectors"),
            state["rises"].cpu().numpy() if "rises" in state else None,
            most_pairs=n // _STEPS_A_PAIR,
        )
        whole = size / length
        if searched:
            start, longest = before or _START * whole, LONGEST * whole
            if isinstance(self.sigma, str):
                c, rise, outcome = longest_within(gauge, self.accuracy_budget, start, longest)
            else:
                n_steps = _N_LATER if before else _N_FIRST
                c, rise, outcome = for_rise(gauge, self.sigma, start, longest, n_steps)
        else:
            assert not isinstance(self.sigma, str)
            c = self.sigma if self.budget is None else self.sigma * whole
            c, rise, outcome = with_finite_loss(gauge, c)
        if gauge.rises is not None:
            state["rises"] = torch.as_tensor(gauge.rises)
        relative = rise / abs(gauge.loss) if gauge.loss else math.nan
        return c, SubspaceCheck(
            n, math.nan, math.nan, c / whole if size else math.nan, relative, outcome
        )
