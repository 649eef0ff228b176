"""HessianSpectrum: its numbers against dense matrices, and its place among scikit-learn's tools."""

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklflat import HessianSpectrum, SAMClassifier, from_module
from sklflat.curvature import Hessian
from sklflat.eigenspace.optional_parts import PARTS
from sklflat.exceptions import NothingFoundWarning
from sklflat.networks import Network
from tests._probes import random_arrays, random_data, two_layer
from tests.cases import CASES, Case

pytestmark = pytest.mark.filterwarnings("default::sklflat.exceptions.NothingFoundWarning")

X, Y = random_data(0, n=80)
MODULE = two_layer(*random_arrays(0), activation=nn.Tanh)


def frozen(module=MODULE):
    return from_module(module, classes=[0, 1, 2])


def dense(module=MODULE, criterion=None):
    network = Network(module, criterion or nn.CrossEntropyLoss())
    return Hessian(network, torch.as_tensor(X), torch.as_tensor(Y)).dense()


def spectrum_of(estimator=None, **options):
    return HessianSpectrum(estimator or frozen(), **({"random_state": 0} | options))


#: all that a fit may be asked for beside eigenpairs and scores
EVERYTHING = {
    "density": True,
    "trace_method": "hutchinson",
    "spectral_measures": True,
    "proxy_overlap": True,
    "n_clusters": "auto",
    "noise_level": 0.5,
}


@pytest.fixture(scope="session")
def fitted():
    return spectrum_of(n_components=5, **EVERYTHING).fit(X, Y)


def test_spectrum_is_that_of_the_dense_hessian(fitted):
    values, vectors = np.linalg.eigh(dense().numpy())
    np.testing.assert_allclose(fitted.eigenvalues_, values[::-1][:5], rtol=1e-6)
    overlap = np.square(fitted.eigenvectors_ @ vectors[:, -5:]).sum()
    assert overlap == pytest.approx(5, abs=1e-8)
    assert fitted.converged_
    assert (fitted.residuals_ <= 1e-4 * values.max()).all()
    assert fitted.trace_ == pytest.approx(values.sum(), rel=1e-9)
    assert fitted.trace_std_ == 0  # this small a matrix is formed
    assert (
        wasserstein_distance(values, fitted.density_.nodes, v_weights=fitted.density_.weights)
        < 1e-9
    )


#: of 553 parameters, more than a matrix that is formed has
WIDE = Case(lambda: nn.Sequential(nn.Linear(6, 55), nn.Tanh(), nn.Linear(55, 3)), (6,))


@pytest.mark.parametrize("method", ["hutchinson", "hutch++", "xtrace"])
@pytest.mark.parametrize(
    "case", [WIDE, pytest.param(CASES["resnet"], marks=pytest.mark.slow)], ids=["wide", "resnet"]
)
def test_stochastic_trace_and_density(case, method):
    module = case.module()
    images, labels = case.rows(40), np.arange(40) % 3
    spectrum = spectrum_of(frozen(module), n_components=4, trace_method=method, density=True).fit(
        images.numpy(), labels
    )
    operator = Hessian(Network(module, nn.CrossEntropyLoss()), images, torch.as_tensor(labels))
    values = torch.linalg.eigvalsh(operator.dense()).numpy()
    np.testing.assert_allclose(spectrum.eigenvalues_, values[::-1][:4], rtol=1e-6)
    rest = np.sort(np.abs(values))[:-4]  # an indefinite matrix has a trace smaller than its noise
    exact = np.sqrt(2 * np.square(rest).sum() / 8)  # of 8 random vectors
    assert 0 < spectrum.trace_std_ < 2 * exact
    assert abs(spectrum.trace_ - values.sum()) < 3 * spectrum.trace_std_
    density = spectrum.density_
    distance = wasserstein_distance(values, density.nodes, v_weights=density.weights)
    assert distance < 0.01 * values.max()


@pytest.mark.parametrize("name", PARTS)
def test_what_was_not_asked_for_is_absent_and_says_how_to_ask(plain, name):
    assert not hasattr(plain, name)
    parameter = PARTS[name].partition("=")[0]
    assert parameter in plain.get_params()
    with pytest.raises(AttributeError, match=f"fitted without {name}: set {PARTS[name]}"):
        getattr(plain, name)
    with pytest.raises(AttributeError, match=f"no attribute '{name}'"):  # as of any estimator
        getattr(HessianSpectrum(), name)


@pytest.fixture(scope="session")
def plain():
    return spectrum_of(n_components=5).fit(X, Y)


def test_a_default_fit_computes_pairs_alone(plain, fitted):
    # the matrix of 51 parameters is formed by 51 products; two more check the pairs
    assert plain.n_matvec_ == plain.n_iter_ < fitted.n_matvec_
    for name in ("eigenvalues_", "unit_scores_", "p_values_"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(fitted, name))
    assert {"noise_rise", "cluster"}.isdisjoint(plain.to_frame())


