"""Curvature needs no units: linear and recurrent networks have a spectrum."""

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import ActivationProbe, HessianSpectrum, SpectrumDisplay, from_module
from sklflat.exceptions import NoUnitsError

X = np.random.RandomState(0).normal(size=(60, 4))
y = X[:, :3].argmax(1)


class Cell(nn.Module):
    """What runs inside of a cell cannot be seen."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.last = nn.GRUCell(4, 5), nn.Linear(5, 3)

    def forward(self, X):
        return self.last(self.cell(X))


def dense_hessian(module):
    module = module.double()
    names = [n for n, _ in module.named_parameters()]
    parts = [p.detach().flatten() for p in module.parameters()]
    sizes = [len(p) for p in parts]

    def loss(w):
        own = {
            n: v.view_as(p)
            for n, v, p in zip(names, w.split(sizes), module.parameters(), strict=True)
        }
        z = torch.func.functional_call(module, own, (torch.as_tensor(X),))
        return nn.functional.cross_entropy(z, torch.as_tensor(y))

    return torch.autograd.functional.hessian(loss, torch.cat(parts)).numpy()


@pytest.mark.parametrize("by_layer", [False, True])
@pytest.mark.parametrize("unit_score", ["flat_alignment", "curvature", "response"])
def test_a_linear_model_has_a_spectrum(unit_score, by_layer):
    torch.manual_seed(0)
    module = nn.Linear(4, 3)
    probe = HessianSpectrum(
        from_module(module, classes=[0, 1, 2]),
        n_components=3,
        unit_score=unit_score,
        by_layer=by_layer,
        trace_method="hutchinson",
        n_clusters="auto",
        noise_level=0.5,
        random_state=0,
    ).fit(X, y)
    H = dense_hessian(module)
    np.testing.assert_allclose(probe.eigenvalues_, np.linalg.eigvalsh(H)[::-1][:3], rtol=1e-4)
    assert probe.trace_ == pytest.approx(np.trace(H), rel=1e-6)
    assert probe.unit_labels_.shape == probe.noise_rises_.shape == (0,)
    assert probe.supported_correlation_ is None
    assert probe.supported_sign_ == 0
    assert probe.loadings_.shape == (0, 3)
    assert probe.unit_scores_.shape == probe.support_.shape == (0,)
    assert list(probe.get_feature_names_out()) == []
    assert len(probe.to_frame()) == 0
    with pytest.raises(NoUnitsError, match="no hidden units"):
        probe.transform(X)


def test_a_recurrent_cell_has_a_spectrum():
    module = Cell()
    probe = HessianSpectrum(from_module(module, classes=[0, 1, 2]), n_components=2).fit(X, y)
    np.testing.assert_allclose(
        probe.eigenvalues_, np.linalg.eigvalsh(dense_hessian(module))[::-1][:2], rtol=1e-3
    )
    with pytest.raises(NoUnitsError, match="recurrent"):
        ActivationProbe(from_module(module, classes=[0, 1, 2])).fit(X, y)


def test_a_layer_that_is_asked_for_has_to_be_there():
    probe = HessianSpectrum(from_module(nn.Linear(4, 3), classes=[0, 1, 2]), layers=["relu"])
    with pytest.raises(NoUnitsError):
        probe.fit(X, y)


def test_the_picture_of_a_network_without_units_says_so():
    pytest.importorskip("matplotlib")
    torch.manual_seed(0)
    frozen = from_module(nn.Linear(4, 3), classes=[0, 1, 2])
    display = SpectrumDisplay.from_estimator(HessianSpectrum(frozen, n_components=2).fit(X, y))
    assert [text.get_text() for text in display.axes_[2].texts] == ["no hidden units"]
