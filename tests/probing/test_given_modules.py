"""Modules that somebody else wrote, against a plain loop over the module itself."""

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn
from torch.nn import functional as F

from sklflat import (
    AblationProbe,
    ActivationProbe,
    HessianSpectrum,
    PruningPath,
    SAMClassifier,
    UniversalityProbe,
    from_module,
)
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Parts

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

N = 60
rng = np.random.RandomState(0)
y = np.arange(N) % 3
SEQUENCE = rng.normal(size=(N, 5, 4)).astype(np.float32)
PADDED = np.arange(5)[None] >= rng.randint(1, 6, size=N)[:, None]
IDS = rng.randint(9, size=(N, 4))


class Head(nn.Module):
    """A hidden layer of six units, whose input a subclass makes."""

    def __init__(self, width=4):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.last = nn.Linear(width, 6), nn.Linear(6, 3)
        self.silenced = {}

    def end(self, x):
        h = torch.relu(self.hidden(x))
        for unit, value in self.silenced.items():
            h = torch.where(torch.arange(6) == unit, value, h)
        return self.last(h)


def rises(module, *inputs):
    """The rise of the loss with each unit at its mean, by a loop over the module."""
    module = copy.deepcopy(module).eval()
    seen = []
    handle = module.last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    losses = []
    with torch.no_grad():
        z = module(*inputs)
        handle.remove()
        losses.append(F.cross_entropy(z.double(), torch.as_tensor(y)))
        for unit, mean in enumerate(seen[0].mean(0)):
            module.silenced = {unit: mean}
            losses.append(F.cross_entropy(module(*inputs).double(), torch.as_tensor(y)))
    return np.array([float(loss - losses[0]) for loss in losses[1:]])


# --- masks of truth values ----------------------------------------------------------------------


