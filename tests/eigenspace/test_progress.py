"""Long computations show that they go on, where that is asked for."""

import pytest

from sklflat import HessianSpectrum, SAMClassifier
from sklflat.eigenspace import loss_surface
from tests._estimators import IRIS, SPECIES


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_products_are_counted_in_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(loss_surface, "_PATIENCE", 0.0)
    network = SAMClassifier((100,), max_iter=3, random_state=0)
    own = {"n_components": 3, "n_units": 1, "n_null": 50, "random_state": 0}
    HessianSpectrum(network, **own).fit(IRIS, SPECIES)
    assert capsys.readouterr().err == ""
    probe = HessianSpectrum(network, verbose=1, **own).fit(IRIS, SPECIES)
    shown = capsys.readouterr().err.split("\r")[-1]
    assert shown.startswith("HessianSpectrum: ")
    assert shown.split()[2] == "products"
    assert 0 < int(shown.split()[1]) <= probe.n_matvec_
    with pytest.raises(ValueError, match="'verbose' parameter"):
        HessianSpectrum(network, verbose="loud").fit(IRIS, SPECIES)
