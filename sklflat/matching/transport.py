"""Permutations by optimal transport, in one pass from the input to the output."""

from collections.abc import Collection
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sklflat.matching.assignment import Counted, best_order, hungarian, parts_of, rearranged
from sklflat.matching.result import Matching
from sklflat.matching.weight_objective import WeightObjective
from sklflat.networks.state import State
from sklflat.symmetry.symmetry import Symmetry


def match_transport(
    symmetry: Symmetry,
    a: State,
    b: State,
    *,
    names: Collection[str] | None = None,
    reg: float = 0.0,
) -> Matching:
    r"""Permute the second network by transporting its units to the first's, layer by layer.

    The cost of moving a unit to another is the squared distance of their weights to what is aligned
    already; units weigh alike, so that an optimal plan is a permutation [1]_. There is one pass,
    and what comes later has no say: :func:`match_weights` is hardly ever worse.

    Parameters
    ----------
    symmetry : Symmetry
    a, b : mapping of str to Tensor
        States of the two networks.
    names : collection of str, default=None
        Tensors that count: see :func:`match_weights`.
    reg : float, default=0.0
        Entropic regularisation, relative to the mean cost: a soft plan by Sinkhorn's algorithm,
        rounded to the permutation that has most of it. 0 is exact.

    Returns
    -------
    Matching
        Its objective is the inner product of weights, as in :func:`match_weights`.

    Raises
    ------
    ImportError
        If POT is not installed.

    References
    ----------
    .. [1] S. P. Singh, M. Jaggi, "Model fusion via optimal transport", NeurIPS 2020.
       https://arxiv.org/abs/1910.05653

    Examples
    --------
    >>> import torch
    >>> from sklflat.symmetry import Group, Symmetry
    >>> from sklflat.matching import match_transport
    >>> units = torch.arange(2)
    >>> labels = {"W": (units[:, None],), "V": (units[None],)}
    >>> symmetry = Symmetry(2, (Group("W[0]", units),), labels)
    >>> a = {"W": torch.tensor([[1.0], [2.0]]), "V": torch.ones(1, 2)}
    >>> b = symmetry.permute(a, torch.tensor([1, 0]))
    >>> match_transport(symmetry, a, b).perm
    tensor([1, 0])
    """
    if not 0 <= reg < np.inf:
        raise ValueError(f"reg must be at least 0 and finite, got {reg!r}.")
    try:
        import ot
    except ImportError as error:
        raise ImportError(
            "Optimal transport needs POT: pip install 'sklflat[ot]'. align='weights' does not."
        ) from error
    solve = Counted(partial(_plan, ot, reg))
    weights = WeightObjective(symmetry, a, b, names)
    perm = symmetry.identity()
    moved = weights.permuted(perm)
    done: set[int] = set()
    for i in _from_the_input(weights):
        group = symmetry.groups[i]
        done.add(i)
        order = best_order(group, [-cost for cost in _costs(weights, i, done, moved)], solve)
        perm = perm[rearranged(symmetry, group, *order)]
        moved = weights.permuted(perm, moved, i)
    value = weights.value(moved)
    return Matching(
        perm=perm,
        objective=value,
        objective_identity=weights.value(weights.b),
        upper_bound=weights.upper_bound,
        objectives=(value,),
        n_sweeps=1,
        n_assignments=solve.n_calls,
    )


def _plan(ot: object, reg: float, gains: NDArray) -> NDArray:
    """The column that most of every row goes to, under the plan that costs least."""
    n = len(gains)
    cost, uniform = -gains + gains.max(initial=0.0), np.full(n, 1 / n)
    scale = cost.mean()
    if reg and scale > 0:
        plan = ot.sinkhorn(  # type: ignore[attr-defined]
            uniform, uniform, cost / scale, reg, method="sinkhorn_log", warn=False
        )
    else:
        n_steps = max(100_000, n * n)  # the default is too few from 2,000 units on
        plan = ot.emd(uniform, uniform, cost, numItermax=n_steps)  # type: ignore[attr-defined]
    # an optimal plan between equal weights is a permutation; a soft one is rounded
    return hungarian(plan)


def _groups_in(weights: WeightObjective) -> dict[str, set[int]]:
    """The groups that index each tensor."""
    found: dict[str, set[int]] = {}
    for i, slices in enumerate(weights.slices):
        for own in slices:
            found.setdefault(own.name, set()).add(i)
    return found


def _from_the_input(weights: WeightObjective) -> list[int]:
    """Groups in an order in which each has a matrix that else only earlier ones index."""
    groups_in = _groups_in(weights)
    left, order = list(range(len(weights.slices))), []
    while left:
        ready = [
            i
            for i in left
            if any(
                len(own.shape) > 1 and groups_in[own.name] & set(left) == {i}
                for own in weights.slices[i]
            )
        ]
        order.append((ready or left)[0])
        left.remove(order[-1])
    return order


def _costs(weights: WeightObjective, group: int, done: set[int], moved: State) -> list[NDArray]:
    """Squared distances (n, n) of the classes of every part, over tensors of these groups only."""
    groups_in = _groups_in(weights)
    parts = parts_of(weights.symmetry.groups[group])
    costs = [np.zeros((len(classes), len(classes))) for classes in parts]
    for own in weights.slices[group]:
        if groups_in[own.name] <= done:
            x, y = own.rows(weights.a[own.name]), own.rows(moved[own.name])
            costs[own.part] += np.square(x).sum(1)[:, None] + np.square(y).sum(1) - 2 * x @ y.T
    return costs
