"""More than two networks, aligned to a common reference."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sklearn.utils import check_random_state
from torch import Tensor

from sklflat.networks.state import State, check_state, mix
from sklflat.symmetry.symmetry import Symmetry


def match_many(
    symmetry: Symmetry,
    states: Sequence[State],
    match: Callable[[State, State], Tensor],
    *,
    n_refinements: int = 0,
    random_state: Any = None,
) -> list[Tensor]:
    """Permutations that align several networks with the first.

    As all are aligned with one reference, they are consistent along every cycle: aligning the
    second with the third and that with the first is aligning the second with the first.

    Parameters
    ----------
    symmetry : Symmetry
    states : sequence of state
        At least two.
    match : callable
        ``match(a, b) -> perm`` aligns b with a.
    n_refinements : int, default=0
        Rounds in which each network, in random order, is aligned with the mean of the others,
        until none moves [1]_. Everything is brought back to the order of the first at the end.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    list of Tensor of shape (n_classes,), int
        One a network; the first is the identity.

    References
    ----------
    .. [1] S. Ainsworth, J. Hayase, S. Srinivasa, "Git Re-Basin", ICLR 2023, appendix A.10
       (MergeMany). https://arxiv.org/abs/2209.04836

    Examples
    --------
    >>> import torch
    >>> from sklflat.symmetry import Group, Symmetry
    >>> from sklflat.matching import match_many, match_weights
    >>> units = torch.arange(2)
    >>> symmetry = Symmetry(2, (Group("W[0]", units),), {"W": (units[:, None],)})
    >>> a = {"W": torch.tensor([[1.0], [2.0]])}
    >>> states = [a, symmetry.permute(a, torch.tensor([1, 0])), a]
    >>> perms = match_many(symmetry, states, lambda a, b: match_weights(symmetry, a, b).perm)
    >>> [perm.tolist() for perm in perms]
    [[0, 1], [1, 0], [0, 1]]
    """
    if len(states) < 2:
        raise ValueError(f"states must be at least two networks, got {len(states)}.")
    for i, state in enumerate(states):
        check_state(state, f"states[{i}]")
    rng = check_random_state(random_state)
    perms = [symmetry.identity(), *(match(states[0], state) for state in states[1:])]
    for _ in range(n_refinements):
        moved = False
        for i in rng.permutation(len(states)):
            others = [symmetry.permute(states[j], perms[j]) for j in range(len(states)) if j != i]
            mean = mix(others, torch.full((len(others),), 1 / len(others)))
            perm = match(mean, states[i])
            moved |= not torch.equal(perm, perms[i])
            perms[i] = perm
        if not moved:
            break
    back = torch.argsort(perms[0])
    return [perm[back] for perm in perms]