class Attending(Head):
    """Attention adds a mask of numbers to its logits, and leaves out what one of bools names."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x, mask):
        return self.end(self.attention(x, x, x, key_padding_mask=mask)[0][:, 0])


class Inverting(Head):
    def forward(self, x, mask):
        return self.end((x * (~mask)[..., None]).mean(1))


@pytest.mark.parametrize("kind", [Attending, Inverting])
def test_a_mask_stays_a_mask(kind):
    module, X = kind(), {"x": SEQUENCE, "mask": PADDED}
    inputs = torch.as_tensor(SEQUENCE), torch.as_tensor(PADDED)
    model = from_module(module, classes=[0, 1, 2])
    with torch.no_grad():
        right = module(*inputs).softmax(1)
    np.testing.assert_allclose(model.predict_proba(X), right, atol=1e-6)
    probe = AblationProbe(model, n_null=30, random_state=0).fit(X, y)
    np.testing.assert_allclose(probe.unit_scores_, rises(module, *inputs), atol=1e-6)


def test_a_network_is_trained_with_masks_as_they_are():
    clf = SAMClassifier(net=Inverting, max_iter=2, random_state=0)
    clf.fit({"x": SEQUENCE, "mask": PADDED}, y)
    zeroed = np.where(PADDED[..., None], 9.0, SEQUENCE).astype(np.float32)
    found = clf.predict_proba({"x": zeroed, "mask": PADDED})
    np.testing.assert_allclose(found, clf.predict_proba({"x": SEQUENCE, "mask": PADDED}), atol=1e-6)


def test_truth_values_that_become_numbers_are_named():
    X = {"x": SEQUENCE, "mask": PADDED}
    parts = Parts.of(X)
    again = parts.split(torch.as_tensor(parts.join({"x": SEQUENCE, "mask": PADDED.astype(int)})))
    assert again["mask"].dtype == torch.bool
    np.testing.assert_array_equal(again["mask"], PADDED)
    with pytest.raises(ValueError, match=r"X\['mask'\] was true or false in fit"):
        parts.join({"x": SEQUENCE, "mask": PADDED + 0.5})
    old = Parts(parts.names, parts.shapes, parts.integers)  # as saved before masks were known
    assert old.split(torch.as_tensor(parts.join(X)))["mask"].is_floating_point()


# --- integers that are looked up --------------------------------------------------------------


class OneHot(Head):
    def __init__(self):
        super().__init__(9)

    def forward(self, ids):
        return self.end(F.one_hot(ids, 9).to(self.hidden.weight.dtype).sum(1))


class Indexed(Head):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(9, 4))

    def forward(self, ids):
        return self.end(self.table[ids].mean(1))


class Embedded(Indexed):
    def forward(self, ids):
        return self.end(F.embedding(ids, self.table).mean(1))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("kind", [OneHot, Indexed, Embedded])
def test_integers_stay_integers_where_they_are_looked_up(kind, half):
    module = kind()
    model = from_module(module.half() if half else module, classes=[0, 1, 2])
    probe = AblationProbe(model, n_null=30, random_state=0).fit(IDS, y)
    right = rises(module.float(), torch.as_tensor(IDS))
    np.testing.assert_allclose(probe.unit_scores_, right, atol=1e-6)


@pytest.mark.parametrize("kind", [OneHot, Indexed])
def test_so_do_those_of_a_skorch_net(kind):
    net = NeuralNetClassifier(kind, criterion=nn.CrossEntropyLoss, max_epochs=1, verbose=0)
    net.fit(IDS, y)
    frozen = FrozenEstimator(net)
    probe = AblationProbe(frozen, n_null=30, random_state=0).fit(IDS, y)
    right = rises(net.module_, torch.as_tensor(IDS))
    np.testing.assert_allclose(probe.unit_scores_, right, atol=1e-6)


def test_integers_that_are_numbers_become_numbers():
    class Numbers(Head):
        def forward(self, x):
            return self.end(x)

    model = from_module(Numbers(), classes=[0, 1, 2])
    np.testing.assert_array_equal(model.predict_proba(IDS), model.predict_proba(IDS.astype(float)))


class Padded(Head):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 4, padding_idx=0)

    def forward(self, ids):
        return self.end(self.words(ids).mean(1))


def test_the_row_of_padding_is_a_constant():
    """It has no derivative by intent; that was taken for a wrong one."""
    model = from_module(Padded().double(), classes=[0, 1, 2])
    assert (IDS == 0).any()
    spectrum = HessianSpectrum(model, n_components=2, n_null=30, random_state=0).fit(IDS, y)
    plain = Padded().double()  # without the row, and with the lengths that it counts in
    free = [p for name, p in plain.named_parameters() if not name.startswith("words")]
    rows = plain.words.weight[1:].detach().clone().requires_grad_()
    table = torch.cat([plain.words.weight[:1].detach(), rows])
    z = plain.end(table[torch.as_tensor(IDS)].mean(1))
    loss = F.cross_entropy(z, torch.as_tensor(y))
    by = [*free, rows]
    gradient = torch.autograd.grad(loss, by, create_graph=True)
    flat = torch.cat([g.flatten() for g in gradient])
    H = torch.stack(
        [
            torch.cat([h.flatten() for h in torch.autograd.grad(g, by, retain_graph=True)])
            for g in flat
        ]
    )
    right = torch.linalg.eigvalsh(H).flip(0)[:2]
    np.testing.assert_allclose(spectrum.eigenvalues_, right, rtol=1e-6)
    assert spectrum.eigenvectors_.shape[1] == len(flat) + 4


# --- precision --------------------------------------------------------------------------------


def test_rows_of_a_wrong_shape_leave_the_precision_as_it_is():
    """A half-precision module is run in float32, whatever was asked of it before."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).half()
    model, X = from_module(module, classes=[0, 1, 2]), SEQUENCE[:, 0]
    right = model.predict_proba(X)
    for wrong in (X[:, :3], SEQUENCE[..., :2]):
        with pytest.raises(UnsupportedNetworkError, match="cannot be run on X of shape"):
            model.predict_proba(wrong)
        np.testing.assert_array_equal(model.predict_proba(X), right)


