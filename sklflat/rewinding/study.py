"""A whole study: parent, onset, ticket and children, from the parameters of a BasinRewinder."""

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from sklflat.exceptions import RewindingWarning, warn
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows
from sklflat.rewinding.onset import OnsetCurve, step_grid
from sklflat.rewinding.plan import StudyPlan
from sklflat.rewinding.recipe import (
    Recipe,
    n_trained,
    split_in_three,
    trained_parent,
)
from sklflat.rewinding.resampling import Resampling
from sklflat.rewinding.rewinds import Comparison, children, onset_curve
from sklflat.rewinding.rewound_sample import (
    AFTER,
    BEFORE,
    Experiment,
    RewoundSample,
    experiments_of,
)
from sklflat.rewinding.tickets import Round, check_sparsity, find_ticket, n_rounds_for
from sklflat.training.runs import Training
from sklflat.training.runs.start import Start


def rewound_sample(probe: Any, fresh: Any, rows: Rows, rng: np.random.RandomState) -> RewoundSample:
    """Train the parent, find the onset, prune to the ticket, and train its children.

    Parameters
    ----------
    probe : BasinRewinder
        Whose parameters say how.
    fresh : estimator
        Not fitted, with seeds.
    rows : Rows
    rng : RandomState
    """
    parts = split_in_three(rows, probe.holdout, is_classifier(fresh), rng)
    groups = parts[0].groups
    fitted, match, scored = (part.without_groups() for part in parts)
    settings = {"n_jobs": probe.n_jobs, "cache_dir": probe.cache_dir}
    recipe = Recipe.of(fresh, fitted, rng, probe.verbose, **settings)
    check_sparsity(probe.sparsity, sum(recipe.layers.sizes))
    resampling = Resampling(probe.bootstrap, None if groups is None else np.asarray(groups))
    resampling.check(recipe, probe.n_retrains)
    if recipe.n_steps_an_epoch == 1 and resampling.is_none:
        warn(
            f"One batch holds all {len(fitted)} rows, so that their order makes no difference and "
            "children are the same but for rounding. Lower batch_size, or set bootstrap=True.",
            RewindingWarning,
        )
    try:
        return _Study(probe, recipe, resampling, rng).sample(match, scored)
    except BaseException:
        recipe.progress.close()
        raise


class _Study:
    def __init__(
        self, probe: Any, recipe: Recipe, resampling: Resampling, rng: np.random.RandomState
    ) -> None:
        self.probe, self.recipe, self.resampling, self.rng = probe, recipe, resampling, rng

    def sample(self, match: Rows, scored: Rows) -> RewoundSample:
        """All that is trained, and the rows to match and to score units on."""
        probe, recipe, rng = self.probe, self.recipe, self.rng
        steps = self._steps()
        n_grid = len(steps) if isinstance(probe.rewind, str) else 0
        plan = StudyPlan(probe, recipe.progress, recipe.n_steps, n_grid)
        plan.begin()
        parent = trained_parent(recipe, steps)
        plan.parent_has(n_trained(parent))
        comparison = Comparison.of(recipe, parent, match, scored, probe.layers)
        seeds = [int(rng.randint(2**31 - 1)) for _ in range(probe.n_copies - 1)]
        curve = None
        if isinstance(probe.rewind, str):
            curve = onset_curve(
                comparison, parent, tol=probe.stability_tol, seeds=seeds, looked=plan.looked
            )
        step = self._step(parent, curve)
        plan.rewinds_to(step, self._before(curve, step) is not None)
        rounds = find_ticket(
            recipe,
            parent,
            step,
            sparsity=probe.sparsity,
            n_rounds=n_rounds_for(probe.sparsity, probe.n_rounds),
            scope=probe.prune,
            rewinding=probe.rewinding,
            n_controls=probe.n_controls,
            rng=rng,
        )
        experiments = self._experiments(parent, curve, step, rounds)
        opened = Sample.of(
            recipe.fitted(rounds[-1].ticket),
            scored.X,
            scored.y,
            layers=probe.layers,
            weight=scored.weight,
            numbers=scored.numbers,
        )
        return RewoundSample.extending(
            opened,
            recipe=recipe,
            comparison=comparison,
            parent=parent,
            curve=curve,
            rounds=rounds,
            experiments=experiments,
            resampling=self.resampling,
            rewinds_weights=probe.rewinding == "weights",
            seed=int(rng.randint(2**31 - 1)),
            n_bootstrap=probe.n_bootstrap,
        )

    def _before(self, curve: OnsetCurve | None, step: int) -> int | None:
        """The step before the one rewound to, if there is one and weights are rewound."""
        before = None if curve is None else curve.before
        return None if before == step or self.probe.rewinding != "weights" else before

    def _experiments(
        self, parent: Training, curve: OnsetCurve | None, step: int, rounds: list[Round]
    ) -> dict[str, Experiment]:
        """Children from the step, and from the one before it, if it is the onset.

        Where only the schedule goes back there is no "before": the weights are those of the end.
        """
        probe, recipe = self.probe, self.recipe
        ticket, mask = rounds[-1].ticket, rounds[-1].mask
        rewinds_weights = probe.rewinding == "weights"
        weights = None if rewinds_weights else rounds[-2].ticket.checkpoint()

        def make(at: int) -> tuple[Training, list[Training]]:
            own = children(
                recipe,
                parent,
                at,
                mask,
                probe.n_retrains,
                resampling=self.resampling,
                rng=self.rng,
                weights_of=weights,
            )
            start = Start(parent.states[at], weights_of=weights)
            return recipe.training(mask=mask, start=start), own

        steps = [(AFTER, step)]
        before = self._before(curve, step)
        if before is not None:
            steps.append((BEFORE, before))
        return experiments_of(steps, ticket, step, make, recipe)

    def _steps(self) -> tuple[int, ...]:
        """Steps whose state the parent is to keep."""
        rewind, recipe = self.probe.rewind, self.recipe
        n = recipe.n_steps
        if isinstance(rewind, bool):  # which Python takes for a number
            raise ValueError(
                f"rewind={rewind} is no step. Give 'auto', a number of steps, or a share of all."
            )
        if isinstance(rewind, str):
            return step_grid(n, self.probe.n_grid)
        step = int(rewind) if isinstance(rewind, Integral) else int(round(rewind * n, 9))
        if step >= n:
            raise ValueError(
                f"rewind={rewind!r} is after the end: the training has {n} steps "
                f"({recipe.n_steps_an_epoch} an epoch). Give a smaller number."
            )
        return (step,)

    def _step(self, parent: Training, curve: OnsetCurve | None) -> int:
        """What is rewound to."""
        if not parent.states:
            raise ValueError(
                f"rewind={self.probe.rewind!r} is after the end: training stopped after "
                f"{parent.estimator.net_.steps_.n_begun} steps. Give a smaller number."
            )
        last = max(parent.states)
        if curve is None:
            return last
        if curve.onset is not None:
            return curve.onset
        warn(
            f"Copies do not end in one basin from any step that was looked at, up to step {last}, "
            f"to which the ticket is rewound (instability {curve.points[-1].value:.3f}, "
            f"stability_tol={self.probe.stability_tol}). Train longer, or at a lower rate.",
            RewindingWarning,
        )
        return last
