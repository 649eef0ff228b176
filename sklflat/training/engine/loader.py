"""Mini-batches of data that are in memory, in the order that scikit-learn would use."""

from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import gen_batches
from skorch.dataset import Dataset
from torch import Tensor

#: a tensor, or several under names, as inputs with sample weights beside them
Tensors = Tensor | dict[str, Tensor]


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
    to the device once. Without an ``order`` the samples stay in theirs.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        order: SampleOrder | None = None,
        device: str = "cpu",
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.order = order
        self.device = device
        self.data = [
            _map(lambda t: torch.as_tensor(t, device=device), d) for d in (dataset.X, dataset.y)
        ]

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def share(self, one_of: Callable[[Tensor], Tensor]) -> None:
        """Take tensors from ``one_of(tensor)``, which may know the same values already."""
        self.data = [_map(one_of, d) for d in self.data]
        self.dataset.X, self.dataset.y = self.data

    def first(self, size: int | None = None) -> list[Tensors]:
        """A batch of the first rows, whatever the order."""
        return [_map(itemgetter(slice(size or self.batch_size)), d) for d in self.data]

    def __iter__(self) -> Iterator[list[Tensors]]:
        if self.order is None:
            for batch in gen_batches(len(self.dataset), self.batch_size):
                yield [_map(itemgetter(batch), d) for d in self.data]
            return
        for rows in torch.as_tensor(self.order.next(), device=self.device).split(self.batch_size):
            yield [_map(partial(torch.index_select, dim=0, index=rows), d) for d in self.data]


def _map(function: Callable[[Tensor], Tensor], data: Tensors) -> Tensors:
    if isinstance(data, dict):
        return {key: function(value) for key, value in data.items()}
    return function(data)
