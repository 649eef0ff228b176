"""The batches of many loaders, side by side."""

from collections.abc import Hashable, Iterator
from itertools import accumulate

import torch
from torch import Tensor

from sklflat.training.engine.known_calls import leaves
from sklflat.training.engine.loader import TensorLoader


class StackedBatches:
    """One epoch of several loaders: each replica's rows in each replica's own order."""

    def __init__(self, loaders: dict[int, TensorLoader]) -> None:
        self.data = {i: leaves(loader.data) for i, loader in loaders.items()}
        self.kinds = {
            i: tuple((x.shape[1:], x.dtype) for x in data) for i, data in self.data.items()
        }
        self.as_inputs = next(iter(loaders.values())).as_inputs
        begun = {i: loader.begin_epoch() for i, loader in loaders.items()}
        #: what is done of epochs that were begun before
        self.done = {i: done for i, (_, done) in begun.items()}
        self.n_samples = {i: len(d[0]) - self.done[i].n_samples for i, d in self.data.items()}
        #: first rows of the batches, and the end
        self.edges = {
            i: list(accumulate(loader.sizes(self.n_samples[i]), initial=0))
            for i, loader in loaders.items()
        }
        some = next(iter(self.data.values()))[0]
        width = max(self.n_samples.values())
        # rows of row numbers; shorter data sets leave the end of theirs unused
        self.order = torch.zeros(len(loaders), width, dtype=torch.long, device=some.device)
        self.position = {i: k for k, i in enumerate(loaders)}
        for i, (own, _) in begun.items():
            n = self.n_samples[i]
            row = torch.arange(n) if own is None else torch.as_tensor(own)
            self.order[self.position[i], :n] = row

    def steps(self) -> Iterator[list[tuple[Hashable, int, int, list[int]]]]:
        """Per step the replicas that have a batch: kind, first and last row, and who they are."""
        alike: dict[tuple[Hashable, tuple[int, ...]], list[int]] = {}
        for i, edges in self.edges.items():
            alike.setdefault((self.kinds[i], tuple(edges)), []).append(i)
        for k in range(max(map(len, self.edges.values())) - 1):
            groups: dict[tuple[Hashable, int, int], list[list[int]]] = {}
            for (kind, ends), members in alike.items():
                if k + 1 < len(ends):
                    groups.setdefault((kind, ends[k], ends[k + 1]), []).append(members)
            yield [(*key, self._in_order(parts)) for key, parts in groups.items()]

    def _in_order(self, parts: list[list[int]]) -> list[int]:
        if len(parts) == 1:
            return parts[0]
        return sorted((i for part in parts for i in part), key=self.position.__getitem__)

    def batch(self, members: list[int], start: int, stop: int) -> list[Tensor]:
        """Input, weights if there are any, and target, each of shape (R, stop - start, ...)."""
        if len(members) == len(self.order):
            rows = self.order[:, start:stop]
        else:
            rows = self.order[[self.position[i] for i in members], start:stop]
        parts = [
            _gather([self.data[i][k] for i in members], rows)
            for k in range(len(self.data[members[0]]))
        ]
        return [self.as_inputs(parts[0]), *parts[1:]]


def _gather(bases: list[Tensor], rows: Tensor) -> Tensor:
    """Rows (R, b) of R tensors; those of one tensor at once."""
    first = bases[0]
    shape = (*rows.shape, *first.shape[1:])
    if all(base is first for base in bases):
        return first.index_select(0, rows.reshape(-1)).view(shape)
    out = first.new_empty(shape)
    edges = [k for k in range(1, len(bases)) if bases[k] is not bases[k - 1]]
    for a, b in zip([0, *edges], [*edges, len(bases)], strict=True):
        flat = out[a:b].view(-1, *first.shape[1:])
        torch.index_select(bases[a], 0, rows[a:b].reshape(-1), out=flat)
    return out


class SharedData:
    """Keeps one copy of data that several loaders brought along.

    Examples
    --------
    >>> import torch
    >>> shared = SharedData()
    >>> a = shared.one_of(torch.zeros(3))
    >>> shared.one_of(torch.zeros(3)) is a
    True
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, list[Tensor]] = {}

    def one_of(self, tensor: Tensor) -> Tensor:
        """The first tensor that had the same values."""
        known = self._known.setdefault((tensor.shape, tensor.dtype, tensor.device), [])
        for other in known:
            if other is tensor or torch.equal(other, tensor):
                return other
        known.append(tensor)
        return tensor
