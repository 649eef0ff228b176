"""Classes on a known tree, whose levels have inputs of their own."""

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from sklearn.utils import check_random_state

from sklflat._compat import Interval, StrOptions
from sklflat.datasets.draws import (
    AT_LEAST_1,
    POSITIVE,
    Seed,
    balanced_labels,
    contiguous_columns,
    validated,
)
from sklflat.datasets.truth import Truth

__all__ = ["make_class_tree"]

Shape = Literal["balanced", "unbalanced", "star"]


class _Branch(NamedTuple):
    """An edge of the tree: the classes below it, the level it leaves from, whether it ends."""

    classes: NDArray[np.int64]
    level: int
    is_leaf: bool


@validated(
    n_classes=[Interval(Integral, 3, None, closed="left")],
    tree=[StrOptions({"balanced", "unbalanced", "star"})],
    separation=[POSITIVE],
    decay=[Interval(Real, 0, 1, closed="neither")],
    n_features_per_branch=[AT_LEAST_1],
    warp=[StrOptions({"product", "parity"}), None],
)
def make_class_tree(
    n_samples: int = 1000,
    *,
    n_classes: int = 8,
    tree: Shape = "balanced",
    separation: float = 8.0,
    decay: float = 0.6,
    n_features_per_branch: int = 1,
    n_noise: int = 6,
    warp: Literal["product", "parity"] | None = None,
    random_state: Seed = None,
) -> tuple[NDArray, NDArray, Truth]:
    r"""Generate a Gaussian mixture whose class means lie on a known tree.

    Two classes that part at level :math:`\ell` (0 is the top) have means at distance

    .. math:: d_\ell = \mathrm{separation} \cdot \mathrm{decay}^\ell

    exactly, in units of the noise. Every branch of the tree has inputs of its own, shifted for the
    classes below it by a vector of squared length :math:`(d_\ell^2 - d_{\ell + 1}^2) / 2`, or
    :math:`d_\ell^2 / 2` where it ends in one class: squared distances add up along the tree, and
    are ultrametric. Inputs of the top level are the core, all others refinement.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples, at least `n_classes`; the sizes of classes differ by one at most.
    n_classes : int, default=8
        Number of classes, at least 3.
    tree : {"balanced", "unbalanced", "star"}, default="balanced"
        Halve the classes at every level, split off one class at every level, or part all classes
        at the top: then all distances are equal, and there is no hierarchy.
    separation : float, default=8.0
        Distance of the means of classes that part at the top.
    decay : float, default=0.6
        Ratio of the distances of one level to those of the level above, in (0, 1).
    n_features_per_branch : int, default=1
        Inputs that each branch has.
    n_noise : int, default=6
        Inputs of standard normal noise.
    warp : {"product", "parity"} or None, default=None
        Hide every input z of a branch in two, whose product it is: :math:`(s r, s z / r)` with a
        random sign s that no input shows. All class means are then 0, so that nothing linear in
        the inputs tells classes apart, and the best possible classifier is as good as without.
        "parity" has :math:`r = 1`, so the first input is the sign; "product" has
        :math:`\log r \sim N(0, 1/16)`.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data again. One int gives the same tree at every `n_samples`.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Inputs in random order, with noise of standard deviation 1.
    y : ndarray of shape (n_samples,)
        Labels, assigned to the leaves at random.
    truth : Truth
        ``linkage`` and ``cophenetic_distances``; ``means``; with a warp the inputs before it,
        ``latent``, those of the branches in order; ``inputs``: all but noise; ``levels``
        and ``groups``: level and number of an input's branch; ``roles``: "core", "refinement" or
        "noise". ``truth.auc(scores, against="refinement")`` tells the core from the refinement.

    Raises
    ------
    ValueError
        If a parameter is out of range, or there are fewer samples than classes.

    References
    ----------
    .. [1] J. Felsenstein, "Maximum-likelihood estimation of evolutionary trees from continuous
       characters", American Journal of Human Genetics 25, 1973 (squared distances that add up
       along a tree).

    Examples
    --------
    Four classes in two pairs, and a star of the same four:

    >>> from sklflat.datasets import make_class_tree
    >>> X, y, truth = make_class_tree(n_classes=4, separation=8, decay=0.5, random_state=0)
    >>> truth.linkage[:, 2].round(12)
    array([4., 4., 8.])
    >>> sorted(truth.levels.tolist())
    [-1, -1, -1, -1, -1, -1, 0, 0, 1, 1, 1, 1]
    >>> X, y, truth = make_class_tree(n_classes=4, tree="star", random_state=0)
    >>> truth.linkage[:, 2], truth.has_hierarchy
    (array([8., 8., 8.]), False)

    Products whose factors have no class means:

    >>> X, y, truth = make_class_tree(n_classes=4, warp="product", n_noise=0, random_state=0)
    >>> X.shape, truth.latent.shape, truth.means.any()
    ((1000, 12), (1000, 6), np.False_)
    """
    if n_samples < n_classes:
        raise ValueError(
            f"n_samples={n_samples} must be at least n_classes={n_classes}, so that every class "
            "occurs."
        )
    rng = check_random_state(random_state)
    branches = list(_branches(rng.permutation(n_classes), tree))
    group = np.repeat(np.arange(len(branches)), n_features_per_branch)
    group = np.concatenate([group, np.full(n_noise, -1)])
    planted = group >= 0
    width = np.where(planted & (warp is not None), 2, 1)
    order = rng.permutation(width.sum())
    means = _means(branches, separation, decay, n_classes) / np.sqrt(n_features_per_branch)
    means = np.where(planted, means[:, group], 0.0)
    y = balanced_labels(n_samples, n_classes, rng)
    if warp is None:
        means = contiguous_columns([means], order)
        latent, X = None, means[y] + rng.normal(size=(n_samples, len(group)))
    else:
        z = means[y] + rng.normal(size=(n_samples, len(group)))
        latent, means = z[:, planted], np.zeros((n_classes, len(order)))
        X = contiguous_columns([_hidden(latent, warp, rng), z[:, ~planted]], order)
    group = np.repeat(group, width)
    level = np.array([*(branch.level for branch in branches), -1])[group]
    truth = Truth(
        latent=latent,
        inputs=(level >= 0)[order],
        roles=np.select([level < 0, level == 0], ["noise", "core"], "refinement")[order],
        groups=group[order],
        levels=level[order],
        means=means,
        linkage=_linkage(branches, separation, decay, n_classes),
    )
    return X, y, truth


