"""Rows that a network is trained on, and rows that its units are scored on."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from sklflat._compat import check_method_params, check_sample_weight, num_samples, safe_indexing
from sklflat.exceptions import DependentRowsWarning, warn
from sklflat.training.estimators.base import PerturbedEstimator
from sklflat.training.estimators.containers import own_copy

#: random choices of groups to hold out, of which the best is taken
_N_CHOICES = 100
#: share of the rows scored that may be trained on, and of rows that are different from all others
#: where they are equal by more than chance
_REPEATED, _DISTINCT = 0.2, 0.1
#: rows that tell whether data are whole numbers
_N_LOOKED_AT = 1000


@dataclass(frozen=True)
class Rows:
    """Data, and the parameters of ``fit`` that may have one entry a row.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
    y : ndarray of shape (n_samples, ...)
    params : dict
    numbers : ndarray of shape (n_samples,), int, or None
        Which rows these are of the data they were taken from; None for all of them.
    """

    X: Any
    y: NDArray
    params: dict[str, Any]
    numbers: NDArray | None = None

    def __len__(self) -> int:
        return num_samples(self.X)

    @property
    def weight(self) -> Tensor | None:
        """The sample weights among the parameters, wherever in a pipeline they go."""
        names = [name for name in self.params if name.split("__")[-1] == "sample_weight"]
        if not names or self.params[names[0]] is None:
            return None
        weight = check_sample_weight(self.params[names[0]], self.y, ensure_non_negative=True)
        return torch.as_tensor(weight)

    @property
    def groups(self) -> NDArray | None:
        """The parameter ``groups`` (n_samples,): rows of one depend on each other.

        Raises
        ------
        ValueError
            If there is not one label of one kind for every row.
        """
        groups = self.params.get("groups")
        if groups is None:
            return None
        check_groups(groups, len(self))
        return np.asarray(groups)

    def train(self, estimator: Any) -> Any:
        """Fit an estimator on the rows; others than our own might change them."""
        ours = isinstance(estimator, PerturbedEstimator)
        X, y = (self.X, self.y) if ours else (own_copy(self.X), own_copy(self.y))
        return estimator.fit(X, y, **self.params)

    def without_groups(self) -> "Rows":
        """The rows without the parameter ``groups``, which no network's ``fit`` takes."""
        params = {name: value for name, value in self.params.items() if name != "groups"}
        return Rows(self.X, self.y, params, self.numbers)

    def take(self, indices: NDArray) -> "Rows":
        """Some of the rows."""
        params = check_method_params(self.X, self.params, indices=indices)
        numbers = indices if self.numbers is None else self.numbers[indices]
        return Rows(safe_indexing(self.X, indices), self.y[indices], params, numbers)

    def with_weight(self) -> "Rows":
        """The rows of positive weight; one of weight 0 counts as absent, whatever it holds.

        Raises
        ------
        ValueError
            If these are fewer than two.
        """
        weight = self.weight
        kept = np.arange(len(self)) if weight is None else np.flatnonzero(weight.numpy() > 0)
        if weight is not None and len(kept) < 2:
            raise ValueError(
                f"{len(kept)} of {len(self)} rows with a positive sample_weight are left to score "
                "units on: give more."
            )
        return self if len(kept) == len(self) else self.take(kept)

    def at_most(self, n: int, rng: np.random.RandomState) -> "Rows":
        """All of the rows, or so many of them at random, in their order."""
        if len(self) <= n:
            return self
        return self.take(np.sort(rng.choice(len(self), n, replace=False)))


def split_rows(
    rows: Rows,
    holdout: Any,
    by_class: bool,
    rng: np.random.RandomState,
    *,
    together: bool = True,
) -> tuple[Rows, Rows]:
    """Rows to train on and rows to score on; of every class about the same share, never all.

    ``holdout`` is the share to score on (None: train and score on all rows; a cross-validator: its
    last split), ``by_class`` whether y holds class labels. Where rows have groups, whole groups are
    held out, unless they need not be ``together``. Fewer than two rows to score on are refused.

    Warns
    -----
    DependentRowsWarning
        If many rows are on both sides.
    """
    if holdout is None:
        return rows, rows
    if hasattr(holdout, "split"):
        return _last_split(rows, holdout)
    strata = np.zeros(len(rows), dtype=int)
    if by_class and rows.y.ndim == 1:
        strata = np.unique(rows.y, return_inverse=True)[1]
    groups = rows.groups if together else None
    if groups is None:
        held_out = _of_every_class(strata, holdout, rng)
    else:
        held_out = _whole_groups(groups, strata, holdout, rng)
    if held_out.sum() < 2:
        raise ValueError(
            f"holdout={holdout} leaves {held_out.sum()} of n_samples={len(rows)} rows to score "
            "units on. Give more samples, a greater holdout, or holdout=None to score on the "
            "training rows."
        )
    fitted, scored = rows.take(np.flatnonzero(~held_out)), rows.take(np.flatnonzero(held_out))
    if rows.groups is None:
        _warn_of_repeats(fitted, scored)
    return fitted, scored


