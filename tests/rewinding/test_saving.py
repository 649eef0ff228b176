"""A fitted rewinder is saved as a file that runs no code, and comes back as it was."""

import warnings

import numpy as np
import pytest

import sklflat
from sklflat import BasinDisplay, BasinRewinder
from sklflat.exceptions import CheckpointError
from sklflat.rewinding import Parent, write_masks
from tests._estimators import IRIS, SPECIES
from tests.rewinding.test_rewinder import ONCE, SHORT

plt = pytest.importorskip("matplotlib.pyplot")

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:No unit scores above 0"),
]


def test_a_fitted_rewinder_comes_back(tmp_path):
    own = {**ONCE, "rewind": "auto", "n_grid": 1, "n_copies": 2, "n_controls": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probe = BasinRewinder(SHORT, **own, cache_dir=tmp_path / "kept").fit(IRIS, SPECIES)
    sklflat.save(probe, tmp_path / "probe")
    again = sklflat.load(tmp_path / "probe")
    np.testing.assert_array_equal(again.predict_proba(IRIS), probe.predict_proba(IRIS))
    np.testing.assert_array_equal(again.transform(IRIS), probe.transform(IRIS))
    np.testing.assert_array_equal(again.p_values_, probe.p_values_)
    assert str(again.consistency_["after"]) == str(probe.consistency_["after"])
    assert again.rounds_.equals(probe.rounds_)
    assert again.to_frame().equals(probe.to_frame())
    assert again.onset_curve_.to_frame().equals(probe.onset_curve_.to_frame())
    assert again.cache_dir is None  # a path of another machine
    for first, other in zip(again.estimators_["after"], probe.estimators_["after"], strict=True):
        np.testing.assert_array_equal(first.predict_proba(IRIS), other.predict_proba(IRIS))
    assert write_masks(again.ticket_.module_, again.mask_) is not None
    plt.close(BasinDisplay.from_estimator(again).figure_)
    assert again.fit(IRIS, SPECIES).n_features_in_ == 4


def test_a_parent_is_refused_by_name(tmp_path):
    """It is of trainings under way, which 'cache_dir' keeps; a file of it is not loaded."""
    parent = Parent.train(SHORT, IRIS, SPECIES, steps=(0,), random_state=0)
    sklflat.save(parent.curvature_plateau(), tmp_path / "plateau")
    loaded = sklflat.load(tmp_path / "plateau")
    np.testing.assert_array_equal(loaded.top, parent.curvature_plateau().top)
    sklflat.save(parent, tmp_path / "parent")
    with pytest.raises(CheckpointError, match=r"sklflat\.rewinding\.parent\.Parent"):
        sklflat.load(tmp_path / "parent")
