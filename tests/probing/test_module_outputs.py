"""What a module's outputs mean: the loss that nobody named, and criteria that do not fit."""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn
from torch.nn import functional as F

from sklflat import AblationProbe, HessianSpectrum, SAMClassifier, check_network, from_module
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


# --- probabilities that are rounded to 0 and 1 ------------------------------------------------


class Ended(nn.Module):
    """A confident network and what it ends in."""

    def __init__(self, n_outputs, end, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.last = nn.Linear(4, 6), nn.Linear(6, n_outputs)
        self.end = end
        with torch.no_grad():
            self.last.weight *= 200
        self.to(dtype)

    def forward(self, x):
        return self.end(self.last(torch.relu(self.hidden(x))))


def again_and_again(z):
    """The softmax of a gate before that of the outputs."""
    return torch.softmax(z * torch.softmax(z, 1).sum(1, keepdim=True), 1)


ENDS = {
    "softmax": (2, lambda z: z.softmax(1)),
    "functional": (2, lambda z: F.softmax(z, dim=-1)),
    "module": (2, nn.Softmax(dim=1)),
    "temperature": (2, lambda z: torch.softmax(z / 1.0, 1)),
    "two calls": (2, again_and_again),
    "sigmoid": (1, torch.sigmoid),
    "squeezed": (1, lambda z: torch.sigmoid(z).squeeze(1)),
    "after squeeze": (1, lambda z: z.squeeze(1).sigmoid()),
    "in place": (1, lambda z: z.sigmoid_()),
    "by name": (1, lambda z: torch.sigmoid(input=z)),
    "expit": (1, torch.special.expit),
}


OF_ONE = [name for name, (n_outputs, _) in ENDS.items() if n_outputs == 1]


@pytest.mark.parametrize(
    ("name", "criterion"),
    [*((name, None) for name in ENDS), *((name, nn.BCELoss()) for name in OF_ONE)],
)
def test_rounded_probabilities_have_the_logits_before_them(name, criterion):
    """A probability of 0 had the logarithm of the smallest number, and one of 1 a logit of 16."""
    n_outputs, end = ENDS[name]
    module = Ended(n_outputs, end)
    with torch.no_grad():
        p = module(torch.as_tensor(X).float())
    assert ((p == 0) | (p == 1)).any()
    found = from_module(module, criterion, classes=[0, 1])
    right = from_module(Ended(n_outputs, nn.Identity()), classes=[0, 1])
    np.testing.assert_allclose(
        found.decision_function(X), right.decision_function(X), rtol=1e-5, atol=1e-3
    )
    np.testing.assert_allclose(found.predict_proba(X), right.predict_proba(X), atol=1e-6)
    scores = [
        AblationProbe(model, n_null=30, n_units=None, random_state=0).fit(X, y).unit_scores_
        for model in (found, right)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)
    assert top_eigenvalue(found) == pytest.approx(top_eigenvalue(right), rel=1e-3)


@pytest.mark.parametrize("name", ["softmax", "module", "squeezed"])
def test_rounded_probabilities_of_skorch_nets_have_the_logits_before_them(name):
    """Under the criteria that skorch has by default; it takes the logarithm of a softmax itself."""
    n_outputs, end = ENDS[name]
    if n_outputs == 2:
        net = NeuralNetClassifier(Ended(2, end))
    else:
        net = NeuralNetBinaryClassifier(Ended(1, end), criterion=nn.BCELoss)
    net.initialize()
    net.classes_inferred_ = np.array([0, 1])
    net.module_.load_state_dict(Ended(n_outputs, end).state_dict())
    right = from_module(Ended(n_outputs, nn.Identity()), classes=[0, 1])
    settings = {"n_null": 30, "n_units": None, "random_state": 0}
    found, expected = (
        AblationProbe(FrozenEstimator(model), **settings).fit(X.astype("f"), y).unit_scores_
        for model in (net, right)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    top = [
        HessianSpectrum(FrozenEstimator(model), n_components=1, n_null=8, n_units=None)
        .fit(X.astype("f"), y)
        .eigenvalues_[0]
        for model in (net, right)
    ]
    assert top[0] == pytest.approx(top[1], rel=1e-3)


def test_a_network_of_rounded_probabilities_that_is_trained_here_has_logits_too():
    module = Ended(2, ENDS["softmax"][1])
    clf = SAMClassifier(net=module, rho=0, max_iter=1, tol=0, random_state=0)
    clf.fit(X.astype("f"), y)
    with torch.no_grad():
        p = clf.predict_proba(X.astype("f"))
    assert ((p == 0) | (p == 1)).any()
    twin = Ended(2, nn.Identity())
    named = clf.module_.state_dict()
    twin.load_state_dict({name.removeprefix("module."): w for name, w in named.items()})
    scores = [
        AblationProbe(FrozenEstimator(model), n_null=30, n_units=None, random_state=0)
        .fit(X.astype("f"), y)
        .unit_scores_
        for model in (clf, from_module(twin, classes=[0, 1]))
    ]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "end",
    [
        lambda z: z.softmax(1).clamp(1e-7, 1 - 1e-7),
        lambda z: 0.9 * z.softmax(1) + 0.05,
        lambda z: z.softmax(1)[:, [1, 0]],
    ],
)
def test_what_follows_the_last_activation_counts(end):
    model = from_module(Ended(2, end, torch.float64), classes=[0, 1])
    with torch.no_grad():
        right = Ended(2, end, torch.float64)(torch.as_tensor(X))
    np.testing.assert_allclose(model.predict_proba(X), right, atol=1e-7)


def test_a_clip_that_the_first_rows_do_not_reach_counts():
    """Rows of one class come first: a clip at 1 would go unseen, and be one of logits."""
    end = ENDS["sigmoid"][1]
    module = Ended(1, lambda z: end(z).clamp(max=1 - 1e-6), torch.float64)
    with torch.no_grad():
        module.last.weight /= -10
        module.last.bias -= module.last(torch.relu(module.hidden(torch.as_tensor(X)))).median()
        first = np.argsort(module(torch.as_tensor(X))[:, 0].numpy())
        right = module(torch.as_tensor(X[first]))[:, 0]
    assert right[:64].max() < 0.9 < 0.99999 < right.max()
    for criterion in (nn.BCELoss(), None):
        found = from_module(module, criterion, classes=[0, 1]).predict_proba(X[first])[:, 1]
        np.testing.assert_allclose(found, right, atol=1e-9)


class InParts(Ended):
    """Goes through the rows in parts, so that one batch has several last activations."""

    def forward(self, x):
        return torch.cat([super(InParts, self).forward(part) for part in x.split(100)])


def test_a_softmax_of_each_part_of_a_batch_is_of_probabilities():
    """What outputs mean is settled on fewer rows than have two parts."""
    module = InParts(2, ENDS["softmax"][1], torch.float64)
    with torch.no_grad():
        module.last.weight /= 50
        right = module(torch.as_tensor(X))
    model = from_module(module, classes=[0, 1])
    np.testing.assert_allclose(model.predict_proba(X), right, atol=1e-9)
