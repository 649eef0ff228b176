"""The containers in which users pass inputs and targets."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from skorch.helper import SliceDataset, SliceDict
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from sklflat.networks import Parts
from sklflat.networks.parts import as_array

#: types of integers that PyTorch computes with; others become the first
INTEGERS = (np.int64, np.int32, np.int16, np.int8, np.uint8)


def is_several(X: Any) -> bool:
    """Whether X is several inputs by name; SciPy's sparse dictionary of keys is one table."""
    return isinstance(X, Mapping) and not issparse(X)


def check_container(X: Any) -> None:
    """Raise a TypeError that says what to pass in place of what rows cannot be taken from."""
    if isinstance(X, DataLoader):
        raise TypeError(
            "X is a DataLoader. Batches are made here: pass the data set that it loads, "
            "X.dataset, or arrays of inputs and targets."
        )
    if isinstance(X, IterableDataset):
        raise TypeError(
            "X is an IterableDataset, whose rows have no numbers, so they cannot be shuffled or "
            "held out. Pass its items as a list or as arrays, or a data set with __getitem__ and "
            "__len__."
        )
    if is_several(X):
        raise TypeError(
            f"X is a {type(X).__name__} with {sorted(map(str, X))}. The default network takes one "
            "table; several inputs by name go to the forward of a module that is passed as net=."
        )
    if isinstance(X, (tuple, list)) and len({np.shape(x) for x in X if np.ndim(x) > 1}) > (
        isinstance(X, list)
    ):
        raise TypeError(
            f"X is a {type(X).__name__} of {len(X)} arrays. Pass several inputs as a "
            "dictionary of arrays by the names of forward's arguments, or join them to one array."
        )


def own_copy(X: Any) -> Any:
    """Rows, or targets, that may be worked on in place, as a transformer with copy=False does."""
    if X is None or isinstance(X, Dataset):
        return X
    return X.detach().clone() if isinstance(X, Tensor) else copy.deepcopy(X)


def plain(X: Any) -> Any:
    """X as arrays are validated: tensors and slices of data sets as arrays, all else as it is.

    Raises
    ------
    TypeError
        If rows cannot be taken from it; says what to pass.
    """
    check_container(X)
    if isinstance(X, SliceDataset):
        return np.stack([as_array(x) for x in X])
    if isinstance(X, Tensor) or (
        isinstance(X, (list, tuple)) and any(isinstance(x, Tensor) for x in X)
    ):
        return as_array(X if isinstance(X, Tensor) else torch.stack(list(X)))
    return X


def holds_integers(X: Any) -> bool:
    """Whether the values of an array, a list or a table are integers, such as token ids."""
    own = getattr(X, "dtype", None)
    if own is None or not isinstance(own, np.dtype) or own.kind == "O":
        X = np.asarray(X)
        try:  # integers in a column of categories, or beside missing values, are objects
            own = np.asarray(X.tolist()).dtype if X.dtype == object else X.dtype
        except ValueError:  # rows of different lengths
            return False
    return own.kind in "iu"


def targets_of(dataset: Dataset, y: Any = None) -> NDArray:
    """The targets (n,) or (n, k) of a torch data set, read once, or y where that is given.

    Raises
    ------
    ValueError
        If there are none, or not one for each item.
    """
    n = _n_items(dataset)
    if not n:
        raise ValueError("Found a Dataset of 0 sample(s) while a minimum of 1 is required.")
    if y is not None:
        y = np.asarray(plain(y))
        if len(y) != n:
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: X has {n}, y has "
                f"{len(y)}."
            )
        return y
    item = dataset[0]
    if not (_is_pair(item) and len(item) > 1):
        raise ValueError(
            "X is a Dataset that yields inputs without targets: pass y, or a Dataset of "
            "(input, target)."
        )
    return np.asarray([as_array(dataset[i][1]) for i in range(n)])


def as_arrays(X: Any, y: Any = None) -> tuple[Any, Any]:
    """X and y as rows can be taken from them: a torch data set is read whole."""
    if issparse(X) and X.format == "dok":  # SciPy's dictionary of keys is one matrix
        X = X.tocsr()
    if isinstance(X, Mapping):
        return SliceDict(**{str(name): as_array(x) for name, x in X.items()}), plain(y)
    X = plain(X)
    if not isinstance(X, Dataset):
        return X, plain(y)
    y = targets_of(X, y)
    n = _n_items(X)
    items = [input_of(X[i]) for i in range(n)]
    if isinstance(items[0], Mapping):
        names = items[0]
        return SliceDict(**{k: np.stack([as_array(x[k]) for x in items]) for k in names}), y
    return np.stack([as_array(x) for x in items]), y


def joined(X: Any, parts: Parts | None = None) -> tuple[Any, Parts | None]:
    """X with several inputs by name joined to one array, and how they lie in it (None: no such).

    Parameters
    ----------
    X : object
        A dictionary of arrays, a data set of dictionaries, or anything else, which stays.
    parts : Parts, default=None
        How they lay in training.
    """
    if is_several(X):
        parts = parts or Parts.of(X)
        return parts.join(X), parts
    if isinstance(X, Dataset) and not isinstance(X, IterableDataset) and _n_items(X):
        first = input_of(X[0])
        if isinstance(first, Mapping):
            parts = parts or Parts.of(_as_row(first))
            return JoinedDataset(X, parts), parts
    return X, parts


class JoinedDataset(Dataset):
    """A data set of dictionaries, or of (dictionary, target), with one array for each."""

    def __init__(self, dataset: Dataset, parts: Parts) -> None:
        self.dataset = dataset
        self.parts = parts

    def __len__(self) -> int:
        return _n_items(self.dataset)

    def __getitem__(self, i: int) -> Any:
        item = self.dataset[i]
        x = self.parts.join(_as_row(input_of(item)))[0]
        return (x, *item[1:]) if _is_pair(item) else x


def _as_row(item: Mapping) -> dict[str, NDArray]:
    return {str(name): as_array(x)[None] for name, x in item.items()}


def _n_items(dataset: Any) -> int:
    return len(dataset)


def input_of(item: Any) -> Any:
    """The input in an item of a data set: an input, or (input, target, ...)."""
    return item[0] if _is_pair(item) else item


def first_rows(X: Any) -> NDArray:
    """One or two rows (n, ...) of an array or a data set of inputs."""
    if not isinstance(X, Dataset):
        return X[:2]
    x = input_of(X[0])
    check_container(x)
    return as_array(x)[None]


class InputDataset(Dataset):
    """The inputs of a torch data set, made tensors by ``prepare``; with targets, or without.

    Parameters
    ----------
    dataset : Dataset
        Of inputs, or of (input, target).
    prepare : callable
        Makes an input a tensor.
    y : Tensor of shape (n, ...), default=None
        In place of the data set's own targets.
    """

    def __init__(
        self, dataset: Dataset, prepare: Callable[[Any], Tensor], y: Tensor | None = None
    ) -> None:
        self.dataset = dataset
        self.prepare = prepare
        self.y = y

    def __len__(self) -> int:
        return _n_items(self.dataset)

    def __getitem__(self, i: int) -> Any:
        x = self.prepare(input_of(self.dataset[i]))
        return x if self.y is None else (x, self.y[i])


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) or (
        isinstance(item, list) and (isinstance(item[0], Mapping) or np.ndim(item[0]) > 0)
    )
