"""Recipe: how a network is trained, so that it can be trained again from any of its steps."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from skorch import NeuralNet
from torch import Tensor

from sklflat._compat import safe_indexing
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import ParameterVector
from sklflat.probing.nulls import split_halves, with_fresh_weights
from sklflat.probing.resolve import ends_frozen, is_frozen
from sklflat.probing.split import Rows, split_rows
from sklflat.rewinding.progress import Progress, Stack
from sklflat.rewinding.pruning import PrunableLayers
from sklflat.training.estimators.base import PerturbedEstimator
from sklflat.training.estimators.containers import own_copy
from sklflat.training.runs import Training
from sklflat.training.stacking import train


@dataclass(frozen=True)
class Recipe:
    """An estimator of this package with the rows that it is trained on.

    Parameters
    ----------
    estimator : PerturbedEstimator
        Not fitted, with an int for a ``random_state``.
    rows : Rows
        As the network's estimator takes them, transformed by what stands before it.
    before : list of (str, transformer)
        Fitted steps of the pipeline that it is the last step of.
    name : str or None
        Of that last step.
    n_steps_an_epoch : int
    layers : PrunableLayers
    settings : dict
        Of :func:`~sklflat.training.stacking.train`.
    progress : Progress
    """

    estimator: Any
    rows: Rows
    before: list[Any]
    name: str | None
    n_steps_an_epoch: int
    layers: PrunableLayers
    settings: Mapping[str, Any]
    progress: Progress = field(repr=False)

    @classmethod
    def of(
        cls, estimator: Any, rows: Rows, rng: np.random.RandomState, verbose: int, **settings: Any
    ) -> "Recipe":
        """Fit what stands before the network, and look at the network.

        Raises
        ------
        UnsupportedNetworkError
            If there is no training of the network that could be rewound.
        """
        check_rewindable(estimator)
        before, name, last = [], None, clone(estimator)
        if isinstance(last, Pipeline):
            *before, (name, last) = last.steps
            own = {k: v for k, v in rows.params.items() if k.startswith(name + "__")}
            others = {k: v for k, v in rows.params.items() if k not in own}
            X = rows.X
            if before:
                X = Pipeline(before).fit_transform(own_copy(X), rows.y, **others)
            params = {k.removeprefix(name + "__"): v for k, v in own.items()}
            rows = Rows(X, rows.y, params, rows.numbers)
        if not isinstance(last.random_state, (int, np.integer)):
            last.set_params(random_state=int(rng.randint(np.iinfo(np.int32).max)))
        looked_at = Training(clone(last), rows.X, rows.y, dict(rows.params))
        fitting, epoch = looked_at.begin()
        fitting.close()
        n_steps = 0 if epoch is None else len(epoch.batches)
        layers = PrunableLayers.of(looked_at.estimator.module_)
        return cls(last, rows, before, name, n_steps, layers, settings, Progress(verbose))

    @property
    def n_steps(self) -> int:
        """Steps of a training that goes through all epochs."""
        return self.n_steps_an_epoch * int(self.estimator.max_iter)

    def training(
        self,
        *,
        seed: int | None = None,
        numbers: NDArray | None = None,
        order: NDArray | None = None,
        **own: Any,
    ) -> Training:
        """One more training.

        Parameters
        ----------
        seed : int, default=None
            Of other initial weights and another order of the rows; None is the recipe's.
        numbers : ndarray of int, default=None
            Rows to train on, as many as there are.
        order : ndarray of int, default=None
            Of the targets, to shuffle them.
        **own
            Further fields of :class:`~sklflat.training.runs.Training`.
        """
        estimator = clone(self.estimator)
        if seed is not None:
            estimator = with_fresh_weights(estimator.set_params(random_state=seed), seed)
        rows = self.rows
        if order is not None:
            rows = replace(rows, y=rows.y[order])
        if numbers is not None:
            rows = rows.take(numbers)  # each with the target that it was given
        return Training(estimator, rows.X, rows.y, dict(rows.params), **own)

    def run(self, trainings: Sequence[Training], are_copies: bool = True) -> None:
        """Train, as one stack where that is possible; what failed has its ``error``.

        Parameters
        ----------
        trainings : sequence of Training
        are_copies : bool, default=True
            Whether they may end without convergence: what the parent says of itself is enough.

        Raises
        ------
        RuntimeError
            If a weight that is masked has come back.
        """
        begun = time.perf_counter()
        with warnings.catch_warnings():
            if are_copies:
                warnings.simplefilter("ignore", ConvergenceWarning)
            for _ in train(trainings, **self.settings):
                pass
        self._count(trainings, time.perf_counter() - begun)
        for training in trainings:
            if training.mask is None or training.error is not None:
                continue
            if weights_of(training)[~training.mask].any():
                raise RuntimeError("A weight that was pruned is not 0 after training.")

    def _count(self, trainings: Sequence[Training], seconds: float) -> None:
        """Let the bar know what was trained; what was kept or failed says nothing of times."""
        new = [t for t in trainings if t.error is None and t.why_alone != "it was kept"]
        if len(new) < len(trainings):
            self.progress.skipped()
        elif new:
            self.progress.ran(Stack(len(new), max(map(n_trained, new))), seconds)

    def fitted(self, training: Training) -> Any:
        """What a user may predict with: the trained estimator, after what stands before it."""
        if self.name is None:
            return training.estimator
        return Pipeline([*self.before, (self.name, training.estimator)])

    def some(self, most: int) -> NDArray:
        """Numbers of at most so many rows, evenly spread, none of weight 0."""
        return some_of(self.rows, most)

    def transformed(self, X: Any) -> Any:
        """Rows of the data, as the last estimator takes them."""
        X = own_copy(X) if self.before else X
        for _, step in self.before:
            X = X if step is None or step == "passthrough" else step.transform(X)
        return X

    def inputs(self, numbers: NDArray) -> Any:
        """Rows as the last estimator takes them."""
        return safe_indexing(self.rows.X, numbers)


def some_of(rows: Rows, most: int) -> NDArray:
    """Numbers of at most so many rows, evenly spread, none of weight 0."""
    usable = np.arange(len(rows)) if rows.weight is None else np.flatnonzero(rows.weight > 0)
    return usable[np.linspace(0, len(usable) - 1, min(most, len(usable))).round().astype(int)]


def split_in_three(
    rows: Rows, holdout: float | None, by_class: bool, rng: np.random.RandomState
) -> tuple[Rows, Rows, Rows]:
    """Rows to train on, to match units on, and to score them on."""
    fitted, scored = split_rows(rows, holdout, by_class, rng, together=False)
    if holdout is not None:
        return fitted, fitted, scored
    match, score = split_halves(len(rows), rng)
    return fitted, rows.take(match), rows.take(score)


def trained_parent(recipe: Recipe, states_at: Sequence[int]) -> Training:
    """A training that keeps its state at some steps, and has not failed."""
    parent = recipe.training(states_at=tuple(states_at))
    recipe.run([parent], are_copies=False)
    if parent.error is not None:
        raise parent.error
    return parent


def weights_of(training: Training) -> Tensor:
    """Trained parameters (p,) on the CPU."""
    with torch.no_grad():
        return ParameterVector.of(training.estimator.module_).read().cpu()


def n_trained(training: Training) -> int:
    """Steps that a training has made itself, after those of the state it started from."""
    begun = int(training.estimator.net_.steps_.n_begun)
    return begun if training.start is None else begun - training.start.n_steps


def check_rewindable(estimator: Any) -> None:
    """Raise unless there is a training of a network to rewind.

    Raises
    ------
    UnsupportedNetworkError
        For a network that is frozen or trained by somebody else.
    ValueError
        If nothing would differ between two copies of the training.
    """
    if is_frozen(estimator) or ends_frozen(estimator):
        raise UnsupportedNetworkError(
            "The network is frozen (or pretrained), so there is no training to rewind. Pass an "
            "estimator that is to be trained, such as SAMClassifier()."
        )
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(last, PerturbedEstimator):
        raise UnsupportedNetworkError(
            f"{type(last).__name__} does not train one network whose steps are known. Pass "
            "SAMClassifier or another estimator of this package, alone or as the last step of a "
            "pipeline; of a search, its best_estimator_ cloned."
        )
    if isinstance(last.net, NeuralNet):
        raise UnsupportedNetworkError(
            "A skorch net runs its own epochs, into which there is no way back. Pass its module "
            "instead: SAMClassifier(net=module_class, ...)."
        )
    if not last.shuffle:
        raise ValueError(
            "shuffle=False trains on the same rows in the same order each time, so copies of a "
            "training would not differ. Set shuffle=True."
        )
