"""Training data as a net consumes them."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import sparray, spmatrix
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from torch import Tensor
from torch.utils.data import Dataset

from sklflat.training.engine.net import INPUT, WEIGHT
from sklflat.training.estimators.containers import check_container

#: what users pass as X
Inputs = ArrayLike | sparray | spmatrix | Dataset


class TrainingData(NamedTuple):
    """Validated data: X an array or a torch data set, y and weights (or None) with a row each."""

    X: Any
    y: NDArray
    weight: NDArray | None = None


class Checkpoint(Protocol):
    """Where an earlier training was, after an epoch or within one."""

    def restore(self, estimator: Any, loader: Any) -> None:
        """Take an estimator, whose net is new, to this place."""


def as_input(X: ArrayLike | Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of the given dtype; integers, which may be token ids, stay what they are."""
    check_container(X)
    if isinstance(X, Tensor):
        return X.to(dtype) if X.is_floating_point() else X
    X = torch.as_tensor(np.array(X, order="C"))  # a copy: a network may work in place
    return X.to(dtype) if X.is_floating_point() else X


def weighted(X: Tensor, weight: NDArray | None, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """X, or X with sample weights (n_samples,) of a dtype travelling beside it."""
    if weight is None:
        return X
    return {INPUT: X, WEIGHT: torch.as_tensor(weight).to(dtype)}


def class_weights(
    class_weight: dict | list | str, classes: NDArray | None, y: NDArray, weight: NDArray
) -> NDArray:
    """The weight (n,) of each sample's class; "balanced" counts classes by sample weight (n,).

    ``classes`` is None for multilabel y (n, n_labels).

    Raises
    ------
    ValueError
        If a weight is negative or not finite.
    """
    if isinstance(class_weight, Mapping):
        bad = {c: w for c, w in class_weight.items() if not (np.isfinite(w) and w >= 0)}
        if bad:
            raise ValueError(
                f"class_weight={bad} has weights that are negative or not finite. A weight of 0 "
                "leaves a class out."
            )
    if classes is None:
        return compute_sample_weight(class_weight, y)
    indices = np.searchsorted(classes, y)
    if class_weight != "balanced":
        return compute_class_weight(class_weight, classes=classes, y=classes)[indices]
    totals = np.bincount(indices, weights=weight, minlength=len(classes))
    present = np.where(totals > 0, totals, 1.0)
    return (weight.sum() / (len(classes) * present))[indices]
