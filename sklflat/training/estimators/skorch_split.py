"""Validation data that a skorch net brings along."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import Dataset, Subset


@contextmanager
def encoding_split(net: Any, encode: Callable[[Dataset], Dataset]) -> Iterator[None]:
    """Within, validation data of the user's own are encoded and cast as training data are.

    Parameters
    ----------
    net : skorch net
        Its ``train_split`` may return a data set that is no part of the one it was given, as
        ``skorch.helper.predefined_split`` does.
    encode : callable
        Takes such a data set to one of tensors.
    """
    split = net.train_split

    def encoded(dataset: Any, y: Any = None, **groups: Any) -> tuple[Any, Any]:
        train, valid = split(dataset, y, **groups)
        own = valid
        while isinstance(own, Subset):
            own = own.dataset
        return train, valid if own is dataset or own is None else encode(valid)

    net.train_split = split and encoded
    try:
        yield
    finally:
        net.train_split = split
