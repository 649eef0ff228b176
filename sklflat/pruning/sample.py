"""What a path is chosen on, and what it is judged on."""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.probing.sample import Sample
from sklflat.pruning.greedy import passes_order, readout_order, refitted_order
from sklflat.pruning.joint_ablation import LinearReadout
from sklflat.pruning.judge import Judge
from sklflat.pruning.output_layer import Moments, OutputLayer, require_output

#: units are ordered on so many rows at most
MAX_CHOOSING = 2000


@dataclass(frozen=True, kw_only=True)
class PathSample(Sample):
    """Rows that choose an order of units, and rows of the same network that judge it.

    Parameters
    ----------
    judged : Sample
        Of the same network and units; neither trained nor chose.
    forward, refit : bool
        See :class:`~sklflat.PruningPath`.
    """

    judged: Sample
    forward: bool
    refit: bool

    @cached_property
    def output(self) -> OutputLayer | None:
        """The output layer, where there is one for every row."""
        found = OutputLayer.of(self.network, self.X[:2])
        return require_output(found, self.network.module) if self.refit else found

    @cached_property
    def readout(self) -> LinearReadout | None:
        """Of the choosing rows, where the output layer reads the units themselves."""
        return LinearReadout.of(self, self.output, self.means)

    @cached_property
    def moments(self) -> Moments | None:
        """What the output layer is refitted from in closed form."""
        if self.readout is None or not self.refit:
            return None
        return Moments.of(self.readout.A, self.readout.z, self.weights)

    @cached_property
    def judge(self) -> Judge:
        """What sets of units are looked at by."""
        readout = None
        if self.readout is not None:
            readout = LinearReadout.of(self.judged, self.output, self.means)
        moments = None if readout is None else self.moments
        return Judge(self, self.judged, self.means, self.output, readout, moments, self.refit)

    @cached_property
    def free(self) -> NDArray:
        """Numbers of the units that are ordered: those that are alive."""
        return np.flatnonzero(~self.dead)

    def order(self) -> NDArray:
        """All units, the most needed first, dead ones last."""
        if self.moments is not None:
            n_units = len(self.units)
            return refitted_order(self.moments, self.free, n_units, forward=self.forward)
        if self.readout is not None:
            return readout_order(self, self.readout, self.free, forward=self.forward)
        return passes_order(self, self.means, self.free, forward=self.forward)

    def random_orders(self, n: int, rng: np.random.RandomState) -> NDArray:
        """Random orders (n, n_units), dead units last."""
        rest = np.flatnonzero(self.dead)
        orders = [np.concatenate([rng.permutation(self.free), rest]) for _ in range(n)]
        return np.array(orders, dtype=int).reshape(n, len(self.units))


def with_judged(choosing: Sample, judged: Sample, **settings: Any) -> PathSample:
    """The sample of a path; the judged rows are given the network and the units of the others."""
    twin = {f.name: getattr(judged, f.name) for f in fields(Sample)}
    twin |= {"trained": choosing.trained, "units": choosing.units}
    return PathSample.extending(choosing, judged=Sample(**twin), **settings)
