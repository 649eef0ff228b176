"""Which arrays lie in one memory, so that a change of one is a change of another."""

from bisect import bisect_left
from collections.abc import Iterable


class Overlaps:
    """Numbers the pieces of memory that arrays lie in, in the order in which they are met.

    Examples
    --------
    >>> overlaps = Overlaps()
    >>> overlaps.place(1000, (4,), (8,), 8)  # memory of its own
    >>> overlaps.place(1016, (2,), (8,), 8)  # 16 bytes into the first one
    (0, 16)
    """

    def __init__(self) -> None:
        self._ends: list[int] = []  # of pieces that do not overlap, in order
        self._pieces: list[tuple[int, int, int]] = []  # begin, number, where the first array began
        self._count = 0

    def place(
        self, address: int, shape: Iterable[int], strides: Iterable[int], itemsize: int
    ) -> tuple[int, int] | None:
        """The piece that an array lies in, and how far from its first array; None for a new one.

        Parameters
        ----------
        address : int
            Of the first element.
        shape, strides : iterable of int
            Strides are in bytes.
        itemsize : int
        """
        low, high = address, address + itemsize
        for n, stride in zip(shape, strides, strict=True):
            if n == 0:
                return None
            low, high = low + min(0, (n - 1) * stride), high + max(0, (n - 1) * stride)
        first = bisect_left(self._ends, low + 1)
        last = first
        while last < len(self._pieces) and self._pieces[last][0] < high:
            last += 1
        is_new = first == last
        if is_new:
            number, origin = self._count, address
            self._count += 1
        else:
            begin, number, origin = self._pieces[first]
            low, high = min(low, begin), max(high, self._ends[last - 1])
        self._pieces[first:last] = [(low, number, origin)]
        self._ends[first:last] = [high]
        return None if is_new else (number, address - origin)
