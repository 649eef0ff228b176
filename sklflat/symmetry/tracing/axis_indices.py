"""A union-find over the indices of parameters' axes: equivalence classes, blocks, pins."""

from collections.abc import Hashable, Iterable, Sequence

import torch
from torch import Tensor

from sklflat.networks.tracing.tensors import NONE


class AxisIndexClasses:
    """Equivalence classes of the indices of all parameters' axes.

    Indices are numbered from 0 on through all axes. Indices of one class move together under a
    permutation. A class may be pinned, which is that nothing moves it, or lie in a block: a further
    index that stands for a set of classes, which may be permuted within it.

    Attributes
    ----------
    hidden : set of int
        Indices that an operation with weights makes anew: channels of hidden layers.
    outputs : set of int
        Indices of axes of what the module returns.
    blocks_of : list of (int, int)
        Indices with the blocks that they are in.
    pinned : dict of int to str
        Pinned indices, and why: the operation, and what it does to them if that is known.
    marks : list of (hashable, Tensor)
        The operations that were applied, call after call, and the indices they were applied to.
        Classes to which different ones were applied cannot be exchanged.
    operation : str
        The one that is followed now.

    Examples
    --------
    >>> import torch
    >>> from sklflat.symmetry.tracing.axis_indices import AxisIndexClasses
    >>> classes = AxisIndexClasses()
    >>> a, b = classes.add(2), classes.add(2)
    >>> classes.union(a, b)
    >>> classes.find(b).tolist()
    [0, 1]
    """

    def __init__(self) -> None:
        self._parent = torch.zeros(0, dtype=torch.int64)
        self.hidden: set[int] = set()
        self.outputs: set[int] = set()
        self.blocks_of: list[tuple[int, int]] = []
        self.pinned: dict[int, str] = {}
        self.marks: list[tuple[Hashable, Tensor]] = []
        self.operation = ""

    def __len__(self) -> int:
        return len(self._parent)

    def add(self, n: int) -> Tensor:
        """Numbers (n,) of new indices, each a class of its own."""
        new = torch.arange(len(self), len(self) + n)
        self._parent = torch.cat([self._parent, new])
        return new

    def find(self, labels: Tensor) -> Tensor:
        """The representative of each label's class; NONE stays."""
        if not len(self):
            return labels
        root = torch.where(labels == NONE, NONE, self._parent[labels])
        while True:
            above = torch.where(root == NONE, NONE, self._parent[root])
            if torch.equal(above, root):
                return root
            root = above

    def find_all(self, indices: Iterable[int]) -> set[int]:
        """The representatives of a set of indices."""
        return set(self.find(torch.tensor(sorted(indices), dtype=torch.int64)).tolist())

    def union(self, a: Tensor, b: Tensor) -> None:
        """Merge the classes of indices (n,) with those of indices (n,), pair by pair."""
        for x, y in set(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)):
            i, j = self._root_of(x), self._root_of(y)
            if i != j:
                self._parent[max(i, j)] = min(i, j)

    def _root_of(self, i: int) -> int:
        while int(self._parent[i]) != i:  # halving the path
            above = int(self._parent[int(self._parent[i])])
            self._parent[i] = above
            i = above
        return i

    def pin(self, labels: Tensor, reason: str = "") -> None:
        """Let no permutation move the classes of some labels, and remember why."""
        why = ": ".join(filter(None, [self.operation, reason]))
        for i in labels[labels != NONE].unique().tolist():
            self.pinned.setdefault(i, why)

    def mark(self, layers: Sequence[Tensor], operation: Hashable) -> None:
        """Note that an operation was applied to what has some labels."""
        if layers:
            found = torch.cat([labels.unique() for labels in layers]).unique()
            self.marks.append((operation, found[found != NONE]))

    # --- how two labels occur together --------------------------------------------------------

    def relation(self, a: Tensor, b: Tensor) -> str:
        """How two labels of the same elements occur together; they are broadcast.

        Returns
        -------
        "none", "same" (one to one), "a in b" or "b in a" (many to one), "independent" (each with
        each) or "conflict" (anything else)
        """
        a, b = self._pairs(a, b)
        n, n_a, n_b = len(a), len(a.unique()), len(b.unique())
        if not n:
            return "none"
        if n == n_a == n_b:
            return "same"
        if n == n_a:
            return "a in b"
        if n == n_b:
            return "b in a"
        return "independent" if n == n_a * n_b else "conflict"

    def _pairs(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Classes (m,) and (m,) that some element has both of, each pair once."""
        both = (a != NONE) & (b != NONE)
        a, b = torch.broadcast_tensors(self.find(a), self.find(b))
        n = max(len(self), 1)
        pairs = (a[both] * n + b[both]).unique()
        return pairs // n, pairs % n

    def union_where_both(self, a: Tensor, b: Tensor) -> None:
        """Merge the classes of two labels of the same elements."""
        self.union(*self._pairs(a, b))

    def put_in_blocks_where_both(self, many: Tensor, one: Tensor) -> None:
        """Put the classes of labels in blocks, one for each other label of the same elements."""
        self._put_in_blocks(*self._pairs(many, one))

    # --- blocks -------------------------------------------------------------------------------

    def _put_in_blocks(self, indices: Tensor, blocks: Tensor) -> None:
        pairs = torch.stack([indices.flatten(), blocks.flatten()], 1).unique(dim=0)
        self.blocks_of += [(a, b) for a, b in pairs.tolist()]

    def block_pairs(self) -> list[tuple[int, int]]:
        """Classes with the classes of the blocks that they are in."""
        if not self.blocks_of:
            return []
        inside, block = self.find(torch.tensor(self.blocks_of).T.contiguous())
        return list(zip(inside.tolist(), block.tolist(), strict=True))

    def blocks(self, labels: Tensor, reason: str) -> Tensor:
        """Blocks (n,) of the indices in each row of labels (n, k); equal rows are one block.

        Indices that are in several different blocks are pinned, for that reason.
        """
        labels = self.find(labels)
        rows, number = labels.sort(dim=1).values.unique(dim=0, return_inverse=True)
        pairs = torch.stack([torch.arange(len(rows))[:, None].expand(rows.shape), rows], 2)
        block, index = pairs.flatten(0, 1).unique(dim=0).unbind(1)
        if bool((rows == NONE).any()) or len(index.unique()) < len(index):
            self.pin(labels, reason)
            return torch.full((len(labels),), NONE)
        if len(rows) == len(index):  # single indices are their own blocks
            return rows[:, 0][number]
        known = self._known_blocks(index, block)
        new = self.add(len(rows)) if known is None else known
        self._put_in_blocks(index, new[block])
        return new[number]

    def _known_blocks(self, index: Tensor, block: Tensor) -> Tensor | None:
        """Blocks that these indices are in already, if they are the same ones."""
        of = dict(self.block_pairs())
        found = [of.get(a, NONE) for a in index.tolist()]
        pairs = set(zip(block.tolist(), found, strict=True))
        n = int(block.max()) + 1
        if NONE in found or len(pairs) != n or len(set(found)) != n:
            return None
        return torch.tensor([b for _, b in sorted(pairs)])
