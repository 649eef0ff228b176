"""Rows that depend on each other count as one: rows repeated as groups are the rows themselves."""

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import TemperatureProbe, from_module
from sklflat.datasets import make_class_tree
from sklflat.temperature.resampled_rows import ResampledRows

X, y, _ = make_class_tree(120, random_state=0)


def network():
    torch.manual_seed(0)
    layers = nn.Linear(X.shape[1], 6), nn.Tanh(), nn.Linear(6, len(np.unique(y)))
    return from_module(nn.Sequential(*layers).double(), classes=np.unique(y))


def fitted(X, y, **params):
    probe = TemperatureProbe(
        network(), temperatures=(0.3, 1, 3), n_bootstrap=6, n_units=None, n_null=50, random_state=0
    )
    return probe.fit(X, y, **params)


@pytest.mark.slow
def test_repeated_rows_with_groups_say_as_much_as_the_rows():
    once = fitted(X, y)
    again = fitted(np.repeat(X, 5, 0), np.repeat(y, 5), groups=np.repeat(np.arange(len(y)), 5))
    for ours, right in zip(again.calibration_.interval, once.calibration_.interval, strict=True):
        assert ours == pytest.approx(right, rel=1e-9)
    assert again.n_rows_of_smallest_class_ == once.n_rows_of_smallest_class_
    np.testing.assert_allclose(again.stability_, once.stability_, rtol=1e-9)
    np.testing.assert_array_equal(again.support_of_branches_, once.support_of_branches_)
    assert again.reproduced_p_value_ == once.reproduced_p_value_
    repeated = fitted(np.repeat(X, 5, 0), np.repeat(y, 5))
    assert np.diff(repeated.calibration_.interval) < 0.6 * np.diff(once.calibration_.interval)


@pytest.mark.slow
def test_rows_of_weight_zero_take_their_groups_along():
    groups = np.arange(len(y)) // 2
    weight = np.ones(len(y))
    weight[::3] = 0
    left = weight > 0
    ours = fitted(X, y, groups=groups, sample_weight=weight)
    right = fitted(X[left], y[left], groups=groups[left])
    np.testing.assert_allclose(ours.stability_, right.stability_)
    assert ours.calibration_.interval == pytest.approx(right.calibration_.interval, rel=1e-9)


def test_groups_are_drawn_whole_and_every_class_is_in_every_draw():
    rng = np.random.RandomState(0)
    group = rng.randint(15, size=90)  # of several classes each
    labels = np.where(rng.rand(90) < 0.7, group % 3, rng.randint(4, size=90))
    labels[:2] = 3  # the largest class of no group
    drawn = ResampledRows.drawn(labels, np.ones(90), 40, rng, group)
    in_fourth = labels == 3
    for g in np.unique(group):
        own = (group == g) & ~in_fourth
        for weights in (drawn.bootstrap, drawn.first, drawn.second):
            assert (np.ptp(weights[:, own], axis=1) == 0).all()
        assert not (drawn.first[:, own] * drawn.second[:, own]).any()
    for weights in (drawn.bootstrap, drawn.first, drawn.second):
        for c in range(4):
            assert weights[:, labels == c].any(axis=1).all()
    right = [len(np.unique(group[labels == c])) for c in range(4)]
    assert drawn.n_independent.tolist() == right
