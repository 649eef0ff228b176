"""A sample on which units are ablated one at a time, and what its rows decide."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.networks.checks import require_finite
from sklflat.probing.ablated_outputs import Ablated, Passes, ablated_outputs, outputs
from sklflat.probing.decisions import Decisions, decide
from sklflat.probing.progress import progress
from sklflat.probing.sample import Sample, by_group
from sklflat.probing.time_series import blocks

#: rounding of outputs and losses, relative to the largest, in units of the precision
_ROUNDING = 64
#: bytes of outputs that are kept; where they are more, they are computed anew for every use
_MAX_KEPT = 2**28


@dataclass(frozen=True)
class AblationSample(Sample):
    """A sample, and how much the loss of every row rises when a unit is mean-ablated.

    Parameters
    ----------
    negligible : float
        Share of the loss up to which a rise is negligible.
    verbose : int
        Whether a bar counts the units that are ablated.
    """

    negligible: float = 0.01
    verbose: int = 0

    @cached_property
    def decisions(self) -> Decisions:
        """What the rows decide about every unit."""
        x, w = self.paired_rises, self._row_weights[self._counted]
        return decide(
            x,
            margin=self.negligible * abs(self._loss),
            n_effective=min(w.sum() ** 2 / np.square(w).sum(), len(x)),
            constant=self.scoreless,
            n_rows=len(w),
            parts="blocks" if self.in_time else "groups",
        )

    @cached_property
    def scoreless(self) -> NDArray:
        """Units without which no row's loss changes by more than its rounding."""
        changed = np.abs(self._row_rises[self._counted]).max(axis=0, initial=0.0)
        return self.dead | (changed <= self._rounding)

    @cached_property
    def paired_rises(self) -> NDArray:
        """Rows' shares (n, n_units) in the rise of the loss, which is their mean.

        Where rows are of unequal weight, these are their influences on the weighted mean. Rows of
        a group are one, of n groups, and so are those of a block in time.
        """
        shares = self._shares
        if self.in_time:
            return by_group(blocks(shares[:, ~self.scoreless]), shares)
        return by_group(None if self.groups is None else self.groups[self._counted], shares)

    @cached_property
    def _shares(self) -> NDArray:
        """As `paired_rises`, of every row (n_counted, n_units)."""
        s = self._sample_weight[self._counted]
        d = self._row_weights[self._counted]
        sums = s[:, None] * self._row_rises[self._counted]
        if self.network.criterion.is_sum:
            return sums * len(s)
        rise = sums.sum(axis=0) / d.sum()
        return rise + (sums - d[:, None] * rise) / d.mean()

    @property
    def ablated(self) -> Ablated:
        """Outputs with each living unit mean-ablated, which scores and nulls are computed from."""
        return self._counted_units(self._kept or ablated_outputs(self))

    def _counted_units(self, parts: Ablated) -> Iterator[tuple[NDArray, Passes]]:
        """The same parts, while a bar counts the units in them."""
        with progress("AblationProbe", int((~self.dead).sum()), "unit", self.verbose) as bar:
            for numbers, passes in parts:
                yield numbers, passes
                bar.update(len(numbers))

    @cached_property
    @torch.no_grad()
    def _kept(self) -> list[Any] | None:
        _, z = next(outputs(self, rows=torch.arange(1)))
        n_bytes = z.numel() * z.element_size() * self.n_samples * int((~self.dead).sum())
        if n_bytes > _MAX_KEPT:
            return None
        # in one piece: many small ones between large ones that are freed would split the memory
        kept = z.new_empty((self.n_samples * int((~self.dead).sum()), *z.shape[1:]))
        found: list[tuple[NDArray, list[tuple[Tensor, Tensor]]]] = []
        start = 0
        for numbers, passes in self._counted_units(ablated_outputs(self)):
            found.append((numbers, []))
            for rows, z in passes:
                own = kept[start : start + len(z)]
                found[-1][1].append((rows, own.copy_(z)))
                start += len(z)
        return found

    # --- rows ---------------------------------------------------------------------------------

    @cached_property
    def _sample_weight(self) -> NDArray:
        return np.ones(self.n_samples) if self.weight is None else self.weight.double().numpy()

    @cached_property
    def _counted(self) -> NDArray:
        """Numbers of the rows that count in the loss."""
        return np.flatnonzero(self._row_weights > 0)

    @cached_property
    def _row_weights(self) -> NDArray:
        """What every row counts in the loss, class weights included."""
        return self._sample_weight * self._plain[1]

    @cached_property
    def _loss(self) -> float:
        """Of the whole network."""
        total = self._sample_weight @ self._plain[0]
        return float(total if self.network.criterion.is_sum else total / self._row_weights.sum())

    @cached_property
    def _plain(self) -> tuple[NDArray, NDArray]:
        """Losses (n_samples,) of the whole network and the weights by which they are divided.

        0 for rows of weight 0.
        """
        terms = np.zeros((2, self.n_samples))
        for rows, z in self._weighted_outputs():
            require_finite(self.network.module, z, "outputs")
            terms[:, rows.numpy()] = self._terms(rows, z, 1)[..., 0]
        return terms[0], terms[1]

    def _weighted_outputs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Numbers and outputs of rows, batch by batch; none of weight 0, which may be anything."""
        for rows, z in outputs(self):
            counted = torch.as_tensor(self._sample_weight[rows.numpy()] > 0)
            if counted.any():
                yield rows[counted], z[counted.to(z.device)]

    @cached_property
    @torch.no_grad()
    def _row_rises(self) -> NDArray:
        """Rise of every row's loss (n_samples, n_units); 0 for dead units."""
        rises = np.zeros((self.n_samples, len(self.units)))
        for numbers, passes in self.ablated:
            for rows, z in passes:
                losses = self._terms(rows, z, len(numbers))[0]
                i = rows.numpy()
                rises[np.ix_(i, numbers)] = losses - self._plain[0][i, None]
        return rises

    def _terms(self, rows: Tensor, z: Tensor, n_copies: int) -> NDArray:
        """Losses and weights (2, n_rows, n_copies) of some rows."""
        y = self.network.prepare(self.target[rows])
        terms = self.network.criterion.terms(z, y.repeat(n_copies, *(1,) * (y.ndim - 1)))
        parts = torch.stack([t.detach().double() for t in terms])
        return parts.unflatten(1, (n_copies, -1)).transpose(1, 2).cpu().numpy()

    @cached_property
    def _rounding(self) -> float:
        """What rounding makes of a loss: of its own size, and of that of the outputs in it."""
        largest = 0.0
        for rows, z in self._weighted_outputs():
            z = z.detach()
            relative = _ROUNDING * torch.finfo(z.dtype).eps
            delta = relative * z.abs().max()
            losses, slope = self._losses_and_slopes(rows, z)
            # where the slope is 0, what is left is of second order
            shifted = self._losses_and_slopes(rows, z + delta)[0]
            size = relative * losses.abs() + delta * slope + (shifted - losses).abs()
            largest = max(largest, float(size.nan_to_num(0.0).max()))
        return largest

    @torch.enable_grad()
    def _losses_and_slopes(self, rows: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Losses (n_rows,), and how much they change with the outputs, in the maximum norm."""
        z = z.requires_grad_()
        y = self.network.prepare(self.target[rows])
        losses, _ = self.network.criterion.terms(z, y)
        (gradient,) = torch.autograd.grad(losses.sum(), z)
        return losses.detach(), gradient.abs().reshape(len(z), -1).sum(1)
