"""Token ids that an embedding does not have, in words that say which and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import Any

import torch
from torch import Tensor, nn

_LAYERS = (nn.Embedding, nn.EmbeddingBag)


@contextmanager
def token_ids_named(owner: Any, X: Any = None) -> Iterator[None]:
    """Within, an id that is out of range raises a ValueError that names it.

    Parameters
    ----------
    owner : torch.nn.Module, skorch.NeuralNet or callable
        Whose embeddings look ids up.
    X : Tensor or array, default=None
        All ids, where the module's own code is not seen to run, as a recording is replayed.

    Raises
    ------
    ValueError
        If an id is negative, or the embedding has no entry for it.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.token_ids import token_ids_named
    >>> table = torch.nn.Embedding(9, 2)
    >>> with token_ids_named(table):
    ...     _ = table(torch.tensor([3, 17]))
    Traceback (most recent call last):
        ...
    ValueError: Token ids are from 3 to 17, but Embedding(9, 2) has 9 entries, for ids from ...
    """
    try:
        yield
    except IndexError as error:
        if "index out of range" not in str(error):
            raise
        said = _what_was_looked_up(error) or _what_there_is(owner, X)
        if said is None:
            raise
        raise ValueError(
            f"{said}. Give the embedding as many entries as there are ids, or map unknown ids to "
            "one that it has."
        ) from error


def _what_was_looked_up(error: IndexError) -> str | None:
    """Of the embedding that was running."""
    for frame, _ in walk_tb(error.__traceback__):
        layer, ids = frame.f_locals.get("self"), frame.f_locals.get("input")
        if isinstance(layer, _LAYERS) and isinstance(ids, Tensor):
            n = layer.num_embeddings
            return (
                f"Token ids are from {int(ids.min())} to {int(ids.max())}, but {layer} has {n} "
                f"entries, for ids from 0 to {n - 1}"
            )
    return None


def _what_there_is(owner: Any, X: Any) -> str | None:
    """Of all embeddings of a network, as it is not known which of them failed."""
    module = getattr(owner, "module_", owner)
    if X is None or not isinstance(module, nn.Module):
        return None
    sizes = [str(part) for part in module.modules() if isinstance(part, _LAYERS)]
    try:
        ids = torch.as_tensor(X)
    except (TypeError, ValueError, RuntimeError):  # several inputs by name
        return None
    if not sizes or not ids.numel():
        return None
    return (
        f"Token ids are from {int(ids.min())} to {int(ids.max())}, but an embedding has no entry "
        f"for one of them: there is {', '.join(sizes)}"
    )
