"""All barriers of a probe: between pairs of networks, as they are, aligned and repaired."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklflat.paths.barriers import Barriers

KINDS = ("naive", "aligned", "repaired")


@dataclass(frozen=True)
class BarrierTable:
    """Barriers from the first network to each of the others.

    Attributes
    ----------
    curves : dict of (int, str) to Barriers
        By the number of the other network, from 1 on, and what was done: ``"naive"`` (a straight
        line between the networks as they are), ``"aligned"`` (the path), ``"repaired"``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.paths.barriers import Barriers
    >>> from sklflat.paths.barrier_table import BarrierTable
    >>> from sklflat.paths.losses import PathLosses
    >>> curve = PathLosses(np.array([0, 0.5, 1]), np.array([1.0, 4.0, 2.0]), None)
    >>> table = BarrierTable({(1, "aligned"): Barriers({"train": curve})})
    >>> table
    <BarrierTable, above the mean of the ends
      to network 1, aligned: loss train 2.5>
    >>> table.value("aligned", data="train", definition="lower")
    3.0
    """

    curves: dict[tuple[int, str], Barriers] = field(default_factory=dict)

    def __repr__(self) -> str:
        lines = []
        for (other, kind), own in self.curves.items():
            values = ", ".join(
                f"{measure} {data} {own.value(measure, data):.3g}"
                for measure in ("loss", "error")
                for data, curve in own.curves.items()
                if getattr(curve, measure) is not None
            )
            lines.append(f"  to network {other}, {kind}: {values}")
        return "\n".join(["<BarrierTable, above the mean of the ends", *lines]) + ">"

    def value(
        self,
        kind: str = "aligned",
        measure: str = "loss",
        data: str = "held-out",
        definition: str = "mean",
        other: int = 1,
    ) -> float:
        """One barrier; NaN where the path is not finite.

        Parameters
        ----------
        kind : {"naive", "aligned", "repaired"}, default="aligned"
        measure : {"loss", "error"}, default="loss"
        data : {"train", "held-out"}, default="held-out"
        definition : {"lower", "mean", "chord"}, default="mean"
            See :func:`~sklflat.paths.barriers.barrier`.
        other : int, default=1
            Number of the network that the first is joined with.
        """
        return self._of(kind, other).value(measure, data, definition)

    def midpoint(
        self,
        kind: str = "aligned",
        measure: str = "loss",
        data: str = "held-out",
        definition: str = "mean",
        other: int = 1,
    ) -> float:
        """The value halfway, above what a barrier is measured from; negative where it is below.

        See :meth:`~sklflat.paths.barriers.Barriers.midpoint`; parameters are those of
        :meth:`value`. NaN where it is not finite.
        """
        return self._of(kind, other).midpoint(measure, data, definition)

    def largest(self, kind: str, measure: str, data: str, definition: str) -> float:
        """The largest barrier to any network; NaN if one is."""
        others = sorted({other for other, own in self.curves if own == kind})
        return float(np.max([self.value(kind, measure, data, definition, o) for o in others]))

    @property
    def non_finite(self) -> dict[tuple[int, str], Any]:
        """Points at which losses are not finite, where there are any."""
        found = {}
        for key, barriers in self.curves.items():
            points = np.unique(np.concatenate([*barriers.non_finite.values(), np.zeros(0)]))
            if len(points):
                found[key] = points
        return found

    def rows(self) -> list[dict[str, Any]]:
        """All barriers, one a row: see :meth:`~sklflat.paths.barriers.Barriers.rows`."""
        return [
            {"network": other, "kind": kind, **row}
            for (other, kind), barriers in self.curves.items()
            for row in barriers.rows()
        ]

    def to_frame(self) -> Any:
        """:meth:`rows` as a tidy pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def _of(self, kind: str, other: int) -> Barriers:
        if (other, kind) not in self.curves:
            raise ValueError(
                f"There is no barrier of kind={kind!r} to network {other}: there are "
                f"{sorted(self.curves)}."
            )
        return self.curves[other, kind]
