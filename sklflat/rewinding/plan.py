"""What a study still has to train, so that its bar knows how long that takes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklflat.rewinding.onset import Instability
from sklflat.rewinding.progress import Progress, Stack
from sklflat.rewinding.tickets import n_rounds_for


@dataclass
class StudyPlan:
    """The stacks of a study, in order; what is not known yet is taken to be the longest.

    Parameters
    ----------
    probe : BasinRewinder
    progress : Progress
    n_steps : int
        Of a training.
    n_grid : int
        Steps that may be looked at; 0 where no onset is looked for.
    """

    probe: Any
    progress: Progress
    n_steps: int
    n_grid: int
    n_looks: int = 0
    is_stable_at_first: bool = False

    def begin(self) -> None:
        """Before the parent is trained."""
        rest = self._looks(0) + self._rest(0, self.n_grid > 0)
        self.progress.plan([Stack(1, self.n_steps), *rest])

    def parent_has(self, n_steps: int) -> None:
        """After it: all others are taken to go on for as long."""
        self.n_steps = n_steps
        self.progress.plan(self._looks(0) + self._rest(0, self.n_grid > 0))

    def looked(self, found: Instability) -> None:
        """After each look of the bisection."""
        self.n_looks += 1
        if self.n_looks == 1:
            self.is_stable_at_first = found.value <= self.probe.stability_tol
        rest = self._rest(found.step, not self.is_stable_at_first)
        self.progress.plan(self._looks(found.step) + rest)

    def rewinds_to(self, step: int, has_before: bool) -> None:
        """After the search: what is left is known."""
        self.progress.plan(self._rest(step, has_before))

    def _looks(self, step: int) -> list[Stack]:
        """Looks that are left, at steps like the last one."""
        if not self.n_grid:
            return []
        most = 2 if self.is_stable_at_first else int(np.ceil(np.log2(self.n_grid))) + 2
        n = max(most - self.n_looks, 0)
        return [Stack(self.probe.n_copies - 1, self.n_steps - step)] * n

    def _rest(self, step: int, has_before: bool) -> list[Stack]:
        """Rounds, controls, children and the networks of nulls."""
        probe, n, left = self.probe, self.n_steps, self.n_steps - step
        n_rounds, k = n_rounds_for(probe.sparsity, probe.n_rounds), probe.n_retrains
        return [
            *[Stack(1, left)] * n_rounds,
            Stack(2 * probe.n_controls * n_rounds, n),
            Stack(2 * k + 1 if has_before else k, left),
            Stack(k + 2, n),
            Stack(k + 1, left),
        ]
