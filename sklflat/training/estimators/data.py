"""Training data as a net consumes them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import sparray, spmatrix
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sklflat.training.engine.net import INPUT, WEIGHT

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


def check_container(X: Any) -> None:
    """Raise a TypeError that says what to pass in place of a loader or a dictionary."""
    if isinstance(X, DataLoader):
        raise TypeError(
            "X is a DataLoader. Batches are made here: pass the data set that it loads, "
            "X.dataset, or arrays of inputs and targets."
        )
    if isinstance(X, Mapping):
        raise TypeError(
            f"X is a {type(X).__name__} with {sorted(map(str, X))}. Networks are given one array "
            "of inputs: join the parts along an axis, and let the module's forward split them."
        )


def as_input(X: ArrayLike | Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of the given dtype; integers, which may be token ids, stay int64."""
    check_container(X)
    if isinstance(X, Tensor):
        return X.to(dtype) if X.is_floating_point() else X
    X = torch.as_tensor(np.array(X, order="C"))  # a copy: a network may work in place
    return X.to(dtype) if X.is_floating_point() else X


def weighted(X: Tensor, weight: NDArray | None) -> Tensor | dict[str, Tensor]:
    """X, or X with sample weights of shape (n_samples,) travelling beside it."""
    if weight is None:
        return X
    dtype = X.dtype if X.is_floating_point() else torch.float32
    return {INPUT: X, WEIGHT: torch.as_tensor(weight).to(dtype)}


def labels_of(dataset: Dataset) -> NDArray:
    """The targets of a torch data set, read once."""
    return np.asarray([np.asarray(dataset[i][1]) for i in range(len(dataset))])  # type: ignore


class EncodedDataset(Dataset):
    """A torch data set with its targets replaced by y and its inputs cast by ``prepare``."""

    def __init__(self, dataset: Dataset, y: Tensor, prepare: Callable[[Any], Tensor]) -> None:
        self.dataset = dataset
        self.y = y
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.prepare(self.dataset[i][0]), self.y[i]


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
