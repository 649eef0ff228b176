"""When training stops and how the learning rate falls, as in ``MLPClassifier``."""

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor
from tqdm import tqdm

from sklflat.exceptions import warn
from sklflat.training.engine.epoch_loss import last_epoch
from sklflat.training.engine.interrupts import interrupt_afterwards
from sklflat.training.engine.optimizer import trained_parameters
from sklflat.training.engine.protocols import TrainedNet
from sklflat.training.engine.step import ascends_at_all

#: why a training ended
CONVERGED, ALL_EPOCHS, CALLBACK, INTERRUPTED = "converged", "all epochs", "callback", "interrupted"
#: learning rate below which ``learning_rate="adaptive"`` gives up, as in scikit-learn
_SMALLEST_RATE = 1e-6
#: steps, at the least, from one loss without noise to the next
_STEPS_A_LOOK = 8
#: seconds before a progress bar shows up
_PATIENCE = 1.0


@dataclass
class Epoch:
    """A request to train ``net`` for one pass over ``batches``, by whatever loop."""

    net: TrainedNet
    batches: Any

    def run(self) -> None:
        """Train the network alone."""
        net = self.net
        net.run_single_epoch(self.batches, training=True, prefix="train", step_fn=net.train_step)


#: a training that yields an Epoch whenever it needs one
Fitting = Generator[Epoch, None, None]


def run_alone(fitting: Fitting) -> None:
    """Run a training from its first epoch to its end, and tell it if an epoch is interrupted."""
    with suppress(StopIteration):
        epoch = next(fitting)
        while True:
            epoch = next_epoch(fitting, epoch, told=BaseException)


def next_epoch(fitting: Fitting, epoch: Epoch, told: type[BaseException]) -> Epoch:
    """Run an epoch and ask for the next; of errors of one type the training is told."""
    try:
        epoch.run()
    except told as error:
        return fitting.throw(error)
    return next(fitting)


@dataclass
class Record:
    """What ``MLPClassifier`` remembers about its training, under the same names.

    ``ended`` is why training ended: ``"converged"``, ``"all epochs"``, ``"callback"`` or
    ``"interrupted"`` (by the user); None while it is under way. ``converged`` is read only from
    checkpoints that were written before there was ``ended``.
    """

    loss_curve: list[float] = field(default_factory=list)
    best_loss: float | None = np.inf
    validation_scores: list[float] | None = None
    best_validation_score: float | None = None
    best_weights: dict[str, Tensor] | None = None
    no_improvement: int = 0
    t: int = 0
    n_iter: int = 0
    ended: str | None = None
    converged: InitVar[bool] = False

    def __post_init__(self, converged: bool) -> None:
        if converged:
            self.ended = CONVERGED

    @classmethod
    def for_early_stopping(cls) -> "Record":
        """A record that follows the validation score in place of the loss."""
        return cls(best_loss=None, validation_scores=[], best_validation_score=-np.inf)

    def add_loss(self, loss: float, tol: float, n_epochs: int = 1) -> None:
        """Compare the training loss after some epochs with the best so far."""
        assert self.best_loss is not None
        improved = loss <= self.best_loss - n_epochs * tol
        self.no_improvement = 0 if improved else self.no_improvement + n_epochs
        self.best_loss = min(self.best_loss, loss)

    def add_score(self, score: float, tol: float, weights: dict[str, Tensor]) -> None:
        """Compare an epoch's validation score with the best so far; copy the best weights."""
        assert self.validation_scores is not None
        assert self.best_validation_score is not None
        self.validation_scores.append(score)
        improved = score >= self.best_validation_score + tol
        self.no_improvement = 0 if improved else self.no_improvement + 1
        if score > self.best_validation_score:
            self.best_validation_score = score
            self.best_weights = {name: w.clone() for name, w in weights.items()}


