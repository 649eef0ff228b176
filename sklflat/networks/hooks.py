"""Forward hooks that end with a block."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch.utils.hooks import RemovableHandle

__all__ = ["temporary_hooks"]


@contextmanager
def temporary_hooks(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks at the end of the block, after an error, too.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.hooks import temporary_hooks
    >>> layer, seen = torch.nn.Identity(), []
    >>> hook = lambda module, inputs, out: seen.append(float(out))
    >>> with temporary_hooks([layer.register_forward_hook(hook)]):
    ...     _ = layer(torch.tensor(1.0))
    >>> _ = layer(torch.tensor(2.0))
    >>> seen
    [1.0]
    """
    given = list(handles)
    try:
        yield
    finally:
        for handle in given:
            handle.remove()
