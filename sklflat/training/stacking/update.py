"""The base optimisers' steps on the replicas of a stack."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sklflat.training.engine.optimizer import trained_parameters
from sklflat.training.engine.updates import MOMENTS, apply_step


class StackedUpdate:
    """Steps of torch optimisers, one for each replica, on parameters w (E, p), in place.

    The optimisers are of one type that ``VectorUpdate`` supports, with one parameter group each.

    Attributes
    ----------
    moments : dict of str to Tensor of shape (E, p)
        What the optimisers remember. The torch optimisers' own state is made of views of it.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], w: Tensor) -> None:
        self.optimizers = optimizers
        self.w = w
        self.kind = type(optimizers[0])
        self.vectors = [trained_parameters(o) for o in optimizers]
        firsts = [
            o.state.get(v.parameters[0], {}) for o, v in zip(optimizers, self.vectors, strict=True)
        ]
        self.counts = [int(state.get("step", 0)) for state in firsts]
        self._all_steps = torch.tensor([float(count) for count in self.counts])
        self.steps = list(self._all_steps)
        self.moments = {key: torch.stack(self._pull(key)) for key in MOMENTS[self.kind]}
        for i in range(len(optimizers)):
            self._set_moments(i, {key: rows[i] for key, rows in self.moments.items()})

    def _pull(self, key: str) -> list[Tensor]:
        return [
            vector.join(optimizer.state.get(p, {}).get(key) for p in vector.parameters)
            for optimizer, vector in zip(self.optimizers, self.vectors, strict=True)
        ]

    def _set_moments(self, i: int, rows: dict[str, Tensor], copy: bool = False) -> None:
        """Make the torch optimiser's state views, or copies, of rows of moments (p,)."""
        optimizer, vector = self.optimizers[i], self.vectors[i]
        for key, row in rows.items():
            for p, view in zip(vector.parameters, vector.views(row), strict=True):
                optimizer.state[p][key] = view.clone() if copy else view
        if "exp_avg" in rows:
            for p in vector.parameters:
                optimizer.state[p]["step"] = self.steps[i].clone() if copy else self.steps[i]

    def release(self, i: int) -> None:
        """Give the i-th optimiser a state of its own."""
        self._set_moments(i, {key: rows[i] for key, rows in self.moments.items()}, copy=True)
        self.optimizers[i]._opt_called = True  # type: ignore[attr-defined]  # schedulers ask

    @property
    def velocity(self) -> Tensor:
        """The first moments (E, p)."""
        return next(iter(self.moments.values()))

    def rates(self) -> Tensor:
        """Learning rates (E,)."""
        rates = [float(o.param_groups[0]["lr"]) for o in self.optimizers]
        return torch.tensor(rates, dtype=self.w.dtype, device=self.w.device)

    def begin_epoch(self) -> None:
        """Read the optimisers' options, which may have been changed since."""
        options = [
            [(k, v) for k, v in o.param_groups[0].items() if k != "params"] for o in self.optimizers
        ]
        #: which have the options of the one before them; its number
        self._options = [options.index(own) for own in options]

    def step(self, rows: Sequence[int], direction: Tensor) -> None:
        """Apply directions (len(rows), p), in place.

        Neighbours with equal options and counts take their step at once.
        """
        for start, stop in self._runs(rows):
            first, last = rows[start], rows[stop - 1]
            if last - first == stop - 1 - start:
                own = slice(first, last + 1)
                self._apply(first, self.w[own], direction[start:stop], self._slices(own))
            else:
                index = torch.as_tensor(rows[start:stop], device=self.w.device)
                w, moments = self.w[index], self._slices(index)
                self._apply(first, w, direction[start:stop], moments)
                self.w[index] = w
                for key, moment in moments.items():
                    self.moments[key][index] = moment
        for i in rows:
            self.counts[i] += 1
        if "exp_avg" in self.moments:
            self._all_steps[list(rows)] += 1

    def _runs(self, rows: Sequence[int]) -> list[tuple[int, int]]:
        kinds = [(self._options[i], self.counts[i]) for i in rows]
        edges = [k for k in range(1, len(rows)) if kinds[k] != kinds[k - 1]]
        return list(zip([0, *edges], [*edges, len(rows)], strict=True))

    def _slices(self, own: Any) -> dict[str, Tensor]:
        return {key: moment[own] for key, moment in self.moments.items()}

    def _apply(self, i: int, w: Tensor, d: Tensor, moments: dict[str, Tensor]) -> None:
        moment_lists: dict[str, list[Any]] = {key: [moment] for key, moment in moments.items()}
        options = self.optimizers[i].param_groups[0]
        apply_step(self.kind, options, w, d, moment_lists, torch.tensor(float(self.counts[i])))