def _hidden(z: NDArray, warp: str, rng: np.random.RandomState) -> NDArray[np.float64]:
    """Two columns for each of z, in turn, with random signs and z as their product."""
    sign = rng.choice([-1.0, 1.0], size=z.shape)
    r = np.exp(0.25 * rng.normal(size=z.shape)) if warp == "product" else np.ones_like(z)
    return np.stack([sign * r, sign * z / r], axis=2).reshape(len(z), -1)


def _branches(classes: NDArray[np.int64], tree: Shape, level: int = 0) -> Iterator[_Branch]:
    """Yield all edges below a node."""
    if len(classes) == 1:
        return
    cut = {"balanced": [len(classes) // 2], "unbalanced": [1], "star": range(1, len(classes))}
    for below in np.split(classes, cut[tree]):
        yield _Branch(below, level, len(below) == 1)
        yield from _branches(below, tree, level + 1)


def _means(
    branches: list[_Branch], separation: float, decay: float, n_classes: int
) -> NDArray[np.float64]:
    """Class means with one axis a branch, shape (n_classes, n_branches)."""
    means = np.zeros((n_classes, len(branches)))
    for axis, (classes, level, is_leaf) in enumerate(branches):
        above, below = separation * decay**level, separation * decay ** (level + 1)
        means[classes, axis] = np.sqrt((above**2 - (0 if is_leaf else below**2)) / 2)
    return means


def _linkage(
    branches: list[_Branch], separation: float, decay: float, n_classes: int
) -> NDArray[np.float64]:
    """Dendrogram of the tree: two classes meet at the level at which they part."""
    level = np.zeros((n_classes, n_classes), dtype=int)
    for branch in branches:
        if not branch.is_leaf:
            level[np.ix_(branch.classes, branch.classes)] = branch.level + 1
    distances = separation * decay**level
    np.fill_diagonal(distances, 0)
    # single linkage of ultrametric distances is their own tree
    return np.asarray(hierarchy.linkage(squareform(distances), method="single"))
