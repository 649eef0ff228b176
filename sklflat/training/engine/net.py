"""The skorch net whose step takes its gradient at a perturbed point."""

import itertools
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Self

import torch
from skorch import NeuralNet, NeuralNetClassifier
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sklflat.exceptions import DivergenceError, UnsupportedNetworkError
from sklflat.networks import Parts
from sklflat.networks.criterion import weighted_loss
from sklflat.training.engine.batch_hooks import BATCH_HOOKS, OWN_STEPS, listens_to_batches
from sklflat.training.engine.epoch_loss import last_epoch
from sklflat.training.engine.loader import EpochSum, TensorLoader, n_rows
from sklflat.training.engine.optimizer import check_velocity, position, trained_parameters
from sklflat.training.engine.passes import Passes
from sklflat.training.engine.per_sample_gradients import squared_gradients
from sklflat.training.engine.plain_errors import NO_BATCH, in_plain_words
from sklflat.training.engine.protocols import Batch
from sklflat.training.engine.randomness import RandomStream
from sklflat.training.engine.step import PerturbedStep
from sklflat.training.engine.tape import copies
from sklflat.training.engine.vector_engine import CannotUseVector, VectorEngine
from sklflat.training.perturbations.base import Perturbation

#: keys of the dictionary in which weights travel beside the input
INPUT, WEIGHT = "X", "sample_weight"

StepFunction = Callable[..., dict[str, Any]]

#: the loader of an epoch, and what is done of it
UnderWay = Callable[[], tuple[TensorLoader, EpochSum]]
#: is told the loader of an epoch and what is done of it, before a step
StateRecorder = Callable[[int, TensorLoader, EpochSum], None]

# mixed into skorch classes only, whose attributes a type checker cannot know
_SkorchNet: Any = object


