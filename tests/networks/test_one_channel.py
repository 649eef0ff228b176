"""Copies that differ in one channel each go through a function as if they were there."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sklflat.networks.one_channel import OneChannel
from sklflat.networks.widened_batch import Widening

N, C = 4, 6
CHANNELS = torch.tensor([5, 0, 3])


def copies(*positions, axis=1):
    torch.manual_seed(0)
    shape = [N, *positions]
    shape.insert(axis, C)
    changed = list(shape)
    changed[axis] = len(CHANNELS)
    rows = torch.randn(shape, dtype=torch.float64)
    return OneChannel(rows, torch.randn(changed, dtype=torch.float64), CHANNELS, axis)


def through(module, given):
    """What a module makes of copies, and of the tensor that they are."""
    module = module.double().eval()
    x = given.rows.new_zeros(N)
    with torch.no_grad(), Widening(x, len(CHANNELS)) as widening:
        out = module(widening.stand_in(given))
        stands = isinstance(widening._standing.get(out), OneChannel)
        found = widening.joined(out)
    return found, module(given.joined()), stands


def trained(norm):
    norm.running_mean.normal_()
    norm.running_var.uniform_(1, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


#: module, positions of the copies, and whether channels stay alone
ON_POSITIONS = {
    "relu": (nn.ReLU(), (7,), True),
    "hardtanh": (nn.Hardtanh(-0.3, 0.7), (7,), True),
    "leaky": (nn.LeakyReLU(0.3), (5, 5), True),
    "dropout": (nn.Dropout(0.5), (7,), True),
    "times": (Call(lambda x: 2 * x - 1), (7,), True),
    "right": (Call(lambda x: 1 - x), (7,), True),
    "over": (Call(lambda x: 1 / (x + 3)), (7,), True),
    "power": (Call(lambda x: x**2), (7,), True),
    "clamp": (Call(lambda x: x.clamp(min=0.2)), (7,), True),
    "batch_norm1": (trained(nn.BatchNorm1d(C)), (7,), True),
    "batch_norm2": (trained(nn.BatchNorm2d(C)), (5, 5), True),
    "batch_norm, not affine": (nn.BatchNorm1d(C, affine=False), (7,), True),
    "batch_norm without statistics": (nn.BatchNorm1d(C, track_running_stats=False), (7,), False),
    "max": (nn.MaxPool1d(2), (7,), True),
    "max2": (nn.MaxPool2d(2, ceil_mode=True), (5, 5), True),
    "average": (nn.AvgPool2d(2), (5, 5), True),
    "adaptive": (nn.AdaptiveAvgPool2d(2), (5, 5), True),
    "adaptive max": (nn.AdaptiveMaxPool1d(3), (7,), True),
    "lp": (nn.LPPool2d(2, 2), (5, 5), True),
    "upsample": (nn.Upsample(scale_factor=2), (5, 5), True),
    "pad": (nn.ConstantPad1d((1, 2), 0.7), (7,), True),
    "circular": (nn.CircularPad2d(2), (5, 5), True),
    "pad channels": (Call(lambda x: F.pad(x, (0, 0, 1, 1))), (7,), False),
    "mean": (Call(lambda x: x.mean(2)), (7,), True),
    "mean of positions": (Call(lambda x: x.mean((-1, -2), keepdim=True)), (5, 5), True),
    "mean of channels": (Call(lambda x: x.mean(1, keepdim=True)), (7,), False),
    "mean of all": (Call(lambda x: x + x.mean()), (7,), False),
    "mean, then flat": (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), (5, 5), False),
    "flat": (nn.Flatten(), (7,), False),
    "cast": (Call(lambda x: x.float().double().contiguous()), (7,), True),
    "convolution": (nn.Conv1d(C, 5, 3), (7,), False),
    "strided": (nn.Conv1d(C, 5, 3, stride=2, padding=2, dilation=2, bias=False), (9,), False),
    "same": (nn.Conv2d(C, 5, 3, padding="same", padding_mode="reflect"), (5, 5), False),
    "3d": (nn.Conv3d(C, 2, 2), (3, 3, 3), False),
    "depthwise": (nn.Conv2d(C, C, 3, groups=C), (5, 5), True),
    "two filters for each": (nn.Conv2d(C, 2 * C, 3, groups=C), (5, 5), False),
    "groups": (nn.Conv2d(C, 4, 3, groups=2), (5, 5), False),
    "transposed": (nn.ConvTranspose1d(C, 5, 3), (7,), False),
    "layer_norm": (nn.LayerNorm(7), (7,), False),
    "group_norm": (nn.GroupNorm(2, C), (7,), False),
    "instance_norm": (nn.InstanceNorm1d(C), (7,), False),
    "prelu": (nn.PReLU(C, 0.2), (7,), False),
    "glu": (nn.GLU(1), (7,), False),
    "softmax": (nn.Softmax(1), (7,), False),
    "softmax of positions": (nn.Softmax(2), (7,), False),
    "linear of positions": (nn.Linear(7, 3), (7,), False),
    "weight": (Call(lambda x: x * torch.arange(C).double()[:, None]), (7,), False),
    "cumulated": (Call(lambda x: x.cumsum(1)), (7,), False),
    "other places": (Call(lambda x: x.flip(1)), (7,), False),
    "some": (Call(lambda x: x[:, 2:]), (7,), False),
    "with itself": (Call(lambda x: x + x.relu()), (7,), False),
    "in place": (nn.ReLU(inplace=True), (7,), False),
    "in place, twice": (Call(lambda x: (x.mul_(2), x.add_(1), x)[2].relu()), (7,), False),
    "in place, by an operator": (Call(lambda x: (x.__iadd__(1), x)[1].relu()), (7,), False),
    "in a view": (Call(lambda x: (x[:, 1].mul_(2), x)[1].relu()), (7,), False),
    "by its length": (Call(lambda x: x.relu().view(x.size(0), -1)), (7,), False),
    "in place, of itself": (Call(lambda x: F.dropout(x, 0.5, False).mul_(2) + x), (7,), False),
    "in place, of a cast": (Call(lambda x: x.to(x.dtype).mul_(2) + x), (7,), False),
    "in place, of what is detached": (Call(lambda x: x.detach().mul_(2) + x), (7,), False),
    "in place, of a view": (Call(lambda x: x.flatten(1).mul_(2).mean() + x), (7,), False),
    "in place, of what is contiguous": (Call(lambda x: x.contiguous().mul_(2) + x), (7,), False),
    "out": (Call(lambda x: torch.clamp(x, max=0.3, out=x) + x), (7,), False),
    "comparison": (Call(lambda x: (x > 0).double()), (7,), False),
    "as a number": (Call(lambda x: x * float(x.sum())), (7,), False),
    "as NumPy": (Call(lambda x: x + torch.as_tensor(x.relu().numpy())), (7,), False),
}


@pytest.mark.parametrize("what", ON_POSITIONS)
def test_channels_of_positions(what):
    module, positions, stays = ON_POSITIONS[what]
    found, right, stands = through(module, copies(*positions))
    torch.testing.assert_close(found, right, rtol=0, atol=1e-13)
    assert stands == stays


ON_FEATURES = {
    "linear": (nn.Linear(C, 3), (), 1),
    "linear without shift": (nn.Linear(C, 3, bias=False), (), 1),
    "of tokens": (nn.Sequential(nn.GELU(), nn.Linear(C, 3)), (7,), 2),
    "of patches": (nn.Linear(C, 3), (3, 2), 3),
    "of tokens, not the channels": (nn.Linear(7, 3), (7,), 1),
    "norm of tokens": (nn.LayerNorm(C), (7,), 2),
    "mean of tokens": (Call(lambda x: x.mean(1)), (7,), 2),
    "pad tokens": (Call(lambda x: F.pad(x, (0, 0, 1, 1))), (7,), 2),
    "batch_norm of tokens": (nn.BatchNorm1d(7), (7,), 2),
    "pooled features": (nn.MaxPool1d(2), (7,), 2),
    "attention": (Call(lambda x: F.scaled_dot_product_attention(x, x, x)), (7,), 2),
}


@pytest.mark.parametrize("what", ON_FEATURES)
def test_channels_on_other_axes(what):
    module, positions, axis = ON_FEATURES[what]
    found, right, _ = through(module, copies(*positions, axis=axis))
    torch.testing.assert_close(found, right, rtol=0, atol=1e-13)


def test_no_copy_is_made_before_a_convolution_reads_them():
    given = copies(512)
    module = nn.Sequential(
        nn.ReLU(), trained(nn.BatchNorm1d(C)), nn.MaxPool1d(4), nn.Conv1d(C, 2, 3)
    )
    with torch.no_grad(), Widening(given.rows.new_zeros(N), len(CHANNELS)) as widening:
        module.double().eval()(widening.stand_in(given))
    assert widening.n_bytes == 8 * N * 512  # of one channel, where the copies have six


def test_what_is_read_of_a_tensor_in_their_place_is_not_a_number():
    given = copies(7)
    t = Widening(given.rows, len(CHANNELS)).stand_in(given)
    assert t.shape == given.joined().shape
    assert t.isnan().all()


@pytest.mark.parametrize(("module", "axis"), [(nn.Conv1d(C, 5, 3), 1), (nn.Linear(C, 3), 2)])
def test_a_row_without_end_stays_finite_where_its_channel_is_replaced(module, axis):
    """The difference from what is infinite is no number; all of these copies are computed whole."""
    given = copies(7, axis=axis)
    given.rows.select(axis, 5)[2] = torch.inf
    found, right, _ = through(module, given)
    torch.testing.assert_close(found, right, rtol=0, atol=1e-13, equal_nan=True)
    assert found[:N].isfinite().all()
