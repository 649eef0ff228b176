"""Means and second moments of columns, added up batch by batch."""

import torch
from torch import Tensor


class RunningMoments:
    r"""Means and sums of squared deviations of columns, merged over batches (Chan et al., 1979).

    Neither a large mean nor the size of batches matters. For a batch of m rows with mean
    :math:`\bar x_m`, after n rows with mean :math:`\bar x_n`,

    .. math::
        \sum_{i \le n + m} (x_i - \bar x)^2 = \sum_{i \le n} (x_i - \bar x_n)^2
        + \sum_{n < i \le n + m} (x_i - \bar x_m)^2 + \frac{n m}{n + m} (\bar x_m - \bar x_n)^2

    and likewise for the products of two sets of columns.

    Attributes
    ----------
    n : int
        Rows so far.
    mean, squares : Tensor of shape (k,)
        Means, and sums of squared deviations from them.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.moments import RunningMoments
    >>> moments = RunningMoments()
    >>> for batch in ([1.0, 2.0], [6.0]):
    ...     deviations = moments.add(torch.tensor(batch)[:, None])
    >>> moments.mean.item(), round(moments.squares.item(), 4)
    (3.0, 14.0)
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean = self.squares = torch.zeros(())

    def add(self, rows: Tensor) -> Tensor:
        r"""Add a batch of rows (m, k).

        Returns
        -------
        Tensor of shape (m + 1, k)
            The deviations :math:`x_i - \bar x_m`, and :math:`\sqrt{n m / (n + m)} (\bar x_m - \bar
            x_n)`: what this batch adds to the sum of squares or products is theirs.
        """
        mean = rows.mean(0)
        deviations = rows - mean
        between = self.merge(len(rows), mean, deviations.square().sum(0))
        return torch.cat([deviations, between[None]])

    def merge(self, m: int, mean: Tensor, squares: Tensor) -> Tensor:
        r"""Add m rows by their mean (k,) and their sums of squared deviations from it (k,).

        Returns
        -------
        Tensor of shape (k,)
            :math:`\sqrt{n m / (n + m)} (\bar x_m - \bar x_n)`.
        """
        apart = mean - self.mean.to(mean)
        between = (self.n * m / (self.n + m)) ** 0.5 * apart
        self.mean = self.mean.to(mean) + apart * (m / (self.n + m))
        self.squares = self.squares.to(mean) + squares + between.square()
        self.n += m
        return between
