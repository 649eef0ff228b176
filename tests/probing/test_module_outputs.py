"""What a module's outputs mean: the loss that nobody named, and criteria that do not fit."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklflat import HessianSpectrum, check_network, from_module
from sklflat.exceptions import OutputWidthError, ProbabilitiesWarning

rng = np.random.RandomState(0)
X = rng.normal(size=(120, 4))
y = (X[:, 0] + 0.3 * rng.normal(size=120) > 0).astype(int)


def trained(*end):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        logits = module(torch.as_tensor(X))[:, 0]
        F.binary_cross_entropy_with_logits(logits, torch.as_tensor(y).double()).backward()
        optimizer.step()
    return nn.Sequential(*module, *end)


def top_eigenvalue(model):
    spectrum = HessianSpectrum(model, n_components=1, n_units=None, n_null=8, random_state=0)
    return float(spectrum.fit(X, y).eigenvalues_[0])


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
def test_one_output_of_two_classes_is_a_logit_or_ends_in_a_sigmoid():
    logit = from_module(trained(), criterion=nn.BCEWithLogitsLoss(), classes=["no", "yes"])
    right = top_eigenvalue(from_module(trained(), nn.BCEWithLogitsLoss(), [0, 1]))
    for end in ((), (nn.Sigmoid(),)):
        model = from_module(trained(*end), classes=["no", "yes"])
        np.testing.assert_allclose(model.predict_proba(X), logit.predict_proba(X), atol=1e-12)
        assert model.score(X, np.array(["no", "yes"])[y]) > 0.9
        assert top_eigenvalue(from_module(trained(*end), classes=[0, 1])) == pytest.approx(right)
    turned = from_module(trained(), classes=["yes", "no"])
    np.testing.assert_allclose(turned.predict_proba(X), logit.predict_proba(X)[:, ::-1], atol=1e-12)


def test_criteria_of_logits_say_so_of_probabilities():
    sigmoid = from_module(trained(nn.Sigmoid()), nn.BCEWithLogitsLoss(), [0, 1])
    with pytest.warns(ProbabilitiesWarning, match=r"ends in a sigmoid.*BCELoss\(\), leave criter"):
        sigmoid.predict(X)
    two = nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)).double()
    with pytest.warns(ProbabilitiesWarning, match="ends in a softmax"):
        from_module(two, nn.CrossEntropyLoss(), [0, 1]).predict(X)


def test_a_width_that_was_guessed_wrong_is_said():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(4, 2)
            self.unused = nn.Linear(4, 1)

        def forward(self, X):
            return self.last(X)

    with pytest.raises(OutputWidthError, match=r"BCELoss\(\) after a sigmoid"):
        from_module(Hidden().double(), classes=[0, 1]).predict(X)


@pytest.mark.parametrize(("classes", "share"), [([0, 1], 0.9), ([1, 0], 0.1)])
def test_labels_in_the_wrong_order_show_in_the_accuracy(classes, share):
    checks = check_network(from_module(trained(), classes=classes), X, y)
    said = dict(checks.notes)["Accuracy"]
    assert abs(float(said.split()[0]) - share) < 0.1
    assert "on 120 rows, of which the most frequent class has 0.5" in said
