"""CurvatureMonitor in a training, and what SpectrumDisplay draws."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from torch import nn

from sklflat import CurvatureMonitor, HessianSpectrum, SAMClassifier, SpectrumDisplay
from sklflat.curvature import Hessian, eigenpairs
from sklflat.networks import Network
from tests._probes import random_data

X, Y = random_data(0, n=120)


def classifier(monitor, **options):
    callbacks = [] if monitor is None else [monitor]
    return SAMClassifier((8,), max_iter=6, tol=0, random_state=0, callbacks=callbacks, **options)


def test_monitor_does_not_change_the_training():
    watched, alone = (classifier(m, dropout=0.2).fit(X, Y) for m in (CurvatureMonitor(), None))
    np.testing.assert_array_equal(watched.coefs_[0], alone.coefs_[0])
    assert watched.net_.fast_path_ == "vector"


def test_monitor_records_the_spectrum_of_the_trained_network():
    monitor = CurvatureMonitor(n_components=3, tol=1e-6, every=2)
    clf = classifier(monitor).fit(X, Y)
    assert monitor.epochs_ == [2, 4, 6]
    network = Network(clf.module_, nn.CrossEntropyLoss())
    H = Hessian(network, torch.as_tensor(X), torch.as_tensor(Y)).dense().numpy()
    values = np.linalg.eigvalsh(H)[::-1]
    np.testing.assert_allclose(monitor.eigenvalues_[-1], values[:3], rtol=1e-6)
    assert clf.net_.history[-1, "lambda_1"] == pytest.approx(values[0], rel=1e-6)
    assert abs(monitor.traces_[-1] - values.sum()) < 4 * monitor.trace_stds_[-1] + 1e-9
    assert all(monitor.converged_)


def test_warm_start_only_where_it_takes_fewer_products():
    digits, labels = load_digits(return_X_y=True)
    monitor = CurvatureMonitor(trace=0)
    SAMClassifier((30,), max_iter=14, tol=0, random_state=0, callbacks=[monitor]).fit(
        digits[:500] / 16, labels[:500]
    )
    n, warm = np.array(monitor.n_matvec_), np.array(monitor.warm_)
    assert {True, False} <= set(warm[:2])
    better = n[:2][warm[:2]][0] < n[:2][~warm[:2]][0]
    assert warm[2] == better


def test_monitor_can_be_cloned_and_used_by_skorch():
    monitor = clone(CurvatureMonitor(n_components=2, max_samples=50))
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    net = NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        max_epochs=2,
        callbacks=[monitor],
        verbose=0,
        train_split=None,
    )
    net.fit(X.astype(np.float32), Y)
    (found,) = [c for _, c in net.callbacks_ if isinstance(c, CurvatureMonitor)]
    rows = np.unique(np.linspace(0, 119, 50).round().astype(int))
    network = Network(net.module_, nn.CrossEntropyLoss())
    operator = Hessian(network, torch.as_tensor(X[rows]), torch.as_tensor(Y[rows]))
    expected = eigenpairs(operator, 2, tol=1e-8).values
    np.testing.assert_allclose(found.eigenvalues_[-1], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"operator": "fisher"}, "operator='fisher' must be one of"), ({"every": 0}, "every=0")],
)
def test_monitor_says_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        classifier(CurvatureMonitor(**options)).fit(X, Y)


def test_display_draws_ladder_density_and_units():
    spectrum = HessianSpectrum(
        classifier(None), n_components=4, n_units=3, density=True, random_state=0
    )
    display = SpectrumDisplay.from_estimator(spectrum.fit(X, Y))
    ladder, density, units = display.axes_
    np.testing.assert_allclose(ladder.lines[0].get_ydata(), spectrum.eigenvalues_)
    assert density.get_yscale() == "log"
    assert density.get_title() == "density"
    assert "certified" in ladder.get_title()
    assert "flat_alignment" in units.get_ylabel()
    plt.close(display.figure_)
    with pytest.raises(ValueError, match="axes must be 3"):
        SpectrumDisplay.from_estimator(spectrum, axes=[None])


def test_display_says_what_a_fit_lacks():
    spectrum = HessianSpectrum(classifier(None), n_components=2, n_units=3, random_state=0)
    display = SpectrumDisplay.from_estimator(spectrum.fit(X, Y))
    assert "density=True" in display.axes_[1].texts[0].get_text()
    plt.close(display.figure_)
