"""BasinDisplay draws what the rewinder found."""

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sklflat import BasinDisplay, BasinRewinder
from sklflat.rewinding import BasinSize, DoseDisplay, Instability, OnsetCurve
from tests._estimators import IRIS, SPECIES
from tests.rewinding.test_rewinder import NET, QUICK

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def probe():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BasinRewinder(NET, **{**QUICK, "n_rounds": 1, "n_grid": 2}).fit(IRIS, SPECIES)


def test_all_pictures(probe):
    display = BasinDisplay.from_estimator(probe)
    rounds, epochs, onset, units = display.axes_
    table = probe.rounds_
    ticket = next(line for line in rounds.lines if line.get_label() == "ticket")
    own = table[table.network == "ticket"].sort_values("remaining")
    np.testing.assert_allclose(ticket.get_xdata(), 100 * own.remaining)
    np.testing.assert_allclose(ticket.get_ydata(), own.score)
    assert "epochs" in epochs.get_ylabel()
    assert (epochs.get_yticks() % 1 == 0).all()  # whole ones
    labels = onset.get_legend_handles_labels()[1]
    assert {"stability_tol", "onset: step 0"} <= set(labels)
    assert onset.get_title() == "in its basin from the start"
    best = probe.unit_names_[np.argmax(np.where(probe.dead_, -1, probe.unit_scores_))]
    assert best in units.get_title()  # above the bars
    plt.close(display.figure_)


def test_bad_axes(probe):
    figure, axes = plt.subplots(1, 2)
    with pytest.raises(ValueError, match="axes must be 4 in number, got 2"):
        BasinDisplay.from_estimator(probe, axes=axes)
    plt.close(figure)


def test_every_level_of_few_has_a_tick():
    """However many networks were trained at each."""
    levels = np.repeat([1.0, 0.8, 0.64], 20)
    table = pd.DataFrame({"remaining": levels, "network": "ticket", "score": 0.5})
    figure, ax = plt.subplots()
    BasinDisplay(SimpleNamespace(rounds_=table, holdout=None)).plot_rounds(ax)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["100", "80", "64"]
    assert ax.get_ylabel() == "score on rows trained on"
    plt.close(figure)


def looks(values):
    barriers = [np.array([v, v, v]) for v in values]
    return tuple(Instability(k, b, consistency=1 - b[0]) for k, b in enumerate(barriers))


def test_doses_and_sizes():
    curve = OnsetCurve(looks([0.2, 0.1, 0.01]), 0.02, (0, 1, 2), 2)
    sizes = [
        BasinSize(0, (0.1, 0.2), looks([0.3, 0.4]), 0.02),
        BasinSize(1, (0.1, 0.2), looks([0.0, 0.1]), 0.02),
        BasinSize(2, (0.0, 0.1, 0.2), looks([0.0, 0.0, np.nan]), 0.02),
        BasinSize(2, (0.1, 0.2), looks([0.0, 0.0]), 0.02),
    ]
    display = DoseDisplay.from_curve(curve, sizes)
    instability, consistency, size = display.axes_
    np.testing.assert_allclose(instability.containers[0].lines[0].get_ydata(), [20, 10, 1])
    np.testing.assert_allclose(consistency.lines[0].get_ydata(), [0.8, 0.9, 0.99])
    assert "onset: step 2" in consistency.get_legend_handles_labels()[1]
    assert {
        "step 0: not connected",
        "step 1: connected to 0.1",
        "step 2: connected to 0.1",
        "step 2: connected to 0.2 at least",
    } <= set(size.get_legend_handles_labels()[1])
    np.testing.assert_allclose(size.containers[2].lines[0].get_ydata(), [0, 0])  # NaN has no dot
    plt.close(display.figure_)
    plain = DoseDisplay.from_curve(curve)
    assert len(plain.axes_) == 2
    plt.close(plain.figure_)
