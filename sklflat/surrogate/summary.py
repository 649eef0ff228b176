"""What is kept of a taught sample for people to read: rules and regions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from sklflat.surrogate.coefficients import coefficients, rules_of_coefficients
from sklflat.surrogate.fidelity import Estimate
from sklflat.surrogate.regions import Regions, gain_at_equal_margin, regions_of, who_is_same
from sklflat.surrogate.rules import (
    Rules,
    condition,
    paths_to_leaves,
    rules_of_tree,
    values_asked_for,
)
from sklflat.surrogate.stability import has_splits
from sklflat.surrogate.student import Student, classifies
from sklflat.surrogate.taught import TaughtSample
from sklflat.surrogate.teacher import Answers


def rules_of(sample: TaughtSample) -> Rules | None:
    """The student's rules or coefficients; None where it has neither."""
    student = sample.student
    if has_splits(student.model):
        faithful = 1 - sample.held_out.losses(sample.surrogate_answers)
        said = said_at_nodes(student)
        return rules_of_tree(
            student.model,
            sample.columns,
            sample.features,
            _values(sample),
            faithful,
            said,
            probability_at_nodes(student),
            sample.weights,
        )
    coef = coefficients(student.model, sample.features)
    if coef is None:
        return None
    classes = student.classes
    if classes is not None:  # the network may never have said one of its classes
        classes = getattr(student.model, "classes_", classes)
        if len(coef) != (1 if len(classes) == 2 else len(classes)):
            return None
    return rules_of_coefficients(coef, sample.columns, sample.features, classes)


def _values(sample: TaughtSample) -> dict[int, NDArray]:
    """Values of the features that the student asks for, of all rows, taught on and held out."""
    taught = sample.columns.to_features(sample.codes)
    return values_asked_for(sample.student.model.tree_, np.concatenate([taught, sample.features]))


def said_at_nodes(student: Student) -> NDArray:
    """What a tree predicts at each of its nodes: a label, or numbers."""
    value = student.model.tree_.value
    if student.classes is None:
        return value[:, 0, 0] if value.shape[1] == 1 else value[:, :, 0]
    if classifies(student.model):
        return student.model.classes_[value[:, 0].argmax(axis=1)]
    if value.shape[1] > 1:
        return student.classes[value[:, :, 0].argmax(axis=1)]
    boundary = 0.0 if student.target == "logit" else 0.5
    return student.classes[(value[:, 0, 0] > boundary).astype(int)]


def probability_at_nodes(student: Student) -> NDArray | None:
    """The probability that a tree gives, at each of its nodes, to the label it says there."""
    value = student.model.tree_.value
    if student.classes is None:
        return None
    if classifies(student.model):
        return np.asarray(value[:, 0].max(axis=1) / value[:, 0].sum(axis=1))
    said = value[:, :, 0]
    if student.target == "logit":
        said = softmax(said, axis=1) if said.shape[1] > 1 else expit(said)
    first = np.maximum(said, 1 - said) if said.shape[1] == 1 else said
    return np.asarray(first.max(axis=1).clip(0, 1))


def regions_tables(
    sample: TaughtSample, leaf_of: NDArray, members: Sequence[Answers]
) -> tuple[Regions, Regions, Estimate]:
    """Regions of common agreement, all others, and what the former gain at equal margin."""
    held_out = sample.held_out
    who = who_is_same(held_out.answers, sample.surrogate_answers, members)
    conditions = _conditions(sample)
    common, rest = (
        regions_of(held_out, who, leaf_of, conditions, common=common) for common in (True, False)
    )
    return common, rest, gain_at_equal_margin(held_out, who == 0, sample.rng(8))


def _conditions(sample: TaughtSample) -> dict[int, str]:
    """The rule of each leaf; of a student without leaves, the label it gives."""
    student = sample.student
    if has_splits(student.model):
        paths = paths_to_leaves(student.model.tree_)
        values = _values(sample)
        return {leaf: condition(path, sample.columns, values) for leaf, path in paths.items()}
    if student.classes is None:
        return {0: "always"}
    return {k: f"surrogate says {label}" for k, label in enumerate(student.classes)}
