"""RewoundSample: what a BasinRewinder scores units on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sklflat.exceptions import RewindingWarning, warn
from sklflat.metrics.consistency import too_many_failed
from sklflat.probing.resolve import resolve
from sklflat.probing.sample import Sample
from sklflat.rewinding.consistency import Consistency
from sklflat.rewinding.onset import OnsetCurve
from sklflat.rewinding.recipe import Recipe
from sklflat.rewinding.resampling import Resampling
from sklflat.rewinding.rewinds import Comparison
from sklflat.rewinding.tickets import Round
from sklflat.training.estimators.containers import own_copy
from sklflat.training.runs import Training

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True, eq=False)
class Experiment:
    """The children of one rewind point.

    Parameters
    ----------
    step : int
    reference : Training
        The child with the parent's own order of the rows.
    children : list of Training
    """

    step: int
    reference: Training
    children: list[Training]

    @property
    def good(self) -> list[Training]:
        """The reference and the children that have not failed."""
        return [t for t in (self.reference, *self.children) if t.error is None]

    @property
    def is_refused(self) -> bool:
        """Whether too many failed to say anything."""
        n_failed = sum(t.error is not None for t in self.children)
        return self.reference.error is not None or too_many_failed(n_failed, len(self.children))


@dataclass(frozen=True, eq=False, kw_only=True)
class RewoundSample(Sample):
    """A ticket, how it was found, and the children that its units are scored in.

    Parameters
    ----------
    recipe : Recipe
    comparison : Comparison
    parent : Training
        The whole network.
    curve : OnsetCurve or None
        None where the rewind point was given.
    rounds : list of Round
    experiments : dict of str to Experiment
        The children from just "after" the onset, and from just "before" it where there is such a
        step.
    resampling : Resampling
        Of the rows that each child is trained on.
    rewinds_weights : bool
        Whether weights go back to those of the rewind point, or only the schedule does.
    seed : int
        Of the bootstrap.
    n_bootstrap : int
    """

    recipe: Recipe
    comparison: Comparison
    parent: Training
    curve: OnsetCurve | None
    rounds: list[Round]
    experiments: dict[str, Experiment]
    resampling: Resampling
    rewinds_weights: bool
    seed: int
    n_bootstrap: int

    @cached_property
    def consistency(self) -> dict[str, Consistency]:
        """What came back in the children of each experiment."""
        return {name: self._consistency(e) for name, e in self.experiments.items()}

    def _consistency(self, experiment: Experiment) -> Consistency:
        known: dict[str, Any] = {
            "step": experiment.step,
            "n_children": len(experiment.children),
            "n_failed": sum(t.error is not None for t in experiment.children),
            "reference_failed": experiment.reference.error is not None,
            "child_scores": np.array(
                [self.held_out(t) for t in experiment.children if t.error is None]
            ),
        }
        if experiment.is_refused:
            return Consistency.refused(**known)
        barriers = self.comparison.barriers(experiment.good)
        group = self.comparison.group([resolve(t.estimator) for t in experiment.good])
        rng = np.random.RandomState(self.seed)
        known["instability"] = float(np.mean(barriers))
        return group.consistency(self.units.layers, rng, self.n_bootstrap, **known)

    def held_out(self, training: Training) -> float:
        """Accuracy (or R²) of a training on the rows that units are scored on.

        With ``holdout=None`` it has been trained on them.
        """
        weight = None if self.weight is None else self.weight.numpy()
        fitted = self.recipe.fitted(training)
        return float(fitted.score(own_copy(self.raw), self.y, sample_weight=weight))

    def warn_of_onset(self) -> None:
        """Say what speaks against the onset, and whether the experiment before it failed."""
        curve, before = self.curve, self.consistency.get(BEFORE)
        if curve is not None and curve.contradictions:
            warn(
                f"The onset is not monotone: at steps {list(curve.contradictions)} instability "
                f"contradicts onset_={curve.onset}. See onset_curve_.to_frame(); more n_copies "
                "make single steps surer.",
                RewindingWarning,
            )
        if before is not None and before.is_refused:
            warn(f"{before}.", RewindingWarning)

    def rounds_table(self) -> list[dict[str, Any]]:
        """One row a network of each round."""
        return [row for r in self.rounds for row in r.rows(self.held_out)]


def experiments_of(
    steps: Sequence[tuple[str, int]],
    ticket: Training,
    ticket_step: int,
    make: Any,
    recipe: Recipe,
) -> dict[str, Experiment]:
    """Train the children of all rewind points as one stack.

    ``make(step) -> (reference, children)``; at the ticket's own step the ticket is the reference.
    """
    found: dict[str, Experiment] = {}
    for name, step in steps:
        reference, own = make(step)
        found[name] = Experiment(step, ticket if step == ticket_step else reference, own)
    new = [e.reference for e in found.values() if e.reference is not ticket]
    recipe.run([*new, *(t for e in found.values() for t in e.children)])
    return found