class PerturbedNetMixin(_SkorchNet):
    """Adds perturbed steps, private random numbers and sample weights to a skorch net.

    Put it left of a skorch class, or use :func:`perturbed`.

    Parameters
    ----------
    perturbation : Perturbation, default=None
        None trains as usual.
    l2 : float, default=0.0
        Adds ``l2 |weights|^2 / (2 n)``, n the (weighted) size of the batch, to the loss,
        outside of the perturbation, as ``alpha`` of ``MLPClassifier``. Biases are left out.
    mask : Tensor of shape (p,), bool, default=None
        False where parameters are set to zero and stay there.
    snapshots_at : tuple of int, default=()
        Numbers of steps before which the module's state is copied into ``snapshots_``.
    seed : int, default=0
        Of the module's initial weights (unless it comes initialised), of dropout masks and of
        shuffling by a ``DataLoader``.

    Attributes
    ----------
    parts_ : Parts or None
        How the inputs of a module that takes several lie in one array.
    steps_ : PerturbedStep
        Counts gradient evaluations and skipped steps.
    snapshots_ : dict of int to state dict
        Copies asked for by ``snapshots_at``; 0 is the state before the first step.
    fast_path_ : str
        ``"vector"`` if the last epoch ran on one vector, otherwise why it did not.
    """

    parts_: Parts | None = None

    def __init__(
        self,
        *args: Any,
        perturbation: Perturbation | None = None,
        l2: float = 0.0,
        mask: Tensor | None = None,
        snapshots_at: tuple[int, ...] = (),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.perturbation = perturbation
        self.l2 = l2
        self.mask = mask
        self.snapshots_at = snapshots_at
        self.seed = seed

    # --- setting up -------------------------------------------------------------------------

    def initialize(self) -> Self:
        """Initialise all parts; the module's random weights come from the private stream."""
        self.random_stream_ = RandomStream(self.seed, self.device)
        self.steps_ = PerturbedStep(self.perturbation, self.l2, self.mask, self.seed)
        self.snapshots_: dict[int, dict[str, Tensor]] = {}
        self.fast_path_ = "not trained"
        self._engine: VectorEngine | None = None
        self.record_states()
        with self.random_stream_.as_global():
            super().initialize()
        if len(self._optimizers) > 1:
            raise UnsupportedNetworkError(
                f"{type(self).__name__} has the optimizers {self._optimizers}; a perturbed "
                "step is defined for one."
            )
        if self.perturbation is not None:
            if self.perturbation.rho and isinstance(self.optimizer_, torch.optim.LBFGS):
                raise UnsupportedNetworkError(
                    "optimizer=LBFGS evaluates its closure at points of its own, so there is no "
                    "training step to perturb: use SGD or Adam, or rho=0."
                )
            check_velocity(self.perturbation.validate(), self.optimizer_)
        self._apply_mask()
        return self

    def _apply_mask(self) -> None:
        """Set the parameters that are masked to zero."""
        if self.mask is None:
            return
        vector = trained_parameters(self.optimizer_, self.module_)
        if self.mask.shape != (len(vector),):
            raise ValueError(
                f"mask has shape {tuple(self.mask.shape)}, but the network has {len(vector)} "
                "trained parameters: pass one boolean for each."
            )
        vector.write(torch.where(self.mask.to(vector.device), vector.read(), 0.0))

    def prepare(
        self,
        mask: Tensor | None = None,
        initial: Tensor | None = None,
        snapshots_at: tuple[int, ...] = (),
    ) -> None:
        """Set mask, parameters (p,) and snapshots of an initialised net before its first step."""
        self.mask = self.steps_.mask = mask
        self.snapshots_at = snapshots_at
        if initial is not None:
            trained_parameters(self.optimizer_, self.module_).write(initial)
        self._apply_mask()

    def record_states(
        self, states_at: tuple[int, ...] = (), record: StateRecorder | None = None
    ) -> None:
        """Have ``record(n, loader, done)`` called before some steps, all state written back."""
        self._states_at, self._record_state = states_at, record

    def begin_step(
        self, sync: Callable[[], None] = lambda: None, epoch: UnderWay | None = None
    ) -> None:
        """Count a step and take the snapshots before it, once ``sync`` wrote all state back."""
        n = self.steps_.n_begun
        record = self._record_state if n in self._states_at else None
        if n in self.snapshots_at or record is not None:
            sync()
        if n in self.snapshots_at:
            state = self.module_.state_dict()
            self.snapshots_[n] = {k: v.detach().clone() for k, v in state.items()}
        if record is not None:
            if epoch is None:
                raise UnsupportedNetworkError(
                    f"The state before step {n} is asked for, but this training runs by skorch's "
                    f"own step ({self.fast_path_}), within whose epochs it cannot start again."
                )
            record(n, *epoch())
        self.steps_.n_begun = n + 1

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for name in ("_engine", "_record_state"):
            state.pop(name, None)
        return {**state, "_states_at": ()}

    def get_iterator(self, dataset: Dataset, training: bool = False) -> Iterable[Batch]:
        """As in skorch, but a DataLoader without generator shuffles by the private stream."""
        iterator = super().get_iterator(dataset, training=training)
        if isinstance(iterator, DataLoader) and iterator.generator is None:
            generator = self.random_stream_.generators[0]
            iterator.generator = generator
            if getattr(iterator.sampler, "generator", self) is None:
                iterator.sampler.generator = generator  # type: ignore[attr-defined]
        return iterator

    # --- sample weights ---------------------------------------------------------------------

    @staticmethod
    def split_input(X: Any) -> tuple[Any, Tensor | None]:
        """Split a batch's input into the network's input and sample weights (or None)."""
        if isinstance(X, dict) and WEIGHT in X:
            return X[INPUT], X[WEIGHT]
        return X, None

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """The module's output; sample weights that travel with x are left out."""
        x = self.split_input(x)[0]
        if self.parts_ is not None and isinstance(x, Tensor):
            x = self.parts_.split(x)
        return super().infer(x, **fit_params)

    def get_loss(
        self, y_pred: Any, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Tensor:
        """Loss of a batch, normalised by the sum of sample weights if there are any."""
        X, weight = self.split_input(X)
        if weight is None:
            return super().get_loss(y_pred, y_true, X, training=training)

        def losses() -> Tensor:
            return super(PerturbedNetMixin, self).get_loss(y_pred, y_true, X, training=training)

        weight = weight.to(self.device)
        return weighted_loss(self.criterion_, losses, y_true, weight)

    # --- the step ---------------------------------------------------------------------------

    def batch_weight(self, batch: Batch) -> float:
        """Number of samples in a batch, or the sum of their weights."""
        weight = self.split_input(batch[0])[1]
        return n_rows(batch[0]) if weight is None else float(weight.sum())

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """One or two passes; leaves the direction in the parameters' ``grad``.

        skorch notifies ``on_grad_computed`` once, after this, and gets loss and prediction of
        the unperturbed pass. A gradient that was there before is added to, as in skorch.
        """
        steps: list[dict[str, Any]] = []

        def closure() -> Tensor:
            own = copies(batch)  # a forward pass may work in place
            step = super(PerturbedNetMixin, self).train_step_single(own, **fit_params)
            steps.append(step)
            return step["loss"]

        self.begin_step()
        vector = trained_parameters(self.optimizer_, self.module_)
        earlier = [p.grad for p in vector.parameters]
        with self.random_stream_.as_global(), torch.no_grad():
            passes = Passes(vector, closure, (self.module_, self.criterion_))
            at = position(self.optimizer_, vector, passes.w, self.steps_.needs_velocity)
            at.squared_gradients = lambda labels: squared_gradients(
                self, vector, passes.w, batch, labels
            )
            try:
                loss, direction = self.steps_.take(at, passes, self.batch_weight(batch))
            except BaseException:
                passes.restore_gradients(earlier)
                raise
            finally:
                passes.restore()
            if direction is None:
                passes.effects.undo()
                passes.restore_gradients(earlier)
            else:
                passes.set_gradients(direction, earlier)
        return {**steps[0], "loss": loss}

    # --- the epoch --------------------------------------------------------------------------

    def run_single_epoch(
        self,
        iterator: Iterable[Batch] | None,
        training: bool,
        prefix: str,
        step_fn: StepFunction,
        **fit_params: Any,
    ) -> None:
        """An epoch on one vector where nothing listens to single batches, else skorch's."""
        if iterator is None or not training:
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
            return
        before = self.steps_.n_skipped_steps - _n_skipped(iterator)
        reason = "the forward pass takes fit_params" if fit_params else self.why_not_vector()
        with in_plain_words(self, iterator):
            if reason is None:
                self._run_on_vector(iterator, prefix, step_fn)
            else:
                self.fast_path_ = reason
                super().run_single_epoch(iterator, True, prefix, step_fn, **fit_params)
        self._check_diverged(prefix, self.steps_.n_skipped_steps - before)

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Tell all callbacks."""
        with in_plain_words(self):
            super().notify(method_name, **kwargs)

    def record_epoch(self, loss: float, n_samples: int, n_batches: int, n_skipped: int) -> None:
        """Note a training epoch that was run elsewhere; raises if it diverged."""
        self._record_batches("train", loss, n_samples)
        last_epoch(self)["train_batch_count"] = n_batches
        self._check_diverged("train", n_skipped)

    def _record_batches(self, prefix: str, loss: float, size: int) -> None:
        # one entry for all batches: the epoch's mean is all that is left to know
        batch = {f"{prefix}_loss": loss, f"{prefix}_batch_size": size}
        last_epoch(self)["batches"].append(batch)

    def _check_diverged(self, prefix: str, n_skipped: int) -> None:
        """Raise if the epoch's loss is not finite or no step of it could be taken."""
        epoch, name = last_epoch(self), prefix + "_loss"
        n_batches = epoch[prefix + "_batch_count"]
        if not n_batches:
            raise ValueError(NO_BATCH)
        losses = (batch[name] for batch in epoch["batches"] if name in batch)
        if n_skipped < n_batches and all(map(math.isfinite, losses)):
            return
        rate = self.optimizer_.param_groups[0]["lr"]
        raise DivergenceError(
            f"Training diverged in epoch {len(self.history)}: the loss or the gradient is not "
            f"finite. Lower the learning rate (learning_rate_init or lr, now {rate:g}) or rho; "
            "the input data may contain large values and need to be preprocessed."
        )

    def user_classes(self) -> list[type]:
        """Base classes of this net that are neither skorch's nor this package's."""
        bases = [c for c in type(self).__mro__ if not issubclass(PerturbedNetMixin, c)]
        return [c for c in bases if c.__module__.split(".")[0] not in ("skorch", "sklflat")]

    def why_not_vector(self) -> str | None:
        """Why this epoch needs skorch's own step; None if it does not."""
        for name, callback in self.callbacks_:
            if listens_to_batches(callback) and name != "train_loss":
                return f"callback {name!r} listens to single batches"
        for method in (*OWN_STEPS, *BATCH_HOOKS):
            if any(method in vars(c) for c in self.user_classes()):
                return f"{type(self).__name__} overrides {method}"
        return VectorEngine.why_not(self)

    def _run_on_vector(self, iterator: Iterable[Batch], prefix: str, step_fn: StepFunction) -> None:
        engine: VectorEngine | None = getattr(self, "_engine", None)
        if engine is None or not engine.fits(self):
            engine = self._engine = VectorEngine(self)
        engine.under_way = batch = None
        if isinstance(iterator, TensorLoader):
            rows, sums = iterator.begin_epoch()
            batches = iterator.batches(rows)
            engine.under_way = lambda: (iterator, sums)
        else:
            batches, sums = iter(iterator), EpochSum()  # type: ignore[arg-type]
        self.fast_path_ = "vector"
        with engine.epoch():
            try:
                for batch in batches:
                    loss = engine.step(batch)
                    n = n_rows(batch[0])
                    sums.loss, sums.n_samples = sums.loss + loss * n, sums.n_samples + n
                    sums.n_batches += 1
            except CannotUseVector as refusal:
                self.fast_path_ = str(refusal)
        if sums.n_batches:
            self._record_batches(prefix, sums.loss / sums.n_samples, sums.n_samples)
        if self.fast_path_ != "vector":
            rest = itertools.chain([batch], batches)
            super().run_single_epoch(rest, True, prefix, step_fn)
            sums.n_batches += self.history[-1, prefix + "_batch_count"]
        self.history.record(prefix + "_batch_count", sums.n_batches)


def _n_skipped(iterator: Any) -> int:
    """Steps left out in the part of an epoch that is done."""
    done = getattr(iterator, "done", None)
    return 0 if done is None else done.n_skipped


@cache
def perturbed(net_class: Any) -> Any:
    """The class ``net_class`` with perturbed steps; always the same for the same class."""
    if issubclass(net_class, PerturbedNetMixin):
        return net_class
    attributes = {
        "__reduce_ex__": _reduce,
        "__module__": net_class.__module__,
        "__doc__": net_class.__doc__,
        "_extends": net_class,
    }
    return type("Perturbed" + net_class.__name__, (PerturbedNetMixin, net_class), attributes)


def _reduce(self: Any, protocol: int) -> tuple[Any, ...]:
    """Pickle by the class that was extended, as the extended class has no importable name."""
    if "_extends" not in vars(type(self)):
        return object.__reduce_ex__(self, protocol)  # type: ignore[return-value]
    return _restore, (self._extends,), self.__getstate__()


def _restore(net_class: Any) -> NeuralNet:
    cls = perturbed(net_class)
    return cls.__new__(cls)


PerturbedNet = perturbed(NeuralNet)
PerturbedNetClassifier = perturbed(NeuralNetClassifier)
