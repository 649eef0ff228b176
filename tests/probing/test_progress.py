"""Probes of one network show that they go on, where that is asked for."""

import re

import pytest

from sklflat import AblationProbe, ActivationProbe, SAMClassifier
from sklflat.probing import progress
from tests._estimators import IRIS, SPECIES


def fitted(probe_class, capsys, **settings):
    """Fit a probe on iris; return it and the counts of every bar that it has shown."""
    network = SAMClassifier((100,), rho=0, max_iter=3, random_state=0)
    probe = probe_class(network, n_units=1, random_state=0, **settings).fit(IRIS, SPECIES)
    shown = re.findall(rf"{probe_class.__name__}: +100%\|.*?\| (\d+)/", capsys.readouterr().err)
    return probe, [int(n) for n in shown]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("probe_class", "settings", "unit"),
    [
        (AblationProbe, {}, "units"),
        (ActivationProbe, {}, "draws"),
        (ActivationProbe, {"unit_score": "variance", "n_null": 300}, "networks"),
    ],
)
def test_what_is_done_is_counted_in_a_bar(probe_class, settings, unit, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    silent, counts = fitted(probe_class, capsys, **settings)
    assert counts == []
    probe, counts = fitted(probe_class, capsys, verbose=1, **settings)
    n_alive = (~probe.dead_).sum()
    total = {"units": n_alive, "draws": 100, "networks": 300 // n_alive + 1}[unit]
    assert counts
    assert set(counts) == {total}
    assert (probe.unit_scores_ == silent.unit_scores_).all()
    assert (probe.p_values_ == silent.p_values_).all()
    with pytest.raises(ValueError, match="'verbose' parameter"):
        probe_class(verbose="loud").fit(IRIS, SPECIES)