def test_a_cast_in_forward_is_named_without_advice_that_was_followed():
    class Mixed(Head):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4).double()

        def forward(self, x):
            return self.end(torch.relu(self.first(x.double())).float())

    with pytest.raises(UnsupportedNetworkError, match=r"float64.*if it was given; or cast to the"):
        from_module(Mixed(), classes=[0, 1, 2]).predict(SEQUENCE[:, 0])


# --- what has no derivatives ------------------------------------------------------------------


class Decorated(Head):
    @torch.no_grad()
    def forward(self, x):
        return self.end(x)


class Inference(Head):
    def forward(self, x):
        with torch.inference_mode():
            return self.end(x)


def test_what_autograd_does_not_see_is_refused_by_name():
    X = SEQUENCE[:, 0]
    spectrum = HessianSpectrum(from_module(Decorated(), classes=[0, 1, 2]), n_components=1)
    with pytest.raises(UnsupportedNetworkError, match=r"Decorated have no derivatives.*no_grad"):
        spectrum.fit(X, y)
    probe = AblationProbe(from_module(Decorated(), classes=[0, 1, 2]), n_null=30, random_state=0)
    right = rises(Decorated(), torch.as_tensor(X))
    np.testing.assert_allclose(probe.fit(X, y).unit_scores_, right, atol=1e-6)
    for probe in (AblationProbe(), spectrum):
        probe.set_params(estimator=from_module(Inference(), classes=[0, 1, 2]))
        with pytest.raises(UnsupportedNetworkError, match=r"Inference runs in torch\.infer"):
            probe.fit(X, y)


def test_a_compiled_script_predicts_without_a_warning():
    """Copies of its parameters were no leaves, of whose gradients PyTorch warned."""
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    script = torch.jit.script(module)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = from_module(script, classes=[0, 1, 2]).predict_proba(SEQUENCE[:, 0])
    right = from_module(module, classes=[0, 1, 2]).predict_proba(SEQUENCE[:, 0])
    np.testing.assert_allclose(found, right, atol=1e-6)


# --- rows that are sorted inside ----------------------------------------------------------------


class SortedByLength(Head):
    """Sequences in the order of their lengths, as packing them asks for, and outputs put back."""

    def forward(self, x):
        order = (x != 0).any(2).sum(1).argsort(descending=True)
        return self.end(x[order].mean(1))[order.argsort()]


class Packed(Head):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        lengths = (x != 0).any(2).sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
        return self.end(self.recurrent(packed)[1][0])


def test_activations_in_another_order_than_rows_are_refused():
    """Outputs are right, and every score of activations was that of other rows."""
    X = np.where(PADDED[..., None], 0, SEQUENCE).astype(np.float32)
    right = from_module(Packed(), classes=[0, 1, 2])
    probe = ActivationProbe(right, n_units=None, n_null=30, random_state=0).fit(X, y)
    alone = np.concatenate([probe.transform(row) for row in X[:, None]])
    np.testing.assert_allclose(probe.transform(X), alone, atol=1e-6)
    model = from_module(SortedByLength(), classes=[0, 1, 2])
    with torch.no_grad():
        z = SortedByLength()(torch.as_tensor(X)).softmax(1)
    np.testing.assert_allclose(model.predict_proba(X), z, atol=1e-6)
    for probe in (AblationProbe(model), ActivationProbe(model), PruningPath(model)):
        with pytest.raises(UnsupportedNetworkError, match=r"row's activation its own.*order"):
            probe.fit(X, y)
    others = [Packed() for _ in range(2)]
    networks = [from_module(m, classes=[0, 1, 2]) for m in (*others, SortedByLength())]
    with pytest.raises(ValueError, match="row's activation its own"):
        UniversalityProbe(networks, random_state=0).fit(X, y)
