"""Units of one network, ranked by several probes that share what is computed of it."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sklflat.consensus.agreement import RankAgreement, rank_agreement
from sklflat.consensus.members import Member
from sklflat.consensus.rank_aggregation import midranks, rho_scores
from sklflat.probing.dead_units import rounding_of
from sklflat.probing.sample import Sample, shared_samples
from sklflat.probing.split import Rows
from sklflat.probing.subclass_checks import checked_scores


@dataclass(frozen=True, kw_only=True)
class ConsensusSample(Sample):
    """A sample whose units several probes score.

    Parameters
    ----------
    members : list of (str, UnitProbe)
        Unfitted, with the network as their frozen estimator.
    seeds : tuple of int
        One for each.
    seed : int
        Of the null of their agreement.
    """

    members: list[Member]
    seeds: tuple[int, ...]
    seed: int

    @cached_property
    def probe_scores(self) -> NDArray[np.float64]:
        """Scores (n_probes, n_units) of every probe, 0 where it has nothing to say."""
        return np.stack([self._scores_of(k) for k in range(len(self.members))])

    @cached_property
    def ranks(self) -> NDArray[np.float64]:
        """Midranks (n_probes, n_units) within the layers, 1 for the highest; NaN for dead units."""
        ranks = np.full(self.probe_scores.shape, np.nan)
        for layer in np.unique(self.units.layer_of):
            own = ~self.dead & (self.units.layer_of == layer)
            found = midranks(self.probe_scores, own, rounding_of(self.dtype))
            ranks[:, own] = found[:, own]
        return ranks

    @cached_property
    def n_of_layer(self) -> NDArray[np.int64]:
        """Living units (n_units,) in the layer of each unit."""
        return np.bincount(self.units.layer_of[~self.dead], minlength=len(self.units.layers))[
            self.units.layer_of
        ]

    @property
    def shares_of_living(self) -> NDArray[np.float64]:
        """Ranks divided by the number of units in the layer, (n_probes, n_living), without NaN."""
        return self.ranks[:, ~self.dead] / self.n_of_layer[~self.dead]

    @property
    def layer_of_living(self) -> NDArray[np.int64]:
        """Layers (n_living,) of the living units."""
        return self.units.layer_of[~self.dead]

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Minus the decimal logarithm of rho (n_units,); 0 for dead units."""
        scores = np.zeros(len(self.units))
        rho = rho_scores(self.shares_of_living)
        scores[~self.dead] = -np.log10(np.maximum(rho, np.finfo(float).tiny))
        return scores + 0.0  # no negative zero

    def agreement(self) -> RankAgreement:
        """How far the probes agree over the units that are alive."""
        names = tuple(name for name, _ in self.members)
        shares = self.shares_of_living, self.layer_of_living
        return rank_agreement(names, *shares, np.random.RandomState(self.seed))

    def _scores_of(self, k: int) -> NDArray:
        name, probe = self.members[k]
        rows, rng = Rows(self.raw, self.y, {}), check_random_state(self.seeds[k])
        with shared_samples(probe.estimator, self._shared):
            sample = probe._prepare(rows, rng)
        if sample.units is not self.units:
            raise ValueError(
                f"probes: {name!r} scores the units of another network than the one it is given."
            )
        try:
            scores = checked_scores(probe, probe._score_units(sample), sample.scoreless)
        except ValueError as error:
            raise ValueError(f"probes: {name!r}: {error}") from error
        return np.where(sample.scoreless, 0.0, scores)

    @cached_property
    def _shared(self) -> Sample:
        """The sample without the probes, with what all of them need."""
        self.dead  # noqa: B018  # so that one forward pass serves all
        plain = Sample(**{f.name: getattr(self, f.name) for f in fields(Sample)})
        known = {n for n, v in vars(Sample).items() if isinstance(v, cached_property)}
        vars(plain).update({name: v for name, v in vars(self).items() if name in known})
        return plain
