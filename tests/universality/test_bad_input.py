"""UniversalityProbe: bad input is refused or counted, and the message says what to do."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklflat import SAMClassifier, UniversalityProbe, from_module
from sklflat.exceptions import DivergenceError, DivergenceWarning, UniversalityWarning
from sklflat.probing.nulls import reseeded, seeded
from sklflat.probing.split import Rows, split_rows
from tests._probes import random_arrays, two_layer

X, Y = load_digits(return_X_y=True)
X, Y = X[:300] / 16, Y[:300]
SMALL = SAMClassifier((12,), rho=0, max_iter=15, random_state=0)
QUICK = {"n_models": 3, "n_untrained": 30, "n_null": 120, "random_state": 0}

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
]


def frozen(seed=0, classes=(0, 1, 2), **options):
    return from_module(two_layer(*random_arrays(seed, **options)), classes=list(classes))


FEW = np.random.RandomState(0).normal(size=(60, 4)), np.arange(60) % 3


def test_fewer_than_two_further_networks():
    with pytest.raises(ValueError, match=r"'n_models' parameter .* in the range \[2, inf\)"):
        UniversalityProbe(SMALL, n_models=1).fit(X, Y)
    with pytest.raises(ValueError, match=r"list of 2 network.*at least 2 further ones"):
        UniversalityProbe([frozen(), frozen(1)]).fit(*FEW)


def test_a_frozen_network_without_siblings():
    for alone in (frozen(), make_pipeline(StandardScaler(), frozen())):
        with pytest.raises(ValueError, match=r"cannot be trained again.*Pass a list"):
            UniversalityProbe(alone).fit(*FEW)


def test_siblings_that_are_not_frozen():
    with pytest.raises(TypeError, match=r"estimator\[1\].*FrozenEstimator"):
        UniversalityProbe([frozen(), SAMClassifier(), frozen()]).fit(*FEW)


def test_siblings_of_other_inputs_classes_and_layers():
    with pytest.raises(ValueError, match="Network 2 does not read the inputs"):
        UniversalityProbe([frozen(), frozen(1), frozen(2, d=5)]).fit(*FEW)
    with pytest.raises(ValueError, match="Network 1 has other targets"):
        UniversalityProbe([frozen(), frozen(1, classes=(2, 1, 0)), frozen(2)]).fit(*FEW)
    with pytest.raises(ValueError, match=r"labels \['u' .* not among"):
        UniversalityProbe([frozen(), frozen(1), frozen(2)]).fit(FEW[0], np.array(["u", "v"] * 30))
    scaled = make_pipeline(StandardScaler().fit(3 * FEW[0]), frozen(1))
    with pytest.raises(ValueError, match="Network 1 reads other inputs"):
        UniversalityProbe([frozen(), FrozenEstimator(scaled), frozen(2)]).fit(*FEW)
    deep = nn.Sequential(
        nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)
    ).double()
    with pytest.raises(ValueError, match="Network 2 has the layers"):
        UniversalityProbe([frozen(), frozen(1), from_module(deep, classes=[0, 1, 2])]).fit(*FEW)


def test_the_same_network_twice_is_refused_by_number():
    with pytest.raises(ValueError, match=r"Networks 0 and 1 are the same one .outputs on 60 rows"):
        UniversalityProbe([frozen()] * 3, **QUICK).fit(*FEW)
    with pytest.raises(ValueError, match="Networks 1 and 3 are the same one"):
        UniversalityProbe([frozen(), frozen(1), frozen(2), frozen(1)], **QUICK).fit(*FEW)
    W1, b1, W2, b2 = random_arrays(1)
    tuned = from_module(two_layer(W1, b1, 2 * W2, b2), classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"Networks 1 and 2 .*activations on 60 rows"):
        UniversalityProbe([frozen(), frozen(1), tuned], **QUICK).fit(*FEW)
    single = from_module(two_layer(W1, b1, W2, b2).float(), classes=[0, 1, 2])
    with pytest.raises(ValueError, match="Networks 1 and 2 are the same one"):
        UniversalityProbe([frozen(), frozen(1), single], **QUICK).fit(*FEW)


def test_a_copy_with_its_units_in_another_order_is_refused_in_any_precision():
    W1, b1, W2, b2 = random_arrays(1)
    order = np.random.RandomState(0).permutation(len(b1))
    made = [two_layer(W1, b1, W2, b2), two_layer(W1[:, order], b1[order], W2[order], b2)]
    for module in made, [m.float() for m in made]:
        copies = [from_module(m, classes=[0, 1, 2]) for m in module]
        with pytest.raises(ValueError, match=r"Networks 1 and 2 .*outputs on 60 rows"):
            UniversalityProbe([frozen(), *copies], **QUICK).fit(*FEW)


@pytest.mark.parametrize("kind", [np.array, iter, tuple])
def test_networks_in_other_containers_than_a_list(kind):
    siblings = [frozen(), frozen(1), frozen(2)]
    if kind is tuple:
        assert UniversalityProbe(kind(siblings), **QUICK).fit(*FEW).returns_.shape == (2, 6)
        return
    with pytest.raises(TypeError, match=r"Several networks.* are given as a list"):
        UniversalityProbe(kind(siblings), **QUICK).fit(*FEW)


def test_activations_whose_squares_are_not_finite():
    with pytest.raises(ValueError, match=r"Network 0 .* as large as .*e\+1.*Scale the inputs"):
        UniversalityProbe([frozen(k) for k in range(3)], **QUICK).fit(1e160 * FEW[0], FEW[1])


def test_a_sibling_that_is_not_finite():
    arrays = random_arrays(1)
    arrays[0][0, 0] = np.nan
    broken = from_module(two_layer(*arrays), classes=[0, 1, 2])
    with pytest.raises(ValueError, match="Network 1 has activations that are not finite"):
        UniversalityProbe([frozen(), broken, frozen(2)], **QUICK).fit(*FEW)


class Diverging(SAMClassifier):
    """Diverges for some seeds."""

    failing: tuple = ()

    def _fitting(self, X, y, **options):
        if self.random_state in type(self).failing:
            raise DivergenceError("The loss is not finite.")
        return super()._fitting(X, y, **options)


def seeds_of(n_models):
    """The seeds that the further networks get."""
    rng = np.random.RandomState(0)
    fresh = seeded(Diverging(random_state=0), rng)
    split_rows(Rows(X, Y, {}), 0.25, True, rng)
    return [reseeded(fresh, rng).random_state for _ in range(n_models)]


def test_networks_that_diverge_are_counted_and_left_out(monkeypatch):
    estimator = Diverging((6,), rho=0, max_iter=3, random_state=0)
    options = QUICK | {"n_models": 4}
    seeds = seeds_of(4)
    monkeypatch.setattr(Diverging, "failing", (seeds[1],))
    with pytest.warns(DivergenceWarning, match="1 of 4 networks from other seeds diverged"):
        found = UniversalityProbe(estimator, **options).fit(X, Y)
    assert (found.n_failed_, len(found.returns_), len(found.estimators_)) == (1, 3, 4)
    monkeypatch.setattr(Diverging, "failing", tuple(seeds[:2]))
    with pytest.raises(DivergenceError, match=r"2 of 4 networks from.*more than a quarter.*Lower"):
        UniversalityProbe(estimator, **options).fit(X, Y)
    monkeypatch.setattr(Diverging, "failing", (0,))
    with pytest.raises(
        DivergenceError, match=r"^The first of 5 networks .* scored, diverged: .*finite"
    ):
        UniversalityProbe(estimator, **options).fit(X, Y)


def test_a_layer_of_one_unit():
    siblings = [frozen(k, h=1) for k in range(3)]
    with pytest.raises(ValueError, match="has one unit, so null='rotation'"):
        UniversalityProbe(siblings, null="rotation").fit(*FEW)
    found = UniversalityProbe(siblings, **QUICK).fit(*FEW)
    assert found.returns_.shape == (2, 1)
    assert np.isnan(found.reliability_.excess)


def test_too_few_rows_say_how_many():
    siblings = [frozen(k) for k in range(3)]
    with pytest.warns(UniversalityWarning, match="12 rows are left .* of 20 that"):
        found = UniversalityProbe(siblings, **QUICK).fit(FEW[0][:12], FEW[1][:12])
    assert (found.p_values_ == 1).all()
    assert (found.unit_scores_ == 0).all()
    with pytest.warns(UniversalityWarning, match="2 rows"):
        UniversalityProbe(siblings, **QUICK).fit(FEW[0][:2], FEW[1][:2])
    with pytest.raises(ValueError, match="null='shuffled_labels' trains"):
        UniversalityProbe(siblings, null="shuffled_labels").fit(*FEW)


@pytest.mark.filterwarnings("default::sklflat.exceptions.NothingFoundWarning")
@pytest.mark.parametrize(
    ("n_units", "selected"), [("auto", "The best unit is"), (2, "greater hol")]
)
def test_few_rows_are_one_cause_and_one_warning(n_units, selected):
    siblings = [frozen(k) for k in range(3)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        UniversalityProbe(siblings, n_units=n_units, **QUICK).fit(FEW[0][:15], FEW[1][:15])
    assert [w.category for w in caught] == [UniversalityWarning]
    assert selected in str(caught[0].message)
