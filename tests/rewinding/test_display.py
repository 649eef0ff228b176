"""BasinDisplay draws what the rewinder found."""

import warnings

import numpy as np
import pytest

from sklflat import BasinDisplay, BasinRewinder
from tests._estimators import IRIS, SPECIES
from tests.rewinding.test_rewinder import NET, QUICK

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def probe():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BasinRewinder(NET, **{**QUICK, "n_copies": 3}).fit(IRIS, SPECIES)


def test_all_pictures(probe):
    display = BasinDisplay.from_estimator(probe)
    rounds, epochs, onset, units = display.axes_
    table = probe.rounds_
    ticket = next(line for line in rounds.lines if line.get_label() == "ticket")
    own = table[table.network == "ticket"].sort_values("remaining")
    np.testing.assert_allclose(ticket.get_xdata(), 100 * own.remaining)
    np.testing.assert_allclose(ticket.get_ydata(), own.score)
    assert "epochs" in epochs.get_ylabel()
    labels = onset.get_legend_handles_labels()[1]
    assert {"stability_tol", "onset: step 0"} <= set(labels)
    assert onset.get_title() == "in its basin from the start"
    best = probe.unit_names_[np.argmax(np.where(probe.dead_, -1, probe.unit_scores_))]
    assert best in units.texts[0].get_text()
    plt.close(display.figure_)


def test_bad_axes(probe):
    figure, axes = plt.subplots(1, 2)
    with pytest.raises(ValueError, match="axes must be 4 in number, got 2"):
        BasinDisplay.from_estimator(probe, axes=axes)
    plt.close(figure)
