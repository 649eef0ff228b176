"""The networks that nulls are made of."""

import warnings

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from sklflat import AblationProbe, ActivationProbe, SAMClassifier, UnitDisplay, from_module
from sklflat.probing.ablated_outputs import _MAX_BYTES, ablation_losses
from sklflat.probing.nulls import Null, untrained_twins
from sklflat.probing.training_set import TrainingSet
from tests._probes import random_arrays, random_data, sample, two_layer

pytestmark = [
    pytest.mark.filterwarnings("default::sklflat.exceptions.NothingFoundWarning"),
    pytest.mark.filterwarnings("default::sklflat.exceptions.RefitWarning"),  # TINY is shared
]

X, Y = random_data(0, n=90)
TINY = SAMClassifier((5,), max_iter=5)


@pytest.mark.parametrize("norm", [weight_norm, spectral_norm])
def test_untrained_twins_of_normalised_weights_are_untrained(norm):
    module = nn.Sequential(norm(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 2))
    twin = next(untrained_twins(module, 1, np.random.RandomState(0)))
    assert not torch.allclose(twin[0].weight, module[0].weight)
    assert not torch.allclose(twin[2].weight, module[2].weight)


def test_a_frozen_network_behind_fitted_steps_is_not_trained_again():
    net = TINY.fit(X, Y)
    probe = ActivationProbe(
        make_pipeline(StandardScaler(), FrozenEstimator(net)),
        unit_score="variance",
        n_null=100,
        random_state=0,
    ).fit(X, Y)
    assert probe.nulls_[0].name == "untrained twins"
    assert len(np.unique(probe.nulls_[0].draws.round(10))) > 50


def test_networks_of_shuffled_labels_are_trained_as_one_stack_and_quietly():
    training = TrainingSet(TINY, X, Y, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # five epochs do not converge, which is nobody's concern
        twins = training.train_on_shuffled_labels(3, 1, np.random.RandomState(0))
    assert [twin.net_.fast_path_ for twin in twins] == ["stacked"] * 3
    assert len({twin.predict_proba(X).tobytes() for twin in twins}) == 3


def test_units_are_compared_with_their_own_layer():
    # the layers' scores differ a hundredfold; within each all is chance
    rng = np.random.RandomState(0)
    of_units, of_draws = np.repeat([0, 1], [4, 60]), np.repeat([0, 1], [400, 6000])
    scale = np.array([100.0, 1.0])
    p = []
    for _ in range(60):
        scores = scale[of_units] * rng.chisquare(3, size=64)
        draws = scale[of_draws] * rng.chisquare(3, size=6400)
        null = Null("chance", draws, matched=False, layers=(of_draws, of_units))
        p.append(null.p_values(scores))
    rates = (np.array(p) <= 0.05).mean(0)
    assert rates[:4].mean() == pytest.approx(0.05, abs=0.03)
    assert rates[4:].mean() == pytest.approx(0.05, abs=0.01)


def test_display_shows_the_range_of_each_layer():
    probe = ActivationProbe(
        SAMClassifier((3, 8), max_iter=5), unit_score="variance", n_null=60, random_state=0
    ).fit(X, Y)
    display = UnitDisplay.from_estimator(probe)
    draws, (of_draws, of_units) = probe.nulls_[0].draws, probe.nulls_[0].layers
    for layer in (0, 1):
        high = np.quantile(draws[of_draws == layer], 0.975)
        np.testing.assert_allclose(display.high[of_units == layer], high)


def test_twins_may_have_other_sizes():
    search = GridSearchCV(TINY, {"hidden_layer_sizes": [(3,), (6,)]}, cv=2)
    probe = ActivationProbe(
        search, unit_score="variance", n_null=40, n_units=2, random_state=0
    ).fit(X, Y)
    assert probe.transform(X).shape == (90, 2)


def test_ablation_of_images_stays_small():
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 32 * 32, 2)
    ).double()
    images = np.random.RandomState(0).normal(size=(40, 1, 32, 32))
    s = sample(module, images, np.arange(40) % 2)
    rows = []
    s.network.module.register_forward_pre_hook(lambda m, inputs: rows.append(len(inputs[0])))
    ablation_losses(s, np.arange(40)[None])
    assert max(rows) * 16 * 32 * 32 * 8 <= max(_MAX_BYTES, 40 * 16 * 32 * 32 * 8)


def test_steps_that_do_nothing():
    pipeline = Pipeline([("nothing", "passthrough"), ("net", TINY)])
    probe = AblationProbe(pipeline, n_units=2, n_null=200, random_state=0).fit(X, Y)
    assert 0 <= probe.restrict(X, Y).score <= 1


def test_sparse_data_can_be_restricted_too():
    data = csr_matrix(np.where(np.abs(X) > 0.5, X, 0))
    probe = AblationProbe(TINY, n_units=2, n_null=200, random_state=0).fit(data, Y)
    assert 0 <= probe.restrict(data, Y).score <= 1


class Stubborn(nn.Module):
    """Insists on single precision."""

    def __init__(self):
        super().__init__()
        self.own = two_layer(*random_arrays(0)).float()

    def forward(self, X):
        return self.own(X.float())


@pytest.mark.parametrize("probe", [AblationProbe, ActivationProbe])
def test_a_module_that_insists_on_its_precision(probe):
    stubborn = from_module(Stubborn(), classes=[0, 1, 2])
    free = from_module(Stubborn().own, classes=[0, 1, 2])
    scores = [probe(f, n_null=200, random_state=0).fit(X, Y).unit_scores_ for f in (stubborn, free)]
    np.testing.assert_allclose(*scores, rtol=1e-3, atol=1e-5)
