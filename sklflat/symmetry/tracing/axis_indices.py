"""Indices of axes, which of them are tied, and which blocks they are in."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

#: label of an element that no permutation moves
NONE = -1


class Atoms:
    """Atoms are indices of parameters' axes, and blocks of such indices, numbered from 0 on.

    An atom may be tied to others (they are one class), frozen, or lie in a block, within which it
    may be exchanged with the block's other atoms.

    Attributes
    ----------
    made : set of int
        Atoms that an operation with weights makes anew: channels of hidden layers.
    blocks_of : list of (int, int)
        Atoms with the blocks that they are in.
    operation : str
        The one that is followed now.
    reasons : dict of int to str
        Frozen atoms, and why they are: the operation, and what it does to them if that is known.
    marks : list of (hashable, Tensor)
        What was done to atoms by an operation, call after call. Classes to which different things
        were done cannot be exchanged.
    outputs : set of int
        Atoms of what the module returns.

    Examples
    --------
    >>> import torch
    >>> from sklflat.symmetry.tracing.axis_indices import Atoms
    >>> atoms = Atoms()
    >>> a, b = atoms.fresh(2), atoms.fresh(2)
    >>> atoms.tie(a, b)
    >>> atoms.roots(b).tolist()
    [0, 1]
    """

    def __init__(self) -> None:
        self._root = torch.zeros(0, dtype=torch.int64)
        self.made: set[int] = set()
        self.blocks_of: list[tuple[int, int]] = []
        self.operation = ""
        self.reasons: dict[int, str] = {}
        self.marks: list[tuple[Hashable, Tensor]] = []
        self.outputs: set[int] = set()

    def __len__(self) -> int:
        return len(self._root)

    def fresh(self, n: int) -> Tensor:
        """Numbers (n,) of new atoms."""
        new = torch.arange(len(self._root), len(self._root) + n)
        self._root = torch.cat([self._root, new])
        return new

    def roots(self, labels: Tensor) -> Tensor:
        """The number of each label's class; NONE stays."""
        if not len(self._root):
            return labels
        root = torch.where(labels == NONE, NONE, self._root[labels])
        while True:
            above = torch.where(root == NONE, NONE, self._root[root])
            if torch.equal(above, root):
                return root
            root = above

    def tie(self, a: Tensor, b: Tensor) -> None:
        """Let atoms (n,) and (n,) be of one class each."""
        for x, y in set(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)):
            i, j = self._find(x), self._find(y)
            if i != j:
                self._root[max(i, j)] = min(i, j)

    def _find(self, i: int) -> int:
        while int(self._root[i]) != i:
            above = int(self._root[int(self._root[i])])
            self._root[i] = above
            i = above
        return i

    def freeze(self, labels: Tensor, reason: str = "") -> None:
        """Let no permutation move these atoms, and remember why."""
        why = ": ".join(filter(None, [self.operation, reason]))
        for i in labels[labels != NONE].unique().tolist():
            self.reasons.setdefault(i, why)

    def mark(self, layers: Sequence[Tensor], what: Hashable) -> None:
        """Note what was done to the atoms of some labels."""
        if layers:
            found = torch.cat([labels.unique() for labels in layers]).unique()
            self.marks.append((what, found[found != NONE]))

    def put_in_blocks(self, atoms: Tensor, blocks: Tensor) -> None:
        """Let atoms (n,) be exchangeable within blocks (n,), which may move as wholes."""
        pairs = torch.stack([atoms.flatten(), blocks.flatten()], 1).unique(dim=0)
        self.blocks_of += [(a, b) for a, b in pairs.tolist()]

    # --- relations ----------------------------------------------------------------------------

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
        a, b = torch.broadcast_tensors(self.roots(a), self.roots(b))
        n = max(len(self), 1)
        pairs = (a[both] * n + b[both]).unique()
        return pairs // n, pairs % n

    def subordinate(self, many: Tensor, one: Tensor, is_free: bool) -> None:
        """Let labels be in blocks, one for each of the other labels of the same elements.

        If they are free, their order within a block is theirs; if not, each has its place in it,
        and they go where the block goes.
        """
        many, one = self._pairs(many, one)
        if is_free:
            self.put_in_blocks(many, one)
        else:
            self.tie(many, one)

    def tie_where_both(self, a: Tensor, b: Tensor) -> None:
        """Tie labels of the same elements."""
        self.tie(*self._pairs(a, b))

    def block_map(self) -> dict[int, int]:
        """The class of the block of every class that is in one."""
        if not self.blocks_of:
            return {}
        inside, block = self.roots(torch.tensor(self.blocks_of).T.contiguous())
        return dict(zip(inside.tolist(), block.tolist(), strict=True))

    def blocks(self, labels: Tensor, reason: str) -> Tensor:
        """Blocks (n,) of the atoms in each row of labels (n, k); equal rows are one block.

        Atoms that are in several different blocks are frozen, for that reason.
        """
        labels = self.roots(labels)
        rows, number = labels.sort(dim=1).values.unique(dim=0, return_inverse=True)
        pairs = torch.stack([torch.arange(len(rows))[:, None].expand(rows.shape), rows], 2)
        block, atom = pairs.flatten(0, 1).unique(dim=0).unbind(1)
        if bool((rows == NONE).any()) or len(atom.unique()) < len(atom):
            self.freeze(labels, reason)
            return torch.full((len(labels),), NONE)
        if len(rows) == len(atom):  # single atoms are their own blocks
            return rows[:, 0][number]
        known = self._known_blocks(atom, block)
        new = self.fresh(len(rows)) if known is None else known
        self.put_in_blocks(atom, new[block])
        return new[number]

    def _known_blocks(self, atom: Tensor, block: Tensor) -> Tensor | None:
        """Blocks that these atoms are in already, if they are the same ones."""
        of = self.block_map()
        found = [of.get(a, NONE) for a in atom.tolist()]
        pairs = set(zip(block.tolist(), found, strict=True))
        n = int(block.max()) + 1
        if NONE in found or len(pairs) != n or len(set(found)) != n:
            return None
        return torch.tensor([b for _, b in sorted(pairs)])
