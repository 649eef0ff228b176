"""A network and others for the same task, trained from other seeds or given, on the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sklflat.connectivity.networks import (
    check_all_frozen,
    check_same_input,
    check_same_task,
    train_from_seeds,
)
from sklflat.networks.network import Network, working_precision
from sklflat.networks.units import Units
from sklflat.probing.copies import refuse_copies
from sklflat.probing.dead_units import rounding_of
from sklflat.probing.nulls import seeded
from sklflat.probing.resolve import ends_frozen, resolve, unfitted
from sklflat.probing.sample import Sample
from sklflat.probing.split import Rows
from sklflat.probing.training_set import TrainingSet

#: rows on which units are found, and on which inputs are compared
_N_EXAMPLES, _N_COMPARED = 5, 64
#: further networks at least
MIN_OTHERS = 2


@dataclass(frozen=True, eq=False)
class UnitsOf:
    """The units of one network.

    Parameters
    ----------
    module : torch.nn.Module
    units : Units
    """

    module: nn.Module
    units: Units

    @property
    def rounding(self) -> float:
        """That of its activations, as a share of the largest one."""
        return rounding_of(str(working_precision(self.module)).removeprefix("torch."))

    @classmethod
    def find(cls, module: nn.Module, X: torch.Tensor, layers: Any) -> "UnitsOf":
        """The units of a module in some layers."""
        return cls(module, Units.find(module, X[:_N_EXAMPLES], layers))


@dataclass(frozen=True, eq=False)
class Networks:
    """A network, and others for the same task.

    Parameters
    ----------
    estimators : list of fitted estimators
        The first is the one whose units are scored.
    sample : Sample
        Its units, on the rows that they are scored on.
    others : list of UnitsOf
    n_failed : int
        Trainings that diverged and were left out.
    """

    estimators: list[Any]
    sample: Sample
    others: list[UnitsOf]
    n_failed: int = 0

    @classmethod
    def of(
        cls,
        estimators: list[Any],
        scored: Rows,
        layers: Any,
        training: TrainingSet | None,
        dtype: str | None,
        n_failed: int = 0,
    ) -> "Networks":
        """Open fitted estimators, and check that they are for the same task."""
        scored = scored.with_weight()
        sample = Sample.of(
            estimators[0],
            scored.X,
            scored.y,
            layers=layers,
            weight=scored.weight,
            training=training,
            numbers=scored.numbers,
            groups=scored.groups,
            dtype=dtype,
        )
        sample.trained.numbers(sample.y)  # refuses labels that the network does not know
        few = scored.take(np.arange(min(len(scored), _N_COMPARED))).X
        x = sample.trained.to_input(few)
        others, said = [], [_outputs(sample.network, x)]
        done = [sample.units.activations(sample.network.module, x, len(x))]
        for number, estimator in enumerate(estimators[1:], start=1):
            trained = resolve(estimator, dtype)
            rows = _read(trained, few, number)
            check_same_input(x, rows, number)
            check_same_task(sample.trained, trained, number)
            other = UnitsOf.find(trained.network.module, sample.X, layers)
            if len(rows) > 1:
                other.units.has_independent_rows(other.module, rows).require()
            _check_same_layers(sample.units, other.units, number)
            others.append(other)
            said.append(_outputs(trained.network, rows))
            done.append(other.units.activations(other.module, rows, len(rows)))
        for found, what in ((said, "outputs"), (done, "activations")):
            refuse_copies(found, f"{what} on {len(x)} rows")
        return cls(estimators, sample, others, n_failed)


def _outputs(network: Network, rows: torch.Tensor) -> torch.Tensor:
    """What a network says of rows, in the precision in which it is computed."""
    return network.outputs(rows).to(working_precision(network.module))


def _read(trained: Any, few: Any, number: int) -> torch.Tensor:
    """What a network reads of some rows; its own error is said to be its own."""
    try:
        rows: torch.Tensor = trained.to_input(few)
        trained.network.check_rows(rows)
    except ValueError as error:
        raise ValueError(
            f"Network {number} does not read the inputs of the first: {error}"
        ) from error
    return rows


def _check_same_layers(first: Units, other: Units, number: int) -> None:
    """Raise unless there are as many layers; these may have other numbers of units."""
    if len(first.layers) != len(other.layers):
        names = [[layer.name for layer in units.layers] for units in (first, other)]
        raise ValueError(
            f"Network {number} has the layers {names[1]}, the first has {names[0]}: units are "
            "compared with those of the same layer, so there must be as many. Name some by layers="
            "(...)."
        )


def check_given(estimators: Sequence[Any]) -> None:
    """Raise unless these are enough frozen networks."""
    if len(estimators) <= MIN_OTHERS:
        raise ValueError(
            f"estimator is a list of {len(estimators)} network(s): a network and at least "
            f"{MIN_OTHERS} further ones are needed, from other seeds, to say what comes back."
        )
    check_all_frozen(estimators)


def refuse_alone(estimator: Any) -> None:
    """Raise for a frozen network that has no siblings."""
    raise ValueError(
        f"estimator={type(estimator).__name__}(...) is one frozen network, which cannot be trained "
        "again, so nothing can be said of what comes back. Pass a list of it and at least "
        f"{MIN_OTHERS} frozen networks from other seeds, or an estimator that can be trained. "
        "ActivationProbe(unit_score='class_variance') foretells from one network."
    )


def train_networks(
    estimator: Any,
    n_models: int,
    rows: Rows,
    holdout: float | None,
    layers: Any,
    dtype: str | None,
    n_jobs: int | None,
    settings: Mapping[str, Any],
    rng: np.random.RandomState,
) -> Networks:
    """A network and further ones from seeds of their own, as one stack where that is possible.

    Those that diverge are left out and counted; more than a quarter of them are refused, and so is
    the first.
    """
    if estimator is not None and ends_frozen(estimator):
        refuse_alone(estimator)
    fresh = seeded(unfitted(estimator), rng)
    found = train_from_seeds(
        fresh, n_models + 1, rows, holdout, n_jobs, settings, rng, n_least=MIN_OTHERS
    )
    return Networks.of(
        found.estimators, found.scored, layers, found.training, dtype, found.n_failed
    )