@dataclass
class EpochLoop:
    """Iterates over the epochs of one ``fit``; each is to be run before the next is asked for.

    ``score`` returns the validation score, for early stopping. ``n_epochs`` is for exactly so many
    epochs, whether training converges or not, and ``resumes`` says that the record is that of a
    training that was cut off and goes on.
    """

    estimator: Any
    net: TrainedNet
    batches: Any
    record: Record
    score: Callable[[], float] | None = None
    n_epochs: int | None = None
    resumes: bool = False

    def __iter__(self) -> Fitting:
        r, max_iter = self.record, self.estimator.max_iter
        total = self.n_epochs or max_iter
        if not self.resumes:
            r.n_iter = 0
        if not (self.resumes and r.ended == CONVERGED):
            r.ended = None
        try:
            name, hidden = type(self.estimator).__name__, not self.estimator.verbose
            with tqdm(total=total, desc=name, unit="epoch", disable=hidden, delay=_PATIENCE) as bar:
                while r.ended is None and r.n_iter < total:
                    self._notify("on_epoch_begin")
                    if r.ended is not None:
                        break
                    yield Epoch(self.net, self.batches)
                    self._notify("on_epoch_end")
                    self._count_epoch(bar)
        except KeyboardInterrupt:
            r.ended = INTERRUPTED
            warn("Training interrupted by user.")
        if r.ended is None:
            r.ended = ALL_EPOCHS
            if self.n_epochs is None:
                warn(
                    f"Stochastic Optimizer: Maximum iterations ({max_iter}) reached and the "
                    "optimization hasn't converged yet.",
                    ConvergenceWarning,
                )

    def _notify(self, hook: str) -> None:
        """Call callbacks, which stop training by a ``KeyboardInterrupt``."""
        with interrupt_afterwards():
            try:
                self.net.notify(hook, dataset_train=self.batches.dataset, dataset_valid=None)
            except KeyboardInterrupt:
                self.record.ended = CALLBACK

    def _count_epoch(self, bar: tqdm) -> None:
        """Record an epoch, and let the learning rate fall or training end by what it brought."""
        e, r = self.estimator, self.record
        loss = float(last_epoch(self.net)["train_loss"])
        r.n_iter += 1
        r.t += len(self.batches.dataset)
        r.loss_curve.append(loss)
        if r.ended is not None:
            return
        if self.score is None:
            self._judge(loss)
        else:
            r.add_score(self.score(), e.tol, self.net.module_.state_dict())
        if not bar.disable:
            bar.update()
            bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        if e.verbose > 1:
            print(f"Iteration {r.n_iter}, loss = {loss:.8f}")
            if r.validation_scores:
                print(f"Validation score: {r.validation_scores[-1]:.6f}")
        if e.solver == "sgd" and e.learning_rate == "invscaling":
            self._set_rate(e.learning_rate_init / (r.t + 1) ** e.power_t)
        if r.no_improvement > e.n_iter_no_change and self._gives_up():
            r.ended = CONVERGED

    def _judge(self, loss: float) -> None:
        """Record the loss that training ends by: without noise, if it is trained with noise."""
        steps, r, tol = self.net.steps_, self.record, self.estimator.tol
        if steps.landscape is None or not ascends_at_all(steps.perturbation):
            r.add_loss(loss, tol)
            return
        n_epochs = -(-_STEPS_A_LOOK // len(self.batches))
        if r.n_iter % n_epochs:
            return
        vector = trained_parameters(self.net.optimizer_, self.net.module_)
        w = vector.read()
        size = len(self.batches.dataset) / len(self.batches)
        clean = steps.landscape.loss(w) + 0.5 * steps.l2 / size * float((w * vector.is_weight) @ w)
        r.add_loss(clean, tol, n_epochs)

    def _set_rate(self, rate: float) -> None:
        optimizer = self.net.optimizer_
        for group in optimizer.param_groups:
            # scikit-learn's velocity is a sum of steps, torch's buffer one of gradients
            for state in (optimizer.state.get(p, {}) for p in group["params"]):
                if state.get("momentum_buffer") is not None:
                    state["momentum_buffer"].mul_(group["lr"] / rate)
            group["lr"] = rate

    def _gives_up(self) -> bool:
        """Whether training is to end; an adaptive learning rate goes on at a fifth of it."""
        e = self.estimator
        rate = self.net.optimizer_.param_groups[0]["lr"]
        if e.solver == "sgd" and e.learning_rate == "adaptive" and rate > _SMALLEST_RATE:
            self.record.no_improvement = 0
            self._set_rate(rate / 5.0)
            return False
        return True
