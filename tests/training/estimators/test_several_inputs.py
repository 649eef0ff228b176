"""Networks of several inputs: a dictionary of arrays does what their joined columns do."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from skorch.helper import SliceDict
from torch import nn
from torch.utils.data import Dataset

from sklflat import (
    AblationProbe,
    ActivationProbe,
    HessianSpectrum,
    SAMClassifier,
    StackedSearchCV,
    check_network,
    from_module,
    load,
    save,
)

rng = np.random.RandomState(0)
AGE, WORDS = rng.randn(90, 3).astype(np.float32), rng.randint(0, 12, (90, 4))
PICTURE = rng.randn(90, 2, 3, 3).astype(np.float32)
LABELS = (AGE[:, 0] + 0.3 * WORDS[:, 0] + PICTURE[:, 0, 0, 0] > 1.5).astype(int)
INPUTS = {"words": WORDS, "picture": PICTURE, "age": AGE}


class Joint(nn.Module):
    """Reads a table, token ids and a picture, in another order than they come."""

    def __init__(self):
        super().__init__()
        self.embedding, self.conv = nn.Embedding(12, 3), nn.Conv2d(2, 2, 2)
        self.hidden, self.last = nn.Linear(3 + 3 + 2, 7), nn.Linear(7, 2)

    def forward(self, age, words, picture):
        seen = torch.relu(self.conv(picture)).mean((2, 3))
        joined = torch.cat([age, self.embedding(words).mean(1), seen], 1)
        return self.last(torch.relu(self.hidden(joined)))


class Columns(Joint):
    """The same of one array."""

    def forward(self, X):
        words, picture, age = X.split([4, 18, 3], 1)
        return super().forward(age, words.long(), picture.reshape(-1, 2, 3, 3))


JOINED = np.hstack([WORDS, PICTURE.reshape(90, -1), AGE]).astype(np.float32)


def skorch_net(module=Joint):
    return NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, max_epochs=4, lr=0.1, train_split=None, verbose=0
    )


class Items(Dataset):
    def __init__(self, y=None):
        self.y = y

    def __len__(self):
        return 90

    def __getitem__(self, i):
        x = {name: torch.as_tensor(part[i]) for name, part in INPUTS.items()}
        return x if self.y is None else (x, self.y[i])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["own", "skorch"])
@pytest.mark.parametrize("given", [INPUTS, SliceDict(**INPUTS), Items()])
def test_training_is_that_on_the_joined_columns(kind, given):
    def make(module):
        if kind == "skorch":
            return SAMClassifier(net=skorch_net(module), random_state=0)
        return SAMClassifier(net=module, max_iter=4, shuffle=False, random_state=0)

    ours, theirs = make(Joint).fit(given, LABELS), make(Columns).fit(JOINED, LABELS)
    np.testing.assert_allclose(
        ours.predict_proba(given),
        theirs.predict_proba(JOINED),
        atol=1e-5 if kind == "own" else 1e-4,
    )
    np.testing.assert_allclose(ours.transform(given), theirs.transform(JOINED), atol=1e-4)
    assert ours.sharpness(given, LABELS) == pytest.approx(
        theirs.sharpness(JOINED, LABELS), rel=1e-3
    )
    if isinstance(given, dict):
        shuffled = {name: given[name] for name in sorted(given)}
        assert np.array_equal(ours.predict(shuffled), ours.predict(given))
        np.testing.assert_allclose(ours.net_.predict_proba(JOINED).shape, (90, 2))


def frozen(kind):
    torch.manual_seed(0)
    module = Joint()
    if kind == "module":
        return from_module(module, classes=[0, 1]), from_module(_as_columns(module), classes=[0, 1])
    net = skorch_net().fit(INPUTS, LABELS)
    twin = skorch_net(Columns).initialize()
    twin.module_.load_state_dict(net.module_.state_dict())
    twin.classes_inferred_ = np.array([0, 1])
    return FrozenEstimator(net), FrozenEstimator(twin)


def _as_columns(module):
    twin = Columns()
    twin.load_state_dict(module.state_dict())
    return twin


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
@pytest.mark.parametrize("kind", ["module", "skorch"])
def test_probes_say_what_they_say_of_the_joined_columns(kind):
    ours, theirs = frozen(kind)
    for probe in (
        ActivationProbe(n_null=20, random_state=0),
        AblationProbe(n_null=20, random_state=0),
        HessianSpectrum(n_components=3, random_state=0),
    ):
        a = clone(probe).set_params(estimator=ours).fit(INPUTS, LABELS)
        b = clone(probe).set_params(estimator=theirs).fit(JOINED, LABELS)
        np.testing.assert_allclose(a.unit_scores_, b.unit_scores_, rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(a.transform(INPUTS), b.transform(JOINED), atol=1e-5)
        np.testing.assert_allclose(a.p_values_, b.p_values_)
    assert all(check.passed for check in check_network(ours, INPUTS, LABELS).checks)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_searches_take_slices_and_stacks_are_the_same(tmp_path):
    base = SAMClassifier(net=Joint, max_iter=4, random_state=0)
    grid = {"rho": [0.0, 0.05], "alpha": [1e-4, 1.0]}
    theirs = GridSearchCV(base, grid, cv=3).fit(SliceDict(**INPUTS), LABELS)
    ours = StackedSearchCV(base, grid, cv=3).fit(SliceDict(**INPUTS), LABELS)
    scores = [s.cv_results_["mean_test_score"] for s in (ours, theirs)]
    np.testing.assert_allclose(*scores, atol=1e-6)
    fitted = clone(base).fit(INPUTS, LABELS)
    save(fitted, tmp_path / "fitted.safetensors")
    loaded = load(tmp_path / "fitted.safetensors", trusted=(f"{__name__}.Joint",))
    assert np.array_equal(loaded.predict_proba(INPUTS), fitted.predict_proba(INPUTS))
    copied = copy.deepcopy(fitted)
    assert np.array_equal(copied.predict_proba(INPUTS), fitted.predict_proba(INPUTS))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_inputs_that_do_not_fit_are_named():
    fitted = SAMClassifier(net=Joint, max_iter=2).fit(INPUTS, LABELS)
    for wrong, message in [
        ({"age": AGE, "words": WORDS}, "inputs of shapes"),
        ({**INPUTS, "age": AGE[:, :2]}, "inputs of shapes"),
        ({**INPUTS, "age": AGE[:5]}, "inconsistent numbers of samples"),
        ({**INPUTS, "words": WORDS + 0.5}, "was integers in fit"),
        ({**INPUTS, "words": WORDS + 2**25}, r"above 2\*\*24"),
        ({**INPUTS, "age": np.where(AGE > 2, np.nan, AGE)}, "NaN"),
        ({**INPUTS, "age": AGE.astype(str)}, "have to be numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            fitted.predict(wrong)
    with pytest.raises(ValueError, match="without inputs"):
        SAMClassifier(net=Joint).fit({}, LABELS)
    with pytest.raises(TypeError, match="passed as net="):
        SAMClassifier().fit(INPUTS, LABELS)


@pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning")
@pytest.mark.parametrize("kind", ["module", "skorch"])
def test_cards_say_what_they_say_of_the_joined_columns(kind):
    ours, theirs = frozen(kind)
    a = ActivationProbe(ours, n_null=20, random_state=0).fit(INPUTS, LABELS)
    b = ActivationProbe(theirs, n_null=20, random_state=0).fit(JOINED, LABELS)
    name = a.unit_names_[-1]
    ours_card, theirs_card = a.unit_card(name), b.unit_card(b.unit_names_[-1])
    assert ours_card.top_samples.tolist() == theirs_card.top_samples.tolist()
    assert list(ours_card.inputs.values()) == pytest.approx(list(theirs_card.inputs.values()))