def test_one_part_does_not_change_another(fitted):
    alone = spectrum_of(n_components=5, noise_level=0.5).fit(X, Y)
    np.testing.assert_array_equal(alone.noise_rises_, fitted.noise_rises_)
    assert alone.supported_correlation_ == fitted.supported_correlation_


def test_a_second_fit_forgets_what_it_is_not_asked_for():
    spectrum = spectrum_of(n_components=2, trace_method="hutchinson", by_layer=True).fit(X, Y)
    assert hasattr(spectrum, "trace_")
    spectrum.set_params(trace_method=None, by_layer=False).fit(X, Y)
    assert not hasattr(spectrum, "trace_")
    assert not hasattr(spectrum, "layer_eigenvalues_")


def test_loss_and_gradient_are_said(fitted):
    network = Network(MODULE, nn.CrossEntropyLoss())
    loss, gradient = network.loss_and_gradient(
        network.vector.read(), torch.as_tensor(X), torch.as_tensor(Y)
    )
    assert fitted.loss_ == pytest.approx(float(loss))
    assert fitted.gradient_norm_ == pytest.approx(float(gradient.norm()))
    assert fitted.rounding_error_ == 0


def test_criterion_replaces_the_networks_own_loss():
    criterion = nn.CrossEntropyLoss(label_smoothing=0.3)
    spectrum = spectrum_of(n_components=2, criterion=criterion, random_state=0)
    values = np.linalg.eigvalsh(dense(criterion=criterion).numpy())
    np.testing.assert_allclose(spectrum.fit(X, Y).eigenvalues_, values[::-1][:2], rtol=1e-6)


