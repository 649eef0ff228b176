"""A training: one estimator, and the data that it is to be fitted on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from sklflat.training.engine.epochs import ALL_EPOCHS, CONVERGED, INTERRUPTED, Fitting


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

    Attributes
    ----------
    error : Exception or None
        What the training ended with, for example a :class:`DivergenceError`.
    seconds : float
        Its share of the time.
    why_alone : str or None
        Why it was not stacked with others; None if it was.
    key : str or None
        The name by which it is kept; empty if it cannot be, None before that is known.
    """

    estimator: Any
    X: Any
    y: Any
    fit_params: dict[str, Any] = field(default_factory=dict)
    mask: Tensor | None = None
    initial: Tensor | None = None
    snapshots_at: tuple[int, ...] = ()
    error: Exception | None = None
    seconds: float = 0.0
    why_alone: str | None = None
    key: str | None = None

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

    def fitting(self, checkpoint: Callable[[Any], Any] | None = None) -> Fitting:
        """The training, as one that asks for its epochs.

        ``checkpoint(net)`` may return the one that it resumes from.
        """
        self.estimator._validate_params()

        def setup() -> Any:
            net = self.estimator.net_
            net.prepare(self.mask, self.initial, self.snapshots_at)
            return None if checkpoint is None else checkpoint(net)

        return self.estimator._fitting(self.X, self.y, setup=setup, **self.fit_params)

    def take(self, done: "Training") -> None:
        """Take over what became of a copy of this training in another process."""
        if done is self:
            return
        vars(self.estimator).update(vars(done.estimator))
        self.error, self.seconds = done.error, done.seconds
        self.why_alone = self.why_alone or done.why_alone
