"""When training stops and how the learning rate falls, as in ``MLPClassifier``."""

import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm

#: learning rate below which ``learning_rate="adaptive"`` gives up, as in scikit-learn
_SMALLEST_RATE = 1e-6
#: seconds before a progress bar shows up
_PATIENCE = 1.0
#: frames from a warning in ``EpochLoop.run`` to whoever called ``fit``
_USER = 7


class StoppedByCallback(Exception):
    """A callback asked for the end of training, after an epoch with this loss (or None)."""

    loss: float | None = None


@dataclass
class Epoch:
    """A request to train ``net`` for one pass over ``batches``, by whatever loop."""

    net: Any
    batches: Any

    def run(self) -> None:
        """Train the network alone."""
        net = self.net
        net.run_single_epoch(self.batches, training=True, prefix="train", step_fn=net.train_step)


#: a training that yields an Epoch whenever it needs one
Fitting = Generator[Epoch, None, None]


def run_alone(fitting: Fitting) -> None:
    """Run a training from its first epoch to its end."""
    try:
        request = next(fitting)
        while True:
            try:
                request.run()
            except BaseException as error:
                request = fitting.throw(error)
            else:
                request = next(fitting)
    except StopIteration:
        return


@dataclass
class Record:
    """What ``MLPClassifier`` remembers about its training, under the same names."""

    loss_curve: list[float] = field(default_factory=list)
    best_loss: float | None = np.inf
    validation_scores: list[float] | None = None
    best_validation_score: float | None = None
    best_weights: Any = None
    no_improvement: int = 0
    t: int = 0
    n_iter: int = 0
    converged: bool = False

    @classmethod
    def for_early_stopping(cls) -> "Record":
        """A record that follows the validation score in place of the loss."""
        return cls(best_loss=None, validation_scores=[], best_validation_score=-np.inf)

    def add_loss(self, loss: float, tol: float) -> None:
        """Compare an epoch's training loss with the best so far."""
        assert self.best_loss is not None
        improved = loss <= self.best_loss - tol
        self.no_improvement = 0 if improved else self.no_improvement + 1
        self.best_loss = min(self.best_loss, loss)

    def add_score(self, score: float, tol: float, weights: Callable[[], Any]) -> None:
        """Compare an epoch's validation score with the best so far; keep the best weights."""
        assert self.validation_scores is not None
        assert self.best_validation_score is not None
        self.validation_scores.append(score)
        improved = score >= self.best_validation_score + tol
        self.no_improvement = 0 if improved else self.no_improvement + 1
        if score > self.best_validation_score:
            self.best_validation_score = score
            self.best_weights = weights()


class EpochLoop:
    """Runs the epochs of one ``fit``.

    Parameters
    ----------
    estimator : SAMClassifier or SAMRegressor
        Read for ``max_iter``, ``tol``, ``n_iter_no_change``, ``learning_rate``, ``power_t``,
        ``solver`` and ``verbose``.
    record : Record
    n_samples : int
    resumes : bool, default=False
        Whether the record is that of a training that was cut off and goes on.
    """

    def __init__(
        self, estimator: Any, record: Record, n_samples: int, resumes: bool = False
    ) -> None:
        self.estimator = estimator
        self.record = record
        self.n_samples = n_samples
        self.resumes = resumes

    def run(
        self,
        net: Any,
        epoch: Callable[[], Generator[Epoch, None, float]],
        score: Callable[[], float] | None,
        weights: Callable[[], Any],
        max_iter: int | None = None,
    ) -> Fitting:
        """Go through ``epoch`` until training converges.

        Parameters
        ----------
        net : PerturbedNetMixin
        epoch : callable
            Asks for one pass over the data and returns the mean loss.
        score : callable or None
            The validation score, for early stopping.
        weights : callable
            A copy of the network's state.
        max_iter : int, default=None
            Exactly so many epochs, without a look at convergence.
        """
        e, r = self.estimator, self.record
        fixed = max_iter is not None
        if not self.resumes:
            r.n_iter, r.converged = 0, False
        with self._interruptible(), self._progress(max_iter or e.max_iter) as bar:
            while r.n_iter < (max_iter or e.max_iter) and not r.converged:
                try:
                    loss = yield from epoch()
                except StoppedByCallback as stop:
                    if stop.loss is not None:
                        self._count(stop.loss)
                    raise
                self._count(loss)
                if score is None:
                    r.add_loss(loss, e.tol)
                else:
                    r.add_score(score(), e.tol, weights)
                self._report(bar, loss)
                self._decay(net)
                r.converged = r.no_improvement > e.n_iter_no_change and self._stops(net)
            if not (fixed or r.converged):
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({e.max_iter}) reached and the "
                    "optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=_USER,
                )

    def _count(self, loss: float) -> None:
        self.record.n_iter += 1
        self.record.t += self.n_samples
        self.record.loss_curve.append(loss)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        try:
            yield
        except StoppedByCallback:
            return
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=_USER + 1)

    @contextmanager
    def _progress(self, total: int) -> Iterator[Any]:
        hidden = not self.estimator.verbose
        name = type(self.estimator).__name__
        with tqdm(total=total, desc=name, unit="epoch", disable=hidden, delay=_PATIENCE) as bar:
            yield bar

    def _report(self, bar: Any, loss: float) -> None:
        bar.update()
        bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        if self.estimator.verbose > 1:
            print(f"Iteration {self.record.n_iter}, loss = {loss:.8f}")
            if self.record.validation_scores:
                print(f"Validation score: {self.record.validation_scores[-1]:.6f}")

    def _set_rate(self, net: Any, rate: float) -> None:
        for group in net.optimizer_.param_groups:
            # scikit-learn's velocity is a sum of steps, torch's buffer one of gradients
            for state in (net.optimizer_.state.get(p, {}) for p in group["params"]):
                if state.get("momentum_buffer") is not None:
                    state["momentum_buffer"].mul_(group["lr"] / rate)
            group["lr"] = rate

    def _decay(self, net: Any) -> None:
        e = self.estimator
        if e.solver == "sgd" and e.learning_rate == "invscaling":
            self._set_rate(net, e.learning_rate_init / (self.record.t + 1) ** e.power_t)

    def _stops(self, net: Any) -> bool:
        """Stop, or with an adaptive learning rate go on at a fifth of it."""
        e = self.estimator
        rate = net.optimizer_.param_groups[0]["lr"]
        if e.solver == "sgd" and e.learning_rate == "adaptive" and rate > _SMALLEST_RATE:
            self.record.no_improvement = 0
            self._set_rate(net, rate / 5.0)
            return False
        return True
