"""Rows that a network is trained on, and rows that its units are scored on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from sklflat._compat import check_method_params, check_sample_weight, num_samples, safe_indexing


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

    def take(self, indices: NDArray) -> "Rows":
        """Some of the rows."""
        params = check_method_params(self.X, self.params, indices=indices)
        numbers = indices if self.numbers is None else self.numbers[indices]
        return Rows(safe_indexing(self.X, indices), self.y[indices], params, numbers)


def split_rows(
    rows: Rows, holdout: float | None, by_class: bool, rng: np.random.RandomState
) -> tuple[Rows, Rows]:
    """Rows to train on and rows to score on; of every class about the same share, never all.

    ``holdout`` is the share to score on (None: train and score on all rows), ``by_class`` whether
    y holds class labels. Fewer than two rows to score on are refused.
    """
    if holdout is None:
        return rows, rows
    n = len(rows)
    groups = np.zeros(n, dtype=int)
    if by_class and rows.y.ndim == 1:
        groups = np.unique(rows.y, return_inverse=True)[1]
    held_out = np.zeros(n, dtype=bool)
    carried = 0.0  # what rounding withheld from the groups before
    for group in range(groups.max(initial=0) + 1):
        members = rng.permutation(np.flatnonzero(groups == group))
        share = holdout * len(members) + carried
        n_held_out = min(max(round(share), 0), len(members) - 1)
        carried = share - n_held_out
        held_out[members[:n_held_out]] = True
    if held_out.sum() < 2:
        raise ValueError(
            f"holdout={holdout} leaves {held_out.sum()} of n_samples={n} rows to score units on. "
            "Give more samples, a greater holdout, or holdout=None to score on the training rows."
        )
    return rows.take(np.flatnonzero(~held_out)), rows.take(np.flatnonzero(held_out))


def with_column_as_vector(rows: Rows) -> Rows:
    """The same rows, a target of one column taken as a vector, with scikit-learn's warning."""
    if rows.y.shape[1:] != (1,):
        return rows
    return Rows(rows.X, column_or_1d(rows.y, warn=True), rows.params, rows.numbers)


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
