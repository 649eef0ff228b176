"""Networks of other seeds start from other weights, also where a module instance brings its own."""

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sklflat import BasinRewinder, SAMClassifier, UniversalityProbe
from sklflat.networks import ParameterVector
from sklflat.probing.nulls import reseeded, seeded
from tests._estimators import IRIS, SPECIES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))


def skorch_net(own):
    return NeuralNetClassifier(own, criterion=nn.CrossEntropyLoss, max_epochs=3, lr=0.1)


def nets():
    return {
        "instance": SAMClassifier(net=module(), max_iter=3),
        "skorch instance": SAMClassifier(net=skorch_net(module())),
        "in a pipeline": make_pipeline(StandardScaler(), SAMClassifier(net=module(), max_iter=3)),
    }


def given(estimator):
    net = dict(estimator.get_params())
    net = net.get("samclassifier__net", net.get("net"))
    return getattr(net, "module", net) if isinstance(net, NeuralNetClassifier) else net


@pytest.mark.parametrize("name", nets())
def test_a_reseeded_estimator_has_weights_of_its_own(name):
    first = seeded(nets()[name], np.random.RandomState(0))
    before = ParameterVector.of(given(first)).read()
    others = [reseeded(first, np.random.RandomState(seed)) for seed in (1, 1, 2)]
    drawn = [ParameterVector.of(given(other)).read() for other in others]
    assert torch.equal(ParameterVector.of(given(first)).read(), before)
    assert torch.equal(drawn[0], drawn[1])
    assert abs(np.corrcoef(drawn[0][:24], drawn[2][:24])[0, 1]) < 0.6
    assert abs(np.corrcoef(before[:24], drawn[0][:24])[0, 1]) < 0.6
    assert given(others[0]).training == given(first).training


def test_what_has_no_weights_of_its_own_is_left_alone():
    for own in (None, nn.Linear):
        estimator = SAMClassifier(net=own, random_state=0)
        other = reseeded(estimator, np.random.RandomState(0))
        assert other.net is own
        assert other.random_state == np.random.RandomState(0).randint(2**31 - 1)


def test_units_of_an_instance_come_back_as_those_of_its_class_do():
    def factory(n_features, n_outputs):
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))

    found = [
        UniversalityProbe(
            SAMClassifier(net=net, max_iter=10), n_models=4, n_null=50, n_units=None, random_state=0
        )
        .fit(IRIS, SPECIES)
        .returns_.mean()
        for net in (module(), factory)
    ]
    assert found[0] == pytest.approx(found[1], abs=0.1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_fresh_initialisations_of_an_instance_are_fresh():
    probe = BasinRewinder(
        SAMClassifier(net=module(), max_iter=10, batch_size=20),
        **{"sparsity": 0.3, "n_grid": 2, "n_copies": 2, "n_retrains": 3, "n_units": None},
        random_state=0,
    ).fit(IRIS, SPECIES)
    fresh = next(null for null in probe.nulls_ if null.name == "fresh initialisations")
    assert fresh.draws.mean() < 0.9
