"""What sets of units are worth on rows that neither trained nor chose."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from sklflat.metrics import ConfidenceInterval, mean_bounds, paired_rate_interval
from sklflat.probing.decisions import MIN_ROWS
from sklflat.probing.sample import Sample, by_group
from sklflat.probing.time_series import blocks
from sklflat.pruning.joint_ablation import JointAblation, LinearReadout, outputs_of_sets
from sklflat.pruning.losses import row_errors
from sklflat.pruning.output_layer import Moments, OutputLayer, Refit, require_output, with_output

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Judge:
    """Silences units, refits the output layer on the rows that chose, and looks at others.

    Parameters
    ----------
    choosing, judged : Sample
        Of one network.
    means : ndarray of shape (n_units,)
        What units are silenced at.
    output : OutputLayer or None
    readout : LinearReadout or None
        Of the judged rows, where the output layer reads the units themselves.
    moments : Moments or None
        Of the choosing rows, where such a layer is refitted.
    refit : bool
    """

    choosing: Sample
    judged: Sample
    means: NDArray
    output: OutputLayer | None
    readout: LinearReadout | None
    moments: Moments | None
    refit: bool

    def errors(self, kept: NDArray) -> NDArray:
        """Errors (n_sets, n_judged) with each set (n_sets, n_units) of units kept.

        All units together are the network as it is, with its own output layer.
        """
        if self.readout is None and not self.refit:
            module = self.judged.network.module
            outputs = outputs_of_sets(self.judged, module, kept, self.means)
            return np.stack([row_errors(self.judged, z) for z in outputs])
        return np.stack([row_errors(self.judged, self._outputs(one)) for one in kept])

    def full_errors(self) -> NDArray:
        """Errors (n_judged,) of the whole network."""
        return row_errors(self.judged, self.judged.network.outputs(self.judged.X))

    def refitted(self, kept: NDArray) -> Refit | None:
        """The output layer refitted to what one set (n_units,) of units says; None if it is not."""
        if not self.refit or kept.all():
            return None
        if self.moments is not None:
            return self.moments.solve(kept)
        output = require_output(self.output, self.choosing.network.module)
        ablation = JointAblation(self.choosing.units.layer_of, kept[None], self.means)
        _, said = output.inputs(self.choosing, of_layer=True)
        read, _ = output.inputs(self.choosing, ablation)
        moments = Moments.of(read, said, self.choosing.weights)
        return moments.solve(np.ones(read.shape[1], dtype=bool))

    @torch.no_grad()
    def _outputs(self, kept: NDArray) -> Tensor:
        refit = self.refitted(kept)
        if self.readout is not None and refit is not None:
            A = self.readout.A
            return A @ torch.as_tensor(refit.W).to(A).T + torch.as_tensor(refit.bias).to(A)
        if self.readout is not None:
            return self.readout.outputs(kept)
        module = self.judged.network.module
        if refit is not None:
            module = with_output(module, require_output(self.output, module), refit)
        return next(outputs_of_sets(self.judged, module, kept[None], self.means))

    def interval(self, errors: NDArray, reference: NDArray) -> ConfidenceInterval:
        """Of the rise of the mean error (n_judged,) above that of a reference, paired over rows.

        Where a row is right or wrong it is Tango's score interval, else that of
        :func:`~sklflat.metrics.mean_bounds`, as a few rows may lose much and many nothing. Rows of
        a group (of a block in time) are one, and the interval is that of their means.
        """
        s, groups = self.judged.weights, self.judged.groups
        rise = errors - reference
        classifies = self.judged.trained.classes is not None
        if groups is None and classifies and np.isin(rise, (-1.0, 0.0, 1.0)).all():
            n = effective_rows(self.judged)
            up, down = (float(n * s[rise == sign].sum()) for sign in (1.0, -1.0))
            return paired_rate_interval(up, down, n, confidence_level=CONFIDENCE)
        counted, mean = s > 0, float(s @ rise)
        shares = mean + counted.sum() * (s * (rise - mean))[counted, None]
        shares = by_group(None if groups is None else groups[counted], shares)
        # rows of which some weigh as much as all others are worth few, and say little of the rest
        if len(shares) < 2 or effective_rows(self.judged) < min(MIN_ROWS, counted.sum()) - 1e-9:
            return ConfidenceInterval(-np.inf, np.inf)
        low, high = (float(end) for end in mean_bounds(shares, CONFIDENCE))
        if not classifies:
            return ConfidenceInterval(low, high)
        # where no row or group changes, some that would have changed are not excluded
        unseen = finest_drop(len(shares))
        return ConfidenceInterval(min(low, -unseen), max(high, unseen))

    def in_blocks(self, rises: NDArray) -> "Judge":
        """The same, with rows in time judged by blocks that outlast the memory of all rises.

        These are (n_sets, n_judged), errors above those of the whole network. Rows that are not
        in time are judged as they are.
        """
        if not self.judged.in_time:
            return self
        return replace(self, judged=replace(self.judged, groups=blocks(rises.T)))


def effective_rows(sample: Sample) -> float:
    """How many rows of equal weight are worth as much as these."""
    return float(1 / np.square(sample.weights).sum())


def finest_drop(n: float) -> float:
    """The drop of an accuracy that n rows cannot exclude even where no prediction changes."""
    return paired_rate_interval(0, 0, n, confidence_level=CONFIDENCE).high


def rows_to_resolve(drop: float) -> int:
    """The least number of rows that can exclude a larger drop of an accuracy."""
    z2 = stats.norm.ppf((1 + CONFIDENCE) / 2) ** 2
    return int(np.ceil(z2 * (1 - drop) / drop)) if drop > 0 else 0