@pytest.mark.parametrize("which", ["smallest", "both"])
def test_other_ends_of_the_spectrum(which):
    spectrum = spectrum_of(n_components=3, which=which, random_state=0).fit(X, Y)
    values = np.linalg.eigvalsh(dense().numpy())[::-1]
    expected = values[-3:] if which == "smallest" else values[[0, 1, -1]]
    np.testing.assert_allclose(spectrum.eigenvalues_, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("operator", ["ggn", "fisher", "gradient_covariance"])
def test_other_operators(operator):
    spectrum = spectrum_of(n_components=3, operator=operator, spectral_measures=True)
    spectrum.fit(X, Y)
    assert (spectrum.eigenvalues_ > 0).all()
    if operator != "gradient_covariance":
        mean = spectrum.spectral_measure_.mean
        u = spectrum.loadings_  # of a top that holds most of the curvature
        assert (mean >= (u**2) @ spectrum.eigenvalues_ - 1e-9).all()


def test_eigenvalues_by_layer():
    spectrum = spectrum_of(n_components=2, by_layer=True, random_state=0).fit(X, Y)
    H = dense().numpy()
    first = np.linalg.eigvalsh(H[:30, :30])[::-1][:2]  # 24 weights and 6 biases
    np.testing.assert_allclose(spectrum.layer_eigenvalues_["0"], first, rtol=1e-6)
    assert set(spectrum.layer_eigenvalues_) == {"0", "2"}


def test_dead_units_are_never_flat():
    W1, b1, W2, b2 = random_arrays(0)
    W1[:, 2], b1[2] = 0, -1
    spectrum = spectrum_of(
        frozen(two_layer(W1, b1, W2, b2)), n_components=3, n_clusters=1, noise_level=0.5
    )
    spectrum.fit(X, Y)
    assert spectrum.dead_[2]
    assert spectrum.unit_scores_[2] == 0
    assert spectrum.p_values_[2] == 1
    assert spectrum.unit_labels_[2] == -1
    assert np.isnan(spectrum.noise_rises_[2])


def test_frozen_layers_have_no_direction():
    module = two_layer(*random_arrays(0))
    module[0].requires_grad_(False)
    spectrum = spectrum_of(frozen(module), n_components=3, noise_level=0.5).fit(X, Y)
    assert (spectrum.unit_scores_ == 0).all()
    assert (spectrum.p_values_ == 1).all()
    assert spectrum.supported_sign_ == 0


def test_frame_names_what_units_do(fitted):
    frame = fitted.to_frame()
    assert {"score", "top_share", "noise_rise", "cluster", "class"} <= set(frame)
    np.testing.assert_allclose(frame["top_share"], 1 - frame["score"], atol=1e-12)
    assert set(frame["class"]) <= {0, 1, 2}


def test_perturb_moves_the_network_by_that_much(fitted):
    moved = fitted.perturb(0, 0.5)
    w = [
        np.concatenate([p.detach().numpy().ravel() for p in m.parameters()])
        for m in (moved.module, MODULE)
    ]
    np.testing.assert_allclose(w[0] - w[1], 0.5 * fitted.eigenvectors_[0], atol=1e-12)
    for direction in ("top", "complement", np.ones(w[0].shape)):
        other = fitted.perturb(direction, 0.1, seed=1).module
        step = np.concatenate([p.detach().numpy().ravel() for p in other.parameters()]) - w[1]
        assert np.linalg.norm(step) == pytest.approx(0.1)
        inside = np.linalg.norm(fitted.eigenvectors_ @ step)
        if isinstance(direction, str):
            assert inside == pytest.approx(0.1 if direction == "top" else 0, abs=1e-12)
    assert moved.predict(X).shape == Y.shape


def network_of(estimator):
    return Network(estimator.module, nn.CrossEntropyLoss())


def test_complement_costs_less_than_the_top(fitted):
    network = Network(MODULE, nn.CrossEntropyLoss())
    clean = float(network.loss(torch.as_tensor(X), torch.as_tensor(Y)))
    rises = []
    for direction in ("top", "complement"):
        losses = [
            network_of(fitted.perturb(direction, scale)).loss(
                torch.as_tensor(X), torch.as_tensor(Y)
            )
            for scale in (0.5, -0.5)  # the gradient is not zero here
        ]
        rises.append(float(sum(losses)) / 2 - clean)
    assert rises[0] > rises[1]


def test_same_seed_same_numbers_and_global_state_untouched():
    state = torch.get_rng_state()
    a, b = (
        HessianSpectrum(SAMClassifier((6,), max_iter=20), n_components=3, random_state=3).fit(X, Y)
        for _ in range(2)
    )
    np.testing.assert_array_equal(a.eigenvalues_, b.eigenvalues_)
    np.testing.assert_array_equal(a.p_values_, b.p_values_)
    assert (torch.get_rng_state() == state).all()


def test_pickled_it_still_transforms(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    assert clone(fitted).n_components == 5


def test_in_a_pipeline_under_a_search():
    pipeline = make_pipeline(
        HessianSpectrum(SAMClassifier((6,), max_iter=20), n_components=2, random_state=0),
        StandardScaler(),
        SAMClassifier((4,), max_iter=20, random_state=0),
    ).set_output(transform="pandas")
    grid = {"hessianspectrum__n_units": [2, None], "hessianspectrum__estimator__rho": [0.1]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, Y)
    assert search.best_score_ > 0.4


def test_not_converged_is_said():
    module = CASES["resnet"].module()
    images = CASES["resnet"].rows(20).numpy()
    spectrum = spectrum_of(frozen(module), n_components=8, max_iter=9, random_state=0)
    with pytest.warns(ConvergenceWarning, match="eigenpairs are not certified to tol=0.0001"):
        spectrum.fit(images, np.arange(20) % 3)
    assert not spectrum.converged_
    assert len(spectrum.eigenvalues_) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 10_000}, "10000 pairs are asked for, but the matrix has 51 rows"),
        ({"n_components": 0}, "'n_components' parameter of HessianSpectrum must be"),
        ({"batch_size": 81}, "batch_size=81 is more than the 80 samples"),
        ({"memory_budget": 1000}, "memory_budget=1000 bytes is too small for n_components=10"),
        ({"operator": "hesian"}, "'operator' parameter of HessianSpectrum must be"),
        ({"n_clusters": "many"}, "'n_clusters' parameter of HessianSpectrum must be"),
        ({"density": "yes"}, "'density' parameter of HessianSpectrum must be"),
        ({"trace_method": "hutch"}, "'trace_method' parameter of HessianSpectrum must be"),
        ({"tol": 0.0}, "'tol' parameter of HessianSpectrum must be"),
        ({"layers": "nowhere"}, "there is no hidden layer 'nowhere'"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        spectrum_of(random_state=0, **options).fit(X, Y)


def test_bad_points():
    module = two_layer(*random_arrays(0))
    with torch.no_grad():
        module[2].weight.fill_(np.inf)
    with pytest.raises(ValueError, match="curvature needs finite ones"):
        HessianSpectrum(frozen(module)).fit(X, Y)
    module = two_layer(*random_arrays(0)).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter with requires_grad=True"):
        HessianSpectrum(frozen(module)).fit(X, Y)


def test_bad_directions(fitted):
    for direction, message in (
        (5, "there are 5 eigenvectors"),
        ("up", "must be a number, 'top', 'complement' or an array"),
        (np.ones(3), r"of shape \(51,\), got shape \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted.perturb(direction, 1.0)


def test_nothing_found_is_said():
    spectrum = spectrum_of(unit_score="curvature", n_null=100, random_state=0)
    rng = np.random.RandomState(0)
    with pytest.warns(NothingFoundWarning, match="No unit scores above 0"):
        spectrum.fit(rng.normal(size=(60, 4)), rng.randint(3, size=60))
