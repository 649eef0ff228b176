"""Where a tensor has its rows, its units and its positions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.tracing.flow import arange_along, shared_over


@dataclass(frozen=True, eq=False)
class Layout:
    """How to bring a tensor into the shape (rows, units, *positions), and back.

    Attributes
    ----------
    ndim : int
    n_units : int
    batch_axis : int
    merged : int
        Length of an axis that was merged with the rows' into one, as in ``x.view(n * T, -1)``;
        1 if there is none. Negative if the rows run fastest.
    unit_axis : int or None
        Among the axes without the rows'; None if units are no axis.
    order : Tensor of shape (units * positions,) or None
        Where units are no axis, the flat places of the elements of one row, unit after unit.
    """

    ndim: int
    n_units: int
    batch_axis: int
    merged: int = 1
    unit_axis: int | None = 0
    order: Tensor | None = None

    @classmethod
    def of(cls, rows: Tensor | None, units: Tensor, n_rows: int) -> "Layout | None":
        """The layout of a tensor from the labels of its elements; None if it has none.

        Parameters
        ----------
        rows : Tensor or None
            The row of each element. None takes the first axis of length `n_rows` for the rows'.
        units : Tensor
            The unit of each element.
        n_rows : int
        """
        found = _batch_axis(rows, n_rows) if rows is not None else None
        if found is None:
            axes = [axis for axis, n in enumerate(units.shape) if n == n_rows]
            if not axes:
                return None
            found = axes[0], 1
        n_units = int(units.max()) + 1
        layout = cls(units.ndim, n_units, *found)
        by_row = layout._rows_first(units)
        one = by_row[0]
        if not torch.equal(by_row, one.expand_as(by_row)):
            return None
        for axis, n in enumerate(one.shape):
            if n == n_units and torch.equal(one, arange_along(one.shape, axis)):
                return cls(units.ndim, n_units, *found, unit_axis=axis)
        counts = one.flatten().bincount(minlength=n_units)
        if one.ndim and not bool((counts == counts[0]).all()):
            return None
        order = torch.argsort(one.flatten(), stable=True)
        return cls(units.ndim, n_units, *found, unit_axis=None, order=order)

    def split(self, x: Tensor) -> Tensor:
        """A tensor in the shape (rows, units, *positions)."""
        if x.ndim != self.ndim:
            raise UnsupportedNetworkError(
                f"A layer's activations had {self.ndim} axes when its units were looked for, and "
                f"now have shape {tuple(x.shape)}."
            )
        x = self._rows_first(x)
        if self.order is None:
            assert self.unit_axis is not None
            return x.movedim(self.unit_axis + 1, 1)
        if x[0].numel() != len(self.order):
            raise UnsupportedNetworkError(
                f"A layer had {len(self.order)} activations for each row of X when its units were "
                f"looked for, and now has {x[0].numel()}."
            )
        x = (x.flatten(1) if x.ndim > 1 else x.unsqueeze(1))[:, self.order.to(x.device)]
        return x if x.shape[1] == self.n_units else x.unflatten(1, (self.n_units, -1))

    @property
    def channel_axis(self) -> int | None:
        """The axis of the units where the first is the rows'; None in other layouts."""
        if self.batch_axis or self.merged != 1 or self.order is not None:
            return None
        return None if self.unit_axis is None else self.unit_axis + 1

    def copies(self, x: Tensor, n: int) -> Tensor:
        """A tensor whose rows are there several times, one copy of all of them after the other."""
        if self.merged < 0:  # rows run fastest, so copies are no longer apart
            rows = self._rows_first(x).movedim(0, self.batch_axis + 1)
            wide = torch.cat([rows] * n, dim=self.batch_axis + 1)
            return wide.flatten(self.batch_axis, self.batch_axis + 1)
        return torch.cat([x] * n, dim=self.batch_axis)

    def join(self, a: Tensor, like: Tensor) -> Tensor:
        """The inverse of :meth:`split`, for a tensor of the shape of `like`."""
        rows_first = self._rows_first(like)
        if self.order is None:
            assert self.unit_axis is not None
            a = a.movedim(1, self.unit_axis + 1)
        else:
            inverse = torch.argsort(self.order).to(a.device)
            a = a.flatten(1)[:, inverse].reshape(rows_first.shape)
        if abs(self.merged) == 1:
            return a.movedim(0, self.batch_axis)
        back = self.batch_axis + (self.merged < 0)
        a = a.movedim(0, back)
        return a.flatten(self.batch_axis, self.batch_axis + 1)

    def _rows_first(self, x: Tensor) -> Tensor:
        if abs(self.merged) == 1:
            return x.movedim(self.batch_axis, 0)
        sizes = (-1, self.merged) if self.merged > 0 else (-self.merged, -1)
        x = x.unflatten(self.batch_axis, sizes)
        return x.movedim(self.batch_axis + (self.merged < 0), 0)


def _batch_axis(rows: Tensor, n_rows: int) -> tuple[int, int] | None:
    """The axis along which the row changes, and what is merged with it (see ``merged``)."""
    index = torch.arange(n_rows)
    for axis, n in enumerate(rows.shape):
        each, rest = divmod(n, n_rows)
        along = shared_over(rows, [a for a in range(rows.ndim) if a != axis]).flatten()
        if rest == 0 and torch.equal(along, index.repeat_interleave(each)):
            return axis, each
        if rest == 0 and torch.equal(along, index.repeat(each)):
            return axis, -each
    return None


def stored_like(out: Tensor, new: Tensor) -> Tensor:
    """A copy of a tensor, laid out in memory as another one of its shape."""
    formats = [torch.contiguous_format]
    formats += [
        f for n, f in ((4, torch.channels_last), (5, torch.channels_last_3d)) if n == out.ndim
    ]
    for memory_format in formats:
        if out.is_contiguous(memory_format=memory_format):
            return new.clone(memory_format=memory_format)
    return new.clone()
