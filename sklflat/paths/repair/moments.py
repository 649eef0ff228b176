"""Means and standard deviations of a layer's channels, and what leads from one to another."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklflat.paths.repair.rescaling import channel_shape

#: mean and standard deviation of every channel
Moments = tuple[Tensor, Tensor]

#: units of rounding up to which a standard deviation is nothing but rounding
_ROUNDING = 1e3


class Streamed:
    """Moments of a layer's channels over rows and positions, batch by batch (Chan et al., 1979).

    Examples
    --------
    >>> import torch
    >>> from sklflat.paths.repair.moments import Streamed
    >>> streamed, layer = Streamed(), torch.nn.Linear(1, 1)
    >>> for batch in ([1.0, 2.0], [6.0]):
    ...     streamed.add(layer, torch.tensor(batch)[:, None])
    >>> mean, deviation = streamed.moments()
    >>> mean.item(), round(deviation.item() ** 2, 4)
    (3.0, 4.6667)
    """

    def __init__(self) -> None:
        self.n_batches = self._n = 0
        self._mean = self._squares = torch.zeros(())

    def add(self, layer: nn.Module, out: Tensor) -> None:
        """Outputs (n, ...) of a layer, another batch."""
        axis = out.ndim - len(channel_shape(layer))
        rows = out.movedim(axis, -1).flatten(0, -2)
        mean, n = rows.mean(0), self._n + len(rows)
        apart = mean - self._mean.to(mean)
        within = (rows - mean).square().sum(0)
        self._squares = self._squares.to(mean) + within + apart**2 * (self._n * len(rows) / n)
        self._mean = self._mean.to(mean) + apart * (len(rows) / n)
        self._n = n
        self.n_batches += 1

    def moments(self) -> Moments:
        """Of all batches so far."""
        return self._mean, (self._squares / self._n).sqrt()


def mixed(parts: list[tuple[float, Moments]]) -> Moments:
    """Moments mixed by coefficients, deviations by their absolute values."""
    return (
        torch.stack([c * mean for c, (mean, _) in parts]).sum(0),
        torch.stack([abs(c) * deviation for c, (_, deviation) in parts]).sum(0),
    )


def correction(found: Moments, wanted: Moments) -> tuple[Tensor, Tensor]:
    """Scale and shift from moments to others; none of a channel that is constant.

    Where the ends of a path cancel, what is left is their rounding, whose deviation is no more than
    some units of it. Scaled up to what is wanted it would be noise that looks like a unit.

    Examples
    --------
    >>> import torch
    >>> from sklflat.paths.repair.moments import correction
    >>> found = torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1e-7])
    >>> correction(found, (torch.tensor([0.0, 0.0]), torch.tensor([3.0, 3.0])))
    (tensor([1.5000, 1.0000]), tensor([-1.5000,  0.0000]))
    """
    mean, deviation = found
    unit = torch.finfo(deviation.dtype).eps * (mean.abs() + wanted[1])
    lives = deviation > _ROUNDING * unit
    scale = torch.where(lives, wanted[1] / deviation, 1.0)
    return scale, torch.where(lives, wanted[0] - scale * mean, 0.0)


@contextmanager
def batch_normalised(module: nn.Module) -> Iterator[None]:
    """While it is entered, batch normalisation uses each batch's statistics and keeps its own."""
    norms = [n for n in module.modules() if isinstance(n, _BatchNorm) and n.track_running_stats]
    flags = [norm.training for norm in norms]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm, flag in zip(norms, flags, strict=True):
            norm.training, norm.track_running_stats = flag, True
