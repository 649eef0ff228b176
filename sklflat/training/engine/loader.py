"""Mini-batches of data that are in memory, in the order that scikit-learn would use."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.dataset import Dataset, get_len
from torch import Tensor

#: a tensor, or several under names, as inputs with sample weights beside them
Tensors = Tensor | dict[str, Tensor]


@dataclass
class EpochSum:
    """What an epoch, or the part of it that is done, came to; the stack's ``loss`` is the mean."""

    loss: float = 0.0
    n_samples: int = 0
    n_batches: int = 0
    n_skipped: int = 0


class SampleOrder:
    """The order of samples in each epoch, drawn as ``MLPClassifier`` draws it."""

    def __init__(self, n_samples: int, random_state: np.random.RandomState) -> None:
        self.indices = np.arange(n_samples)
        self.random_state = random_state

    def next(self) -> NDArray:
        """Indices (n_samples,) of the next epoch."""
        # what sklearn.utils.shuffle does, without its search for the kind of container
        self.indices = self.indices[self.random_state.permutation(len(self.indices))]
        return self.indices


class TensorLoader:
    """Iterates over slices of tensors; stands in for a ``DataLoader``.

    The data set holds tensors, arrays or dictionaries of them in ``X`` and ``y``, which are moved
    to the device once. Without an ``order`` the samples stay in theirs. A last batch of fewer
    samples than ``least`` is part of the batch before. Inputs that are integers stay so, and are
    cast batch by batch to the dtype ``cast``, if there is one.

    Attributes
    ----------
    done : EpochSum or None
        What is done of an epoch that was begun before, whose rest the next pass is.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        order: SampleOrder | None = None,
        device: str = "cpu",
        least: int = 1,
        cast: torch.dtype | None = None,
    ) -> None:
        self.dataset = dataset
        self.least = least
        self.cast = cast
        self.batch_size = batch_size
        self.order = order
        self.device = device
        self.done: EpochSum | None = None
        self.data = [
            _map(lambda t: torch.as_tensor(t, device=device), d) for d in (dataset.X, dataset.y)
        ]

    def __len__(self) -> int:
        return len(self.sizes(len(self.dataset)))

    def sizes(self, n_samples: int) -> list[int]:
        """Numbers of samples in the batches of the last ``n_samples`` of an epoch."""
        n_full, rest = divmod(n_samples, self.batch_size)
        sizes = [self.batch_size] * n_full + [rest] * bool(rest)
        if len(sizes) > 1 and sizes[-1] < self.least:
            rest = sizes.pop()
            sizes[-1] += rest
        return sizes

    def row_format(self) -> Hashable:
        """Names, shapes and types of what a row is made of; batches of equal ones can be joined."""
        formats = [_map(lambda t: (tuple(t.shape[1:]), t.dtype), d) for d in self.data]
        own = [list(f.items()) if isinstance(f, dict) else f for f in formats]
        return repr((own, self.cast))

    def as_inputs(self, x: Tensor) -> Tensor:
        """Inputs as the network reads them."""
        return x if self.cast is None or x.is_floating_point() else x.to(self.cast)

    def share(self, one_of: Callable[[Tensor], Tensor]) -> None:
        """Take tensors from ``one_of(tensor)``, which may know the same values already."""
        self.data = [_map(one_of, d) for d in self.data]
        self.dataset.X, self.dataset.y = self.data

    def first(self, size: int | None = None) -> list[Tensors]:
        """A batch of the first rows, whatever the order."""
        return self._taken(itemgetter(slice(size or self.batch_size)))

    def branch(self, random_state: np.random.RandomState, seed: int) -> None:
        """Take the rows from here on in an order of their own, of a seed.

        What is left of the epoch under way are the rows that it has not seen yet.
        """
        if self.order is None:
            raise ValueError("shuffle=False leaves no order of the rows that could be another.")
        random_state.seed(seed)
        if self.done is not None:
            rest = self.order.indices[self.done.n_samples :]
            self.order.indices[self.done.n_samples :] = rest[random_state.permutation(len(rest))]

    def begin_epoch(self) -> tuple[NDArray | None, EpochSum]:
        """Rows of the next pass (None: all, as they stand), and what is done of its epoch."""
        done, self.done = self.done, None
        if done is None:
            return None if self.order is None else self.order.next(), EpochSum()
        rows = np.arange(len(self.dataset)) if self.order is None else self.order.indices
        return rows[done.n_samples :], replace(done)

    def __iter__(self) -> Iterator[list[Tensors]]:
        return self.batches(self.begin_epoch()[0])

    def batches(self, rows: NDArray | None) -> Iterator[list[Tensors]]:
        """Batches of rows (None: of all, as they stand)."""
        if rows is None:
            stops = list(accumulate(self.sizes(len(self.dataset)), initial=0))
            for start, stop in pairwise(stops):
                yield self._taken(itemgetter(slice(start, stop)))
            return
        for index in torch.as_tensor(rows, device=self.device).split(self.sizes(len(rows))):
            yield self._taken(partial(torch.index_select, dim=0, index=index))

    def _taken(self, take: Callable[[Tensor], Tensor]) -> list[Tensors]:
        X, y = self.data
        return [_map(lambda t: self.as_inputs(take(t)), X), _map(take, y)]


def _map(function: Callable[[Tensor], Any], data: Tensors) -> Any:
    if isinstance(data, dict):
        return {key: function(value) for key, value in data.items()}
    return function(data)


def n_rows(X: Any) -> int:
    """Rows of a batch; skorch looks into every kind of container, which takes its time."""
    return len(X) if isinstance(X, Tensor) else get_len(X)
