"""The models of the basin that the surrogate is compared with, and what is said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklflat.probing.basin import sample_basin
from sklflat.probing.copies import refuse_copies
from sklflat.probing.decisions import MIN_ROWS
from sklflat.probing.resolve import resolve
from sklflat.surrogate.bisection import (
    BisectionTest,
    attribution_profile,
    bisection_test,
    leaf_profiles,
)
from sklflat.surrogate.degeneracy import (
    DegeneracyTest,
    apart,
    degeneracy_test,
    output_variance,
)
from sklflat.surrogate.fidelity import group_means
from sklflat.surrogate.stability import has_splits
from sklflat.surrogate.taught import TaughtSample
from sklflat.surrogate.teacher import Answers, answers_of, read_answers

#: of fewer rows, a quarter is too few to bound a rise: one half finds models, a quarter chooses
_MIN_ROWS = 4 * MIN_ROWS
#: held-out rows that attribution looks at
_MAX_ROWS = 500
SAMPLED = "sample_basin"


@dataclass(frozen=True)
class BasinModels:
    """What the models of one source say about the held-out rows.

    Attributes
    ----------
    source : str
    answers : list of Answers
    attributions : ndarray of shape (n_models, n_inputs) or None
        None for networks that read no floating-point numbers.
    """

    source: str
    answers: list[Answers]
    attributions: NDArray | None


def sampled_models(
    sample: TaughtSample, estimator: Any, n_models: int, loss_rise: float
) -> BasinModels:
    """Models around the network's minimum, found and checked on the rows taught on."""
    if len(sample.taught) < _MIN_ROWS:
        return BasinModels(SAMPLED, [], None)
    basin = sample_basin(
        estimator,
        sample.taught.X,
        sample.taught.y,
        n_models=n_models,
        loss_rise=loss_rise,
        groups=sample.taught.groups,
        random_state=sample.rng(5),
    )
    x = sample.X
    answers, profiles = [], []
    for network in basin.networks():
        answers.append(read_answers(sample.trained, network.outputs(x).numpy()))
        if x.is_floating_point():
            profiles.append(attribution_profile(network, x[:_MAX_ROWS]))
    return BasinModels(SAMPLED, answers, np.stack(profiles) if profiles else None)


def given_models(sample: TaughtSample, source: str, estimators: Sequence[Any]) -> BasinModels:
    """Fitted estimators of the same task.

    Raises
    ------
    ValueError
        If there are fewer than two, two are the same one, or one was trained on other targets than
        the network.
    """
    if len(estimators) < 2:
        raise ValueError(
            f"basin_models has {len(estimators)} of {source!r}: give two fitted estimators at "
            "least, as one does not vary."
        )
    answers, profiles = [], []
    for estimator in estimators:
        trained = resolve(estimator)
        said = answers_of(trained, sample.raw)
        _check_same_targets(said, sample.held_out.answers, source)
        answers.append(said)
        x = trained.to_input(sample.raw)
        if x.is_floating_point():
            profiles.append(attribution_profile(trained.network, x[:_MAX_ROWS]))
    outputs = [torch.as_tensor(model.values).float() for model in answers]
    refuse_copies(outputs, f"basin_models of {source!r}: outputs")
    shapes = {profile.shape for profile in profiles}
    whole = len(profiles) == len(answers) and len(shapes) == 1
    return BasinModels(source, answers, np.stack(profiles) if whole else None)


def _check_same_targets(said: Answers, network: Answers, source: str) -> None:
    same = said.values.shape == network.values.shape
    if said.classes is not None and network.classes is not None:
        same = np.array_equal(said.classes, network.classes)
    elif said.classes is not network.classes:
        same = False
    if not same:
        raise ValueError(
            f"A model of basin_models ({source!r}) predicts {said.classes}, but the network "
            f"{network.classes}: give models of the same targets."
        )


def given_sources(basin_models: Any) -> dict[str, Sequence[Any]]:
    """The lists of estimators by the name of their source.

    Parameters
    ----------
    basin_models : None, sequence of estimators, or dict of str to such
    """
    if basin_models is None:
        return {}
    if isinstance(basin_models, Mapping):
        return {str(name): list(models) for name, models in basin_models.items()}
    if isinstance(basin_models, (list, tuple)):
        return {"given": list(basin_models)}
    raise TypeError(
        f"basin_models={basin_models!r} must be None, a list of fitted estimators, or a dict of "
        "names and such lists."
    )


def degeneracy_of(sample: TaughtSample, models: BasinModels) -> DegeneracyTest:
    """The test of degeneracy with the models of one source, on held-out rows of positive weight.

    A group counts as one row, which differs where most of its rows do.
    """
    network = sample.held_out.answers
    shown = sample.weights > 0
    differs, distance = apart(network, sample.surrogate_answers)
    n = len(models.answers)
    variance = output_variance(models.answers) if n > 1 else np.zeros(len(differs))
    if n < 2:
        differs = np.zeros(len(differs), dtype=bool)
    rows = np.column_stack([differs, distance, variance, network.margin])[shown]
    if sample.groups is not None:
        rows = group_means(rows, sample.weights[shown], sample.groups[shown])
    return degeneracy_test(
        rows[:, 0] > 0.5,
        *rows[:, 1:].T,
        source=models.source,
        n_models=n,
        random_state=sample.rng(6),
    )


def leaves_of(sample: TaughtSample) -> NDArray[np.int64]:
    """Leaf (n_samples,) of each held-out row; of students without leaves, the class they give."""
    model = sample.student.model
    if has_splits(model):
        return np.asarray(model.apply(sample.features), dtype=np.int64)
    answers = sample.surrogate_answers
    return answers.codes if answers.classes is not None else np.zeros(len(answers), dtype=np.int64)


def bisection_of(sample: TaughtSample, models: BasinModels) -> BisectionTest:
    """The test of bisection with the models of one source."""
    n = len(models.answers)
    by_surrogate = np.zeros((n, 1))
    if n:
        by_surrogate = leaf_profiles(leaves_of(sample), sample.surrogate_answers, models.answers)
    by_mechanism = np.zeros((n, 1)) if models.attributions is None else models.attributions
    return bisection_test(
        by_surrogate, by_mechanism, models.answers, source=models.source, random_state=sample.rng(7)
    )
