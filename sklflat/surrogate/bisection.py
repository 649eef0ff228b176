"""Whether the surrogate separates the models of the basin into groups that differ in mechanism."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.utils import check_random_state

from sklflat.metrics import monte_carlo_p_values
from sklflat.networks import Network
from sklflat.surrogate.teacher import Answers

#: fewer models cannot be grouped twice
_MIN_MODELS = 6
_LEVEL = 0.05
#: how much less often models of different groups may say the same than those of one
_SAME_FUNCTION = 0.02


@dataclass(frozen=True)
class BisectionTest:
    """Whether grouping models by the surrogate's leaves groups them by their mechanism.

    Attributes
    ----------
    source : str
        Where the models come from.
    n_models : int
    ami : float
        Adjusted mutual information of both groupings: 0 is chance, 1 the same.
    p_value : float
        By permutation of the models.
    same_within, same_between : float
        How often two models of one group, and of different groups, say the same.
    groups : ndarray of shape (n_models,), of int
        By the surrogate's leaves.
    mechanisms : ndarray of shape (n_models,), of int
        By attribution.
    """

    source: str
    n_models: int
    ami: float
    p_value: float
    same_within: float
    same_between: float
    groups: NDArray
    mechanisms: NDArray

    @property
    def verdict(self) -> str:
        """What the test allows to say, in words."""
        if np.isnan(self.ami):
            return "undecided: there are not two groups of models"
        if self.p_value > _LEVEL:
            return "not supported: the surrogate's groups are not those of the mechanisms"
        if self.same_between < self.same_within - _SAME_FUNCTION:
            return "not supported: groups differ in mechanism, but in function, too"
        return "the surrogate separates models that agree in function and differ in mechanism"

    def __str__(self) -> str:
        numbers = f"{self.n_models} models, AMI {self.ami:.2f}, p = {self.p_value:.2g}"
        return f"{self.source}: {self.verdict} ({numbers})"


def leaf_profiles(leaf_of: NDArray, surrogate: Answers, members: Sequence[Answers]) -> NDArray:
    """How near each model is to the surrogate in each leaf, (n_models, n_leaves).

    Of classes the share of the leaf's rows on which they are the same; of predictions the mean
    squared distance, relative to the largest one of all rows and models.
    """
    largest = 1.0
    if surrogate.classes is None:
        far = (np.abs(answers.values - surrogate.values).max(initial=0) for answers in members)
        largest = max(far, default=0.0) or 1.0
    leaves, number = np.unique(leaf_of, return_inverse=True)
    size = np.bincount(number)
    profiles = np.zeros((len(members), len(leaves)))
    for row, answers in zip(profiles, members, strict=True):
        if answers.classes is None:
            near = np.square((answers.values - surrogate.values) / largest).sum(axis=1)
        else:
            near = (answers.codes == surrogate.codes).astype(float)
        row[:] = np.bincount(number, weights=near) / size
    return profiles


def attribution_profile(network: Network, X: torch.Tensor) -> NDArray[np.float64]:
    r"""Which inputs a network uses, (n_inputs,): a distribution over them.

    .. math:: a_j = \frac{1}{n} \sum_i \Big| (x_{ij} - \bar x_j)
              \frac{\partial}{\partial x_j} \| f(x_i) - \bar f(x_i) \|^2 / 2 \Big|

    with the mean :math:`\bar f(x_i)` over the outputs of a classifier (0 for one output), scaled to
    a sum of 1.

    Parameters
    ----------
    network : Network
        Which reads floating-point numbers.
    X : Tensor of shape (n_samples, ...)
    """
    x = network.prepare(X).clone().requires_grad_()
    with torch.enable_grad():
        z = network.module(x)
        z = z.reshape(len(x), -1)
        z = z - z.mean(dim=1, keepdim=True) if z.shape[1] > 1 else z
        z = z / z.detach().abs().max().clamp_min(torch.finfo(z.dtype).tiny)  # squares stay finite
        gradient = torch.autograd.grad(z.square().sum() / 2, x)[0]
    moved = (x - x.mean(dim=0)).detach() * gradient
    profile = moved.flatten(1).abs().mean(dim=0).double().cpu().numpy()
    return profile / max(float(profile.sum()), 1e-300)


def bisection_test(
    by_surrogate: NDArray,
    by_mechanism: NDArray,
    members: Sequence[Answers],
    *,
    source: str = "given",
    n_permutations: int = 999,
    random_state: int | np.random.RandomState | None = None,
) -> BisectionTest:
    """Test whether two profiles of the same models group these alike.

    Models are cut in two by Ward's method, once by each profile. Under the null the models of the
    one grouping are in random order.

    Parameters
    ----------
    by_surrogate : ndarray of shape (n_models, n_leaves)
    by_mechanism : ndarray of shape (n_models, n_inputs)
    members : sequence of Answers
        Of the models.
    source : str, default="given"
    n_permutations : int, default=999
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    test : BisectionTest

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.surrogate.bisection import bisection_test
    >>> from sklflat.surrogate.teacher import Answers
    >>> kind = np.arange(20) % 2
    >>> profile = kind[:, None] + np.linspace(0, 0.1, 20)[:, None]
    >>> same = [Answers(np.ones((5, 1)), None)] * 20
    >>> test = bisection_test(profile, profile, same, random_state=0)
    >>> test.ami, test.verdict
    (1.0, 'the surrogate separates models that agree in function and differ in mechanism')
    """
    rng = check_random_state(random_state)
    n = len(members)
    groups, mechanisms = _halves(by_surrogate), _halves(by_mechanism)
    if n < _MIN_MODELS or groups.max(initial=0) == 0 or mechanisms.max(initial=0) == 0:
        nan = float("nan")
        return BisectionTest(source, n, nan, 1.0, nan, nan, groups, mechanisms)
    information = _Information(mechanisms)
    ami = information.of(groups)
    drawn = [information.of(rng.permutation(groups)) for _ in range(n_permutations)]
    p = float(monte_carlo_p_values(np.array([ami]), np.array(drawn))[0])
    within, between = _sameness(members, groups)
    return BisectionTest(source, n, ami, p, within, between, groups, mechanisms)


class _Information:
    """Adjusted mutual information with one grouping of two groups.

    Of groupings with the same sizes it depends on one number, so few are computed.
    """

    def __init__(self, mechanisms: NDArray) -> None:
        self.mechanisms = mechanisms
        self.known: dict[int, float] = {}

    def of(self, groups: NDArray) -> float:
        in_both = int(groups @ self.mechanisms)
        if in_both not in self.known:
            self.known[in_both] = float(adjusted_mutual_info_score(groups, self.mechanisms))
        return self.known[in_both]


def _halves(profiles: NDArray) -> NDArray[np.int64]:
    """Group 0 or 1 of each model; all 0 where profiles do not differ."""
    if len(profiles) < 2 or np.ptp(profiles, axis=0).max(initial=0.0) <= 1e-12:
        return np.zeros(len(profiles), dtype=np.int64)
    return fcluster(linkage(profiles, "ward"), 2, "maxclust").astype(np.int64) - 1


def _sameness(members: Sequence[Answers], groups: NDArray) -> tuple[float, float]:
    """How often two models of one group, and of two groups, say the same."""
    n = len(members)
    if members[0].classes is None:
        values = np.stack([answers.values.ravel() for answers in members])
        values = values / max(float(np.abs(values).max()), 1e-300)
        scale = max(float(values.var()), 1e-300)
        same = 1 - np.square(values[:, None] - values[None]).mean(axis=2) / scale
    else:
        codes = np.stack([answers.codes for answers in members])
        same = (codes[:, None] == codes[None]).mean(axis=2)
    alike = groups[:, None] == groups[None]
    others = ~np.eye(n, dtype=bool)
    within = same[alike & others]
    return (float(within.mean()) if len(within) else float("nan")), float(same[~alike].mean())
