"""Progress: a bar of how long a study still takes, from the stacks that it has trained so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

#: exponent of the number of networks in the time of a stack, before two sizes were seen
_EXPONENT = 0.5
#: weight of that exponent, in observations
_WEIGHT = 0.25


@dataclass(frozen=True)
class Stack:
    """Networks that are trained together.

    Parameters
    ----------
    n_networks : int
    n_steps : float
        Of the longest of the trainings.
    """

    n_networks: int
    n_steps: float


@dataclass
class Progress:
    r"""How long a study takes, where the stacks that it consists of are known.

    A stack of R networks takes less than R times as long as one. So for its time
    :math:`t = c\, n\, R^\gamma` is fitted, with n steps, to all stacks trained so far; before
    there are any of another size :math:`\gamma` is one half. What was read from a directory, or
    failed, does not count.

    Parameters
    ----------
    verbose : int, default=0
        0 shows no bar.

    Examples
    --------
    >>> from sklflat.rewinding.progress import Progress, Stack
    >>> progress = Progress()
    >>> progress.plan([Stack(1, 100), Stack(4, 50)])
    >>> progress.ran(Stack(1, 100), seconds=2.0)
    >>> progress.seconds_left()  # half of the steps, four networks
    2.0
    """

    verbose: int = 0
    _seen: list[tuple[Stack, float]] = field(default_factory=list)
    _planned: list[Stack] = field(default_factory=list)
    #: steps that trainings took, as a share of those that they may take
    share: float = 1.0

    def __post_init__(self) -> None:
        form = "{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
        self._bar: Any = tqdm(
            total=1.0, disable=not self.verbose, delay=1.0, smoothing=0, bar_format=form
        )

    def plan(self, stacks: Sequence[Stack]) -> None:
        """Say all that is still to be trained, in place of what was said before."""
        self._planned = [s for s in stacks if s.n_networks and s.n_steps > 0]
        self._show()

    def ran(self, stack: Stack, seconds: float) -> None:
        """Count a stack that was trained: the next one planned."""
        if stack.n_networks and stack.n_steps > 0:
            self._seen.append((stack, max(seconds, 1e-9)))
            self.skipped()

    def skipped(self) -> None:
        """Take the next of the plan as done, but learn nothing of times from it."""
        self._planned = self._planned[1:]
        self._show()

    def time_of(self, stack: Stack) -> float:
        """Seconds that a stack takes; 0 before any was trained."""
        if not self._seen:
            return 0.0
        n = np.array([s.n_steps for s, _ in self._seen])
        a_step = np.log(np.array([t for _, t in self._seen]) / n)
        size = np.log([s.n_networks for s, _ in self._seen])
        centred = size - np.average(size, weights=n)
        exponent = (n / n.mean() * centred) @ a_step + _WEIGHT * _EXPONENT
        exponent /= (n / n.mean()) @ np.square(centred) + _WEIGHT
        exponent = float(np.clip(exponent, 0.0, 1.0))
        level = np.average(a_step - exponent * size, weights=n)
        return float(np.exp(level) * stack.n_steps * stack.n_networks**exponent)

    def seconds_left(self) -> float:
        """Seconds that the rest of the plan takes."""
        return round(sum(self.time_of(s) for s in self._planned), 9)

    def _show(self) -> None:
        elapsed = self._bar.format_dict.get("elapsed") or 0.0
        left = self.seconds_left()
        if elapsed and self._seen:
            self._bar.total = elapsed + left
            self._bar.n = elapsed
            self._bar.refresh()

    def close(self) -> None:
        """End the bar."""
        self._bar.close()