def _last_split(rows: Rows, splitter: Any) -> tuple[Rows, Rows]:
    """The last split of a cross-validator, as the longest history is that of the last."""
    groups = rows.groups
    parts = list(splitter.split(rows.X, rows.y, groups))
    train, test = (np.asarray(part) for part in parts[-1]) if parts else (np.zeros(0),) * 2
    if len(train) < 1 or len(test) < 2:
        raise ValueError(
            f"The last split of holdout={splitter!r} has {len(train)} rows to train on and "
            f"{len(test)} to score units on, of {len(rows)}. Give more rows, or another splitter."
        )
    if len(np.intersect1d(train, test)):
        raise ValueError(
            f"The last split of holdout={splitter!r} scores units on rows that it trains on."
        )
    fitted, scored = rows.take(train), rows.take(test)
    if groups is None:
        _warn_of_repeats(fitted, scored)
    return fitted, scored


def _of_every_class(strata: NDArray, holdout: float, rng: np.random.RandomState) -> NDArray:
    """Mask (n,) of rows at random, of every stratum the same share but for rounding."""
    held_out = np.zeros(len(strata), dtype=bool)
    carried = 0.0  # what rounding withheld from the strata before
    for stratum in range(strata.max(initial=0) + 1):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        share = holdout * len(members) + carried
        n_held_out = min(max(round(share), 0), len(members) - 1)
        carried = share - n_held_out
        held_out[members[:n_held_out]] = True
    return held_out


def _whole_groups(
    groups: NDArray, strata: NDArray, holdout: float, rng: np.random.RandomState
) -> NDArray:
    """Mask (n,) of the rows of some groups: of many choices the one nearest to the shares."""
    _, of_group = np.unique(groups, return_inverse=True)
    n_groups = of_group.max() + 1
    if n_groups < 2:
        raise ValueError(
            f"groups has one group, {groups.tolist()[0]!r}, so its rows cannot be both trained on "
            "and held out. Give at least two groups, or holdout=None."
        )
    counts = np.zeros((n_groups, strata.max() + 1))
    np.add.at(counts, (of_group, strata), 1)
    total = counts.sum(axis=0)
    best, chosen = np.inf, np.zeros(0, dtype=int)
    for _ in range(_N_CHOICES):
        order = rng.permutation(n_groups)[:-1]  # one is left to train on
        sums = np.cumsum(counts[order], axis=0)
        off = np.abs(sums / total - holdout).max(axis=1)
        off[(sums >= total).any(axis=1)] += 1  # a class that is not trained on
        k = int(off.argmin())
        if off[k] < best:
            best, chosen = off[k], order[: k + 1]
    return np.isin(of_group, chosen)


def _warn_of_repeats(fitted: Rows, scored: Rows) -> None:
    """Warn where many rows that are scored on were trained on, and rows are not few anyway."""
    known, asked = _keys(fitted), _keys(scored)
    if known is None or asked is None:
        return
    share = np.mean([key in known for key in asked])
    few = len(known) < _DISTINCT * len(fitted)  # of discrete columns, rows are equal by chance
    if share > _REPEATED and not few:
        warn(
            f"{share:.0%} of the rows that units are scored on were also trained on: rows repeat. "
            "P-values are then too small. Give groups= (one label a row, the same for rows that "
            "belong together), or remove the repeats.",
            DependentRowsWarning,
        )


def _keys(rows: Rows) -> Counter[int] | None:
    """How often each row is there, target included, by its hash; None where it cannot be said.

    Rows of whole numbers are equal by chance, and others than arrays are not looked into.
    """
    X = np.asarray(rows.X)
    some = X[:_N_LOOKED_AT] if X.ndim > 1 else X
    if X.ndim < 2 or X.dtype.kind != "f" or (some == np.floor(some)).all():
        return None
    return Counter(hash((x.tobytes(), repr(y))) for x, y in zip(X, rows.y, strict=True))


def check_groups(groups: Any, n_samples: int) -> None:
    """Raise a ValueError unless each row has a group, and groups can be told apart."""
    groups = np.asarray(groups)
    if groups.shape != (n_samples,):
        raise ValueError(f"groups must be of shape ({n_samples},), one a row, got {groups.shape}.")
    if any(g is None or g != g for g in groups.tolist()):
        raise ValueError("groups has missing values (None or NaN). Give these rows a group.")
    try:
        np.unique(groups)
    except TypeError as error:
        raise ValueError(f"groups must be labels of one kind: {error}.") from error


def with_column_as_vector(rows: Rows) -> Rows:
    """The same rows, a target of one column taken as a vector, with scikit-learn's warning."""
    if rows.y.shape[1:] != (1,):
        return rows
    return replace(rows, y=column_or_1d(rows.y, warn=True))


def check_classes(rows: Rows, name: str) -> None:
    """Refuse real targets, and a single class; a row without weight is not there.

    ``name`` is that of the class that needs them.
    """
    check_classification_targets(rows.y)
    shown = slice(None) if rows.weight is None else rows.weight.numpy() > 0
    if rows.y.ndim == 1 and len(np.unique(rows.y[shown])) < 2:
        raise ValueError(
            f"{name} needs samples of at least 2 classes, but y contains only one class "
            "(where sample_weight is positive)."
        )


def check_only_weights(params: dict[str, Any]) -> None:
    """Refuse parameters of ``fit`` that a frozen network has no use for."""
    others = [name for name in params if name.split("__")[-1] not in ("sample_weight", "groups")]
    if others:
        raise TypeError(
            f"fit() got {others}, but the network is frozen: of the parameters of fit, only "
            "sample_weight and groups are used."
        )
