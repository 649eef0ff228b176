"""A training: one estimator, and the data that it is to be fitted on."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from sklflat.exceptions import CheckpointError, DamagedFileWarning, warn
from sklflat.training.engine.epochs import (
    ALL_EPOCHS,
    CONVERGED,
    INTERRUPTED,
    Epoch,
    Fitting,
    run_alone,
)
from sklflat.training.engine.loader import EpochSum, SampleOrder, TensorLoader
from sklflat.training.estimators.base import PerturbedEstimator
from sklflat.training.estimators.containers import own_copy
from sklflat.training.runs.checkpoint import Checkpoint
from sklflat.training.runs.side_effects import SideEffects
from sklflat.training.runs.start import Start


@dataclass
class Training:
    """One estimator and the data that it is to be fitted on.

    Parameters
    ----------
    estimator : estimator
        Fitted in place.
    X, y : array-like
    fit_params : dict
        Passed to ``fit``, for example ``sample_weight``.
    mask : Tensor of shape (p,), bool, default=None
        False where parameters are zero and stay so.
    initial : Tensor of shape (p,), default=None
        Parameters to start from in place of those that the estimator draws.
    snapshots_at : tuple of int, default=()
        Numbers of steps before which the module's state is copied; the copies are in the
        estimator's ``net_.snapshots_``.
    start : Start, default=None
        The state of another training to start from, in place of the beginning.
    states_at : tuple of int, default=()
        Numbers of steps before which all of the training's state is copied into ``states``.

    Attributes
    ----------
    states : dict of int to Checkpoint
        What a training can :class:`~sklflat.training.runs.start.Start` from.
    error : Exception or None
        What the training ended with, for example a :class:`DivergenceError`.
    seconds : float
        Its share of the time.
    why_alone : str or None
        Why it was not stacked with others; None if it was.
    key : str or None
        The name by which it is kept; empty if it cannot be, None before that is known.
    side_effects : SideEffects or None
        Notes what the training changes beside weights, if it is to be kept.
    """

    estimator: Any
    X: Any
    y: Any
    fit_params: dict[str, Any] = field(default_factory=dict)
    mask: Tensor | None = None
    initial: Tensor | None = None
    snapshots_at: tuple[int, ...] = ()
    start: Start | None = None
    states_at: tuple[int, ...] = ()
    states: dict[int, Checkpoint] = field(default_factory=dict)
    error: Exception | None = None
    seconds: float = 0.0
    why_alone: str | None = None
    key: str | None = None
    side_effects: SideEffects | None = None

    @property
    def is_kept(self) -> bool:
        """Whether it has ended as it was asked to, by converging or after all epochs."""
        record = getattr(self.estimator, "_record", None)
        return self.error is None and record is not None and record.ended in (CONVERGED, ALL_EPOCHS)

    def check_interrupted(self) -> None:
        """Raise a ``KeyboardInterrupt`` that ended the training early, as ``fit`` does not."""
        record = getattr(self.estimator, "_record", None)
        if record is not None and record.ended == INTERRUPTED:
            raise KeyboardInterrupt

    def fitting(self, checkpoint: Any = None) -> Fitting:
        """The training, as one that asks for its epochs; it may resume from a checkpoint."""
        self.estimator._validate_params()

        def setup() -> Any:
            net = self.estimator.net_
            net.prepare(self.mask, self.initial, self.snapshots_at)
            net.record_states(self.states_at, self._record_state)
            if self.side_effects is not None:
                self.side_effects.begin(net.module_)
            self.states = {} if checkpoint is None else checkpoint.states()
            return self.start if checkpoint is None else checkpoint

        return self.estimator._fitting(self.X, self.y, setup=setup, **self.fit_params)

    def _record_state(self, n: int, loader: TensorLoader, done: EpochSum) -> None:
        self.states[n] = Checkpoint.of(self.estimator, loader.order, done)

    def checkpoint(self, order: SampleOrder | None = None) -> Checkpoint:
        """Where it is now, between two epochs."""
        return Checkpoint.of(self.estimator, order).with_states(self.states)

    def begin(self, checkpoint: Any = None) -> tuple[Fitting, Epoch | None]:
        """Start the training, or resume it.

        A checkpoint of another training is not used, with a ``DamagedFileWarning``.

        Returns
        -------
        fitting : generator of Epoch
            Asks for the epochs that are left.
        epoch : Epoch or None
            The first of these; None if there is none.
        """
        random_state = copy.deepcopy(self.estimator.random_state)
        fitting = self.fitting(checkpoint)
        try:
            return fitting, next(fitting, None)
        except CheckpointError as error:
            if checkpoint is None:
                raise
            self.estimator.random_state = random_state
            warn(f"{error} It is trained anew.", DamagedFileWarning)
            return self.begin()

    def take(self, done: "Training") -> None:
        """Take over what became of a copy of this training in another process."""
        if done is self:
            return
        vars(self.estimator).update(vars(done.estimator))
        self.error, self.seconds, self.states = done.error, done.seconds, done.states
        self.why_alone = self.why_alone or done.why_alone

    def run(self, epochs: Callable[["Training"], None] | None = None) -> "Training":
        """Train alone; an exception is kept.

        Parameters
        ----------
        epochs : callable, default=None
            Goes through the epochs of an estimator of this package; by default one after the
            other, and nothing is kept in a directory.

        Returns
        -------
        self : Training
        """
        start = time.perf_counter()
        try:
            if not isinstance(self.estimator, PerturbedEstimator):
                self.estimator.fit(own_copy(self.X), own_copy(self.y), **self.fit_params)
            elif epochs is not None:
                epochs(self)
            else:
                run_alone(self.fitting())
                self.check_interrupted()
        except Exception as error:
            self.error = error
        self.seconds = time.perf_counter() - start
        return self
