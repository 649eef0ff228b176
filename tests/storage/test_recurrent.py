"""Recurrent layers are saved, and loaded only with weights that belong to their sizes."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sklflat import SAMClassifier, load, save
from sklflat.exceptions import CheckpointError
from sklflat.storage.decoding import decode
from sklflat.storage.objects import encode

LAYERS = [
    lambda: nn.LSTM(3, 4),
    lambda: nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2, batch_first=True, dropout=0.5),
    lambda: nn.GRU(3, 4, 2, bias=False).double(),
    lambda: nn.RNN(3, 4, nonlinearity="relu").eval(),
    lambda: nn.RNN(3, 4),
    lambda: nn.RNNCell(3, 4, nonlinearity="relu"),
    lambda: nn.LSTMCell(3, 4, bias=False),
    lambda: nn.GRUCell(3, 4),
]


class Reader(nn.Module):
    """Classes from a sequence of two numbers."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(1, 4, batch_first=True)
        self.out = nn.Linear(4, 2)

    def forward(self, X):
        return self.out(self.rnn(X[:, :, None])[0][:, -1])


@pytest.mark.parametrize("make", LAYERS)
def test_a_layer_computes_what_it_did(make):
    layer = make()
    again = decode(*encode(layer))
    assert repr(again) == repr(layer)
    assert again.training == layer.training
    dtype = next(layer.parameters()).dtype
    X = torch.ones(2, 5, 3, dtype=dtype) if isinstance(layer, nn.RNNBase) else torch.ones(5, 3)
    torch.manual_seed(0)
    expected, _ = layer(X) if isinstance(layer, nn.RNNBase) else (layer(X), 0)
    torch.manual_seed(0)
    found, _ = again(X) if isinstance(again, nn.RNNBase) else (again(X), 0)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_a_classifier_of_sequences_goes_through_a_file(tmp_path):
    X = np.random.RandomState(0).rand(40, 2)
    clf = SAMClassifier(net=Reader, max_iter=3, random_state=0).fit(X, X[:, 0] > 0.5)
    save(clf, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="trusted="):
        load(tmp_path / "x.safetensors")
    again = load(tmp_path / "x.safetensors", trusted=[f"{__name__}.Reader"])
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    again.set_params(warm_start=True).fit(X, X[:, 0] > 0.5)


@pytest.mark.parametrize(
    "change",
    [
        *({"input_size": n} for n in (0, 2, -1, 2**31, 2**62, True, 3.0, None)),
        *({"hidden_size": n} for n in (0, 5, 10**9, "4")),
        *({"num_layers": n} for n in (0, 2, 10**6, 2**60)),
        *({"bias": False}, {"bidirectional": True}, {"bidirectional": 1}, {"proj_size": 3}),
        *({"dropout": 2}, {"dropout": "0"}, {"device": "cuda"}, {"mode": "GRU"}, {"dtype": "x"}),
    ],
)
def test_sizes_belong_to_weights(change):
    arrays, info = encode(nn.LSTM(3, 4))
    entry = info["entries"][0]
    entry[2] = [pair for pair in entry[2] if pair[0] not in change] + [
        [key, value] for key, value in change.items()
    ]
    with pytest.raises(CheckpointError):
        decode(arrays, info)


def test_weights_belong_to_sizes():
    arrays, info = encode(nn.LSTM(3, 4))
    names = sorted(arrays)
    for name in names:
        for other in (
            arrays[name][:-1],
            arrays[name][None],
            np.zeros((0, *arrays[name].shape[1:]), np.float32),
            arrays[name].astype(np.float64),
            arrays[name].astype(np.int32),
        ):
            with pytest.raises(CheckpointError):
                decode({**arrays, name: other.copy()}, copy.deepcopy(info))
    for wrong in (
        ["recurrent", "torch.nn.GRU", *info["entries"][0][2:]],
        ["recurrent", "torch.nn.Linear", *info["entries"][0][2:]],
        ["recurrent", "torch.nn.RNNBase", *info["entries"][0][2:]],
        [*info["entries"][0][:3], info["entries"][0][3][::-1], True],
        [*info["entries"][0][:3], info["entries"][0][3][:-1], True],
        [*info["entries"][0][:4], 1],
        ["layer", "torch.nn.LSTM", [], [], [], [], True, []],
    ):
        with pytest.raises(CheckpointError):
            decode(arrays, {"root": {"r": 0}, "entries": [wrong, *info["entries"][1:]]})
