"""skorch's own step, autograd on one vector and the replayed recording give the same numbers."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from skorch.callbacks import Callback
from torch import nn

from sklflat.training.engine.loader import SampleOrder, TensorLoader
from sklflat.training.engine.net import PerturbedNetClassifier
from sklflat.training.perturbations import VARIANTS, FisherSAM
from tests._slow import slow_unless

X, y = load_digits(return_X_y=True)
X, y = torch.tensor(X[:500] / 16), torch.tensor(y[:500])
VARIANT_OBJECTS = {
    "plain": None,
    **{name: cls() for name, cls in VARIANTS.items()},
    "fisher_samples": FisherSAM(fisher="per_sample"),
    "fisher_model": FisherSAM(fisher="model"),
}
OPTIMIZERS = {
    "momentum": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
    "adam": {"optimizer": torch.optim.Adam},
    "adamw": {"optimizer": torch.optim.AdamW, "optimizer__weight_decay": 0.1},
    "rmsprop": {"optimizer": torch.optim.RMSprop},
}


class Listener(Callback):
    """Makes skorch's own step run."""

    def on_batch_end(self, net, **kwargs):
        pass


def layers(norm=False, dropout=0.0):
    return OrderedDict(
        first=nn.Linear(64, 24),
        norm=nn.BatchNorm1d(24) if norm else nn.Identity(),
        relu=nn.ReLU(),
        dropout=nn.Dropout(dropout),
        last=nn.Linear(24, 10),
    )


class Counting(nn.Sequential):
    """The same network with a forward pass of its own, which no recording can stand for."""

    def __init__(self, layers):
        super().__init__(layers)
        self.calls = 0

    def forward(self, X):
        self.calls += 1
        return super().forward(X)


def make_module(counts=False, **options):
    return (Counting if counts else nn.Sequential)(layers(**options))


def train(listen, perturbation, optimizer, weight=None, epochs=3, make=make_module, **module):
    net = PerturbedNetClassifier(
        make,
        **{f"module__{key}": value for key, value in module.items()},
        criterion=nn.CrossEntropyLoss,
        perturbation=perturbation,
        l2=0.01,
        lr=0.01,
        **OPTIMIZERS[optimizer],
        max_epochs=epochs,
        batch_size=64,
        train_split=None,
        verbose=0,
        callbacks=[Listener()] if listen else [],
        iterator_train=TensorLoader,
        iterator_train__order=SampleOrder(len(X), np.random.RandomState(0)),
    ).initialize()
    net.module_.double()
    data = X if weight is None else {"X": X, "sample_weight": weight}
    return net.partial_fit(data, y)


def assert_same(a, b):
    for name, value in a.module_.state_dict().items():
        torch.testing.assert_close(value, b.module_.state_dict()[name], rtol=0, atol=1e-12)
    np.testing.assert_allclose(a.history[:, "train_loss"], b.history[:, "train_loss"], rtol=1e-12)
    assert a.steps_.n_gradient_evaluations == b.steps_.n_gradient_evaluations
    for state in ("momentum_buffer", "exp_avg_sq", "step"):
        for p, q in zip(a.module_.parameters(), b.module_.parameters(), strict=True):
            if state in a.optimizer_.state[p]:
                states = a.optimizer_.state[p][state], b.optimizer_.state[q][state]
                torch.testing.assert_close(*states, rtol=0, atol=1e-12)


MODULES = [{}, {"dropout": 0.3}, {"norm": True, "dropout": 0.3}]
# per-sample gradients do not exist under batch normalisation, see test_bad_input
CASES = [
    (v, m, optimizer)
    for optimizer in ("momentum", "adam", "adamw")
    for v in VARIANT_OBJECTS
    for m in MODULES
    if not ("fisher_" in v and "norm" in m)
]


def _is_quick(variant, module, optimizer):
    """Every variant and module with one optimizer, every optimizer with two variants."""
    return optimizer == "momentum" or variant in ("plain", "sam")


@pytest.mark.parametrize(("variant", "module", "optimizer"), slow_unless(_is_quick, CASES), ids=str)
def test_three_paths_agree(variant, module, optimizer):
    perturbation = VARIANT_OBJECTS[variant]
    weight = torch.linspace(0.5, 2.0, len(X), dtype=X.dtype) if module.get("norm") else None
    slow = train(True, perturbation, optimizer, weight, **module)
    replayed = train(False, perturbation, optimizer, weight, **module)
    autograd = train(False, perturbation, optimizer, weight, **module, counts=True)
    assert "listens" in slow.fast_path_
    assert replayed.fast_path_ == "vector"
    assert replayed._engine.replays.why_not is None
    assert len(replayed._engine.replays._replays) == 2  # the full and the last batch
    assert "Counting.forward" in autograd._engine.replays.why_not
    assert_same(slow, replayed)
    assert_same(slow, autograd)


class SometimesUnused(nn.Module):
    """Leaves a layer out in every fifth call."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 24), nn.Linear(24, 10)
        self.calls = 0

    def forward(self, X):
        self.calls += 1
        hidden = self.first(X) if self.calls % 5 else X[:, :24]
        return self.last(torch.relu(hidden))


def test_hand_over_in_mid_epoch():
    """From the batch on that leaves a parameter out, skorch's own step runs."""
    net = train(False, None, "momentum", epochs=1, make=SometimesUnused)
    assert net.fast_path_ == "some parameters are not used in every batch"
    assert net.history[-1, "train_batch_count"] == net.steps_.n_gradient_evaluations == 8
    assert net.module_.calls == 9  # the batch that could not be treated came a second time
    sizes = [row["train_batch_size"] for row in net.history[-1, "batches"]]
    assert sizes == [256, 64, 64, 64, 52]  # four on the vector, counted as one


def test_optimisers_that_need_single_parameters_use_skorchs_step():
    net = train(False, VARIANT_OBJECTS["sam"], "rmsprop", epochs=1)
    assert net.fast_path_ == "optimizer RMSprop needs single parameters"
    assert net.steps_.n_gradient_evaluations == 16


S, K = 24, 5  # 3 epochs of 8 batches


@pytest.mark.parametrize("listen", [False, True])
@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        *[(v, 2 * S) for v in ("sam", "asam", "gsam", "fisher", "friendly")],
        ("looksam", S + -(-S // K)),
        ("momentum", S),
        ("plain", S),
    ],
)
def test_gradient_evaluations(variant, expected, listen):
    """Counted by the module's own forward passes, and as reported where those are replayed."""
    variant = VARIANT_OBJECTS[variant]
    net = train(listen, variant, "momentum", counts=True)
    assert net.module_.calls == net.steps_.n_gradient_evaluations == expected
    assert train(listen, variant, "momentum").steps_.n_gradient_evaluations == expected
    if variant is not None:
        net = train(listen, type(variant)(rho=0.0), "momentum", counts=True)
        assert net.module_.calls == S


def test_rho_zero_is_the_base_optimiser():
    plain = train(False, None, "momentum", norm=True, dropout=0.2)
    for name, cls in VARIANTS.items():
        assert_same(plain, train(name == "sam", cls(rho=0.0), "momentum", norm=True, dropout=0.2))
