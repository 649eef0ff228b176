"""What a probe scores units on."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.exceptions import NoUnitsError
from sklflat.networks import Network
from sklflat.networks.checks import require_finite
from sklflat.networks.units import Units
from sklflat.probing.dead_units import dead_units
from sklflat.probing.nulls import is_of_label, untrained_twins
from sklflat.probing.resolve import resolve
from sklflat.probing.time_series import memory
from sklflat.probing.training_set import TrainingSet
from sklflat.training.estimators.trained_network import TrainedNetwork

#: rows on which units are found
_N_EXAMPLES = 5

#: samples that probes have in common; None where every probe opens its own
_SHARED: ContextVar["list[_Opened] | None"] = ContextVar("shared_samples", default=None)


@contextmanager
def shared_samples(estimator: Any = None, sample: "Sample | None" = None) -> Iterator[None]:
    """Within this, samples of one estimator on the very same rows are one object.

    So what several probes read of a frozen network, such as its activations, is computed once.

    Parameters
    ----------
    estimator : estimator, default=None
        Frozen; with ``sample``.
    sample : Sample, default=None
        What every sample of that estimator on the sample's own rows is, whatever its layers,
        weights and precision.
    """
    given = [] if sample is None else [_Opened(estimator, sample.raw, sample.y, None, sample)]
    token = _SHARED.set(given)
    try:
        yield
    finally:
        _SHARED.reset(token)


@dataclass(frozen=True)
class Sample:
    """Units of a trained network, and the data on which they are scored.

    Parameters
    ----------
    trained : TrainedNetwork
    units : Units
    raw : array-like of shape (n_samples, ...)
        The data as the estimator takes them.
    y : ndarray of shape (n_samples, ...)
        Targets as the estimator takes them.
    weight : Tensor of shape (n_samples,) or None
        Sample weights.
    training : TrainingSet or None
        None for a network that cannot be trained again. No row of it is in `raw`, unless the
        probe has ``holdout=None``.
    numbers : ndarray of shape (n_samples,), int, or None
        Which rows these are of the data that the probe was given; None for all of them.
    groups : ndarray of shape (n_samples,), or None
        Rows of one group depend on each other; None for rows that do not.
    in_time : bool
        Whether rows are one series, in the order of time.
    """

    trained: TrainedNetwork
    units: Units
    raw: Any
    y: NDArray
    weight: Tensor | None
    training: TrainingSet | None
    numbers: NDArray | None = None
    groups: NDArray | None = None
    in_time: bool = False

    @classmethod
    def of(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        layers: Any = "hidden",
        weight: Tensor | None = None,
        training: TrainingSet | None = None,
        numbers: NDArray | None = None,
        groups: NDArray | None = None,
        in_time: bool = False,
        may_lack_units: bool = False,
        dtype: str | None = None,
    ) -> "Sample":
        """The units of a fitted estimator, on data.

        Parameters
        ----------
        estimator : estimator
            Fitted: see :func:`~sklflat.probing.resolve`.
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples, ...)
        layers : "hidden" or tuple of str, default="hidden"
        weight : Tensor of shape (n_samples,), default=None
        training : TrainingSet, default=None
        numbers : ndarray of shape (n_samples,), int, default=None
        groups : ndarray of shape (n_samples,), default=None
        in_time : bool, default=False
        may_lack_units : bool, default=False
            Whether a network without hidden units is taken, too.
        dtype : "float32" or "float64", default=None
            Precision in which the network is run; None is the module's own.
        """
        opened, shared = _Opened(estimator, X, y, (layers, dtype, in_time)), _SHARED.get()
        alone = shared is None or training is not None or numbers is not None
        if not alone and weight is None and groups is None:
            for other in shared or ():
                if other.is_same(opened):
                    return cls.extending(other.sample) if cls is not Sample else other.sample
        trained = resolve(estimator, dtype)
        x = trained.to_input(X)
        examples = x[:_N_EXAMPLES]
        # a module may insist on its precision; what is wrong with the input, Units.find says better
        with torch.no_grad(), suppress(Exception):
            trained.network.forward(examples)
        try:
            units = Units.find(trained.network.module, examples, layers)
        except NoUnitsError:
            if not (may_lack_units and layers == "hidden"):
                raise
            units = Units.none(trained.network.module)
        if units.layers and len(x) > 1 and not trained.network.whole_batch:
            units.has_independent_rows(trained.network.module, x).require()
        y = np.asarray(y)
        y = y[:, 0] if y.shape[1:] == (1,) else y
        made = cls(trained, units, X, y, weight, training, numbers, groups, in_time)
        if shared is not None and not alone and weight is None and groups is None:
            opened.sample = made
            _ = made.activations  # what is extended later has them, too
            shared.append(opened)
        return made

    @classmethod
    def extending(cls, sample: "Sample", **more: Any) -> Self:
        """A sample of a subclass, of the same network and rows, with the fields that it adds.

        What has been computed of the network and the rows is not computed again.

        Parameters
        ----------
        sample : Sample
        **more
            Fields of the subclass.
        """
        made = cls(**{f.name: getattr(sample, f.name) for f in fields(Sample)}, **more)
        vars(made).update({name: v for name, v in vars(sample).items() if name not in more})
        return made

    @property
    def network(self) -> Network:
        """The network, with its loss."""
        return self.trained.network

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.X)

    @property
    def dtype(self) -> str:
        """Precision in which the network is run."""
        return str(self.network.dtype).removeprefix("torch.")

    @cached_property
    def X(self) -> Tensor:
        """The network's input."""
        X = self.trained.to_input(self.raw)
        self.network.check_rows(X)
        return X

    @cached_property
    def target(self) -> Tensor:
        """Targets as the criterion takes them."""
        return self.trained.to_target(self.y)

    @cached_property
    def labels(self) -> NDArray:
        """Targets as numbers: see :meth:`TrainedNetwork.numbers`."""
        return self.trained.numbers(self.y)

    @cached_property
    def weight_is_of_label(self) -> bool:
        """Whether the sample weight says nothing but the class, as balancing weights do."""
        return self.weight is not None and is_of_label(self.weight.numpy(), self.labels)

    @cached_property
    def activations(self) -> NDArray:
        """Activations (n_samples, n_units), float64, averaged over positions."""
        A = self.units.activations(self.network.module, self.X, self.network.batch_size)
        return A.double().numpy()

    def batches(self) -> Iterator[tuple[int, NDArray]]:
        """First row, and activations, of parts of the rows: here of all, as all are kept."""
        yield 0, self.activations

    @cached_property
    def weights(self) -> NDArray:
        """Sample weights (n_samples,) that add up to 1."""
        s = np.ones(self.n_samples) if self.weight is None else self.weight.double().numpy()
        return s / s.sum()

    @cached_property
    def n_independent(self) -> float:
        """Independent rows that a series is worth, where units have nothing to do with targets."""
        if not self.in_time:
            return float(self.n_samples)
        y = self.labels
        if self.trained.classes is not None and y.ndim == 1:
            y = y[:, None] == np.unique(y)
        columns = np.asarray(y, dtype=float).reshape(self.n_samples, -1)
        return self.n_samples / memory(self.activations[:, ~self.dead], columns)

    @cached_property
    def means(self) -> NDArray:
        """Weighted means (n_units,) of the activations; what a row of weight 0 does is nothing."""
        seen = self._seen
        return self.weights[seen] @ self.activations[seen]

    @cached_property
    def variances(self) -> NDArray:
        """Weighted variances (n_units,) of the activations."""
        seen = self._seen
        return self.weights[seen] @ np.square(self.activations[seen] - self.means)

    @property
    def _seen(self) -> Any:
        """Selects the rows of positive weight, without a copy where these are all."""
        seen = self.weights > 0
        return slice(None) if seen.all() else seen

    @cached_property
    def dead(self) -> NDArray:
        """Mask (n_units,) of units that do the same for all samples of positive weight."""
        return dead_units(self.activations[self._seen], self.dtype)

    @property
    def scoreless(self) -> NDArray:
        """Mask (n_units,) of units that score 0 whatever chance is: the dead, for most scores."""
        return self.dead

    def _finite_or_not(self) -> NDArray:
        """Numbers (n_samples, ...) that are finite where the activations of a row are."""
        return self.activations

    def require_finite(self, *, outputs: bool) -> None:
        """Raise a ValueError if activations (or outputs) of rows that count are not finite."""
        rows = torch.as_tensor(self.weights > 0)
        values = torch.as_tensor(self._finite_or_not())
        require_finite(self.network.module, values[rows], "activations")
        if outputs:
            require_finite(self.network.module, self.network.outputs(self.X[rows]), "outputs")

    def shuffled_label_twins(
        self, n: int, rng: np.random.RandomState, verbose: int = 0
    ) -> Iterator["Sample"]:
        """Networks trained on shuffled labels, on the same samples as this one."""
        if self.training is None:
            raise ValueError("This network cannot be trained again.")
        names = tuple(layer.name for layer in self.units.layers)
        # units are found anew, as a search may choose other sizes
        for fitted in self.training.train_on_shuffled_labels(n, 1, rng, verbose=verbose):
            yield Sample.of(
                fitted, self.raw, self.y, layers=names, weight=self.weight, dtype=self.dtype
            )

    def untrained_twins(self, n: int, rng: np.random.RandomState) -> Iterator["Sample"]:
        """Networks of fresh random weights."""
        for module in untrained_twins(self.network.module, n, rng):
            twin = replace(self.trained, network=self.network.like(module))
            yield replace(self, trained=twin, training=None)


@dataclass(eq=False)
class _Opened:
    """What a sample is of: an estimator and rows, by identity, and how it is opened; None: any."""

    estimator: Any
    X: Any
    y: Any
    how: tuple[Any, ...] | None
    sample: Any = None

    def is_same(self, other: "_Opened") -> bool:
        same = self.estimator is other.estimator and self.X is other.X and self.y is other.y
        return same and self.how in (None, other.how)


def by_group(groups: NDArray | None, shares: NDArray) -> NDArray:
    """Shares (n, k) of rows in their mean, those of a group as one: (n_groups, k), of equal mean.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.probing.sample import by_group
    >>> by_group(np.array(["a", "a", "b", "b"]), np.array([[1.0], [2.0], [5.0], [8.0]])).ravel()
    array([1.5, 6.5])
    """
    if groups is None:
        return shares
    _, of_group = np.unique(groups, return_inverse=True)
    mean = shares.mean(axis=0)
    sums = np.zeros((of_group.max() + 1, shares.shape[1]))
    np.add.at(sums, of_group, shares - mean)
    return mean + sums * len(sums) / len(shares)
