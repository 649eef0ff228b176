"""Layers with any setting that a file may give them compute, or raise; the process lives on."""

import os
import signal

import pytest
import torch
from torch import nn

from sklflat.exceptions import CheckpointError
from sklflat.storage.decoding import decode
from sklflat.storage.objects import encode

IMAGE, LINE, ROW = torch.ones(2, 4, 9, 9), torch.ones(2, 4, 9), torch.ones(2, 4)
LAYERS = [
    *((nn.Conv1d(4, 4, 3), LINE), (nn.Conv2d(4, 4, 3), IMAGE), (nn.GroupNorm(2, 4), LINE)),
    *((nn.ConvTranspose2d(4, 4, 3), IMAGE), (nn.MaxPool1d(2), LINE), (nn.AvgPool2d(2), IMAGE)),
    *((nn.FractionalMaxPool2d(2, output_size=3), IMAGE), (nn.LPPool2d(2, 2), IMAGE)),
    *((nn.AdaptiveAvgPool2d(3), IMAGE), (nn.PixelShuffle(2), IMAGE), (nn.Unfold(2), IMAGE)),
    *((nn.Fold(3, 2), torch.ones(1, 4, 4)), (nn.ChannelShuffle(2), IMAGE), (nn.PReLU(4), ROW)),
    *((nn.ReflectionPad2d(1), IMAGE), (nn.Upsample(size=4), IMAGE), (nn.LayerNorm(4), ROW)),
    *((nn.Embedding(5, 3), torch.tensor([1, 4])), (nn.LocalResponseNorm(2), IMAGE)),
    *((nn.EmbeddingBag(5, 3, mode="max"), torch.tensor([[1, 4]])), (nn.Unflatten(1, (2, 2)), ROW)),
]
EXTREMES = [
    *(0, -1, 7, 2**20, 2**31 - 1, 2**31, -(2**31), 2**62, -(2**63), float("nan"), None, (), "x"),
    *((0, 0), (-1, -1), (2**31, 2**31), (2**62, 2**62), (0,) * 4, (-7,) * 4, (2**40,) * 4),
]


def cases():
    fresh = vars(nn.Module())
    for layer, X in LAYERS:
        for key in [key for key in vars(layer) if key not in fresh]:
            yield from ((layer, X, key, value) for value in EXTREMES)


def computes(layer, X, key, value):
    before = vars(layer)[key]
    try:
        vars(layer)[key] = value
        decode(*encode(layer))(X)
    except (Exception, MemoryError):  # anything that Python can catch
        return
    finally:
        vars(layer)[key] = before


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process that may end is a copy")
def test_no_setting_of_a_layer_ends_the_process(tmp_path):
    import resource

    found, progress = list(cases()), tmp_path / "progress"
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
        for k, case in enumerate(found):
            progress.write_text(str(k))
            signal.alarm(60)
            computes(*case)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    layer, _, key, value = found[int(progress.read_text())]
    assert status == 0, f"{layer} with {key}={value!r}"


@pytest.mark.parametrize(
    ("layer", "key", "value"),
    [
        (nn.Fold(3, 2), "padding", 2**31),
        (nn.Fold(3, 2), "padding", (2**31, 2**31)),
        (nn.MaxPool1d(2), "kernel_size", 2**62),
        (nn.FractionalMaxPool2d(2, output_size=3), "kernel_size", -(2**31)),
        (nn.Linear(2, 2), "in_features", 2**62),
    ],
)
def test_numbers_that_overflow_are_refused(layer, key, value):
    vars(layer)[key] = value
    with pytest.raises(CheckpointError, match="out of range"):
        decode(*encode(layer))
