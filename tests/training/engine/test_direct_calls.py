"""Functions that stand for an operation of the dispatcher make that call, and no other."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sklflat.training.engine import direct_calls
from sklflat.training.engine.direct_calls import direct_call
from sklflat.training.engine.tape import Recorder, Tape

A, B, V = torch.randn(3, 4), torch.randn(4, 5), torch.randn(5)
OPS = torch.ops.aten
CALLS = {
    "mm": (OPS.mm.default, (A, B), {}),
    "addmm": (OPS.addmm.default, (V, A, B), {}),
    "scaled": (OPS.addmm.default, (V, A, B), {"beta": 2, "alpha": 0.5}),
    "view": (OPS.view.default, (A, [12]), {}),
    "t": (OPS.t.default, (A,), {}),
    "transpose": (OPS.transpose.int, (A, 0, 1), {}),
    "select": (OPS.select.int, (A, 0, 2), {}),
    "sum": (OPS.sum.dim_IntList, (A, [0], True), {}),
    "sum as": (OPS.sum.dim_IntList, (A, [0]), {"dtype": torch.float64}),
    "cat": (OPS.cat.default, ([A, A], 1), {}),
    "relu": (OPS.relu.default, (A,), {}),
    "mean": (OPS.mean.default, (A,), {}),
    "split": (OPS.split_with_sizes.default, (A, [1, 3], 1), {}),
}


class Operations(TorchDispatchMode):
    """Those that come to the dispatcher."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.made.append(func)
        return func(*args, **(kwargs or {}))


def values(out):
    return list(out) if isinstance(out, (list, tuple)) else [out]


@pytest.mark.parametrize("name", CALLS)
def test_the_same_bits_by_a_function_of_torch(name):
    func, args, kwargs = CALLS[name]
    expected = func(*args, **kwargs)
    found = direct_call(func, args, kwargs, expected)
    assert found is not None
    for one, other in zip(values(found(*args, **kwargs)), values(expected), strict=True):
        assert one.dtype == other.dtype
        assert one.stride() == other.stride()
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (OPS.add.Scalar, (A, 1)),  # torch.add makes a tensor of the number
        (OPS.add_.Tensor, (A.clone(), A)),  # writes into what it is given
        (OPS.threshold_backward.default, (A, A, 0)),  # no function of torch has this name
        (OPS.max_pool2d.default, (torch.ones(1, 1, 2, 2), [2])),  # comes down to several
    ],
)
def test_what_is_another_call_is_left_as_it_is(func, args):
    assert direct_call(func, args, {}, func(*args)) is None


def test_nothing_is_computed_to_find_out(monkeypatch):
    monkeypatch.setattr(direct_calls, "_KNOWN", {})
    out = torch.relu(A)
    with Operations() as operations:
        assert direct_call(OPS.relu.default, (A,), {}, out) is torch.relu
    assert operations.made == []
    with operations:
        torch.relu(A)
    assert operations.made == [OPS.relu.default]


def test_what_is_known_is_of_these_types():
    two = torch.tensor(2.0)
    assert direct_call(OPS.mul.Tensor, (A, B.t()[:3, :4]), {}, A) is torch.mul
    assert direct_call(OPS.mul.Scalar, (A, 2), {}, 2 * A) is None
    assert direct_call(OPS.mul.Tensor, (A, two), {}, 2 * A) is torch.mul
    # of the same operation, numbers of other types are other calls
    assert direct_call(OPS.sum.dim_IntList, (A, [0]), {}, A.sum(0)) is torch.sum
    assert direct_call(OPS.sum.default, (A,), {}, A.sum()) is torch.sum


def test_operations_of_others_are_left_as_they_are():
    made = torch.library.Library("sklflat_test_direct", "DEF")
    made.define("relu(Tensor x) -> Tensor")
    made.impl("relu", lambda x: x + 1, "CPU")
    func = torch.ops.sklflat_test_direct.relu.default
    assert direct_call(func, (A,), {}, A + 1) is None


def test_a_replay_uses_them_and_gives_the_same_bits():
    def compute(x):
        return (torch.tanh(x @ B + V).sum(0, keepdim=True).t(),)

    with torch.no_grad():
        with Recorder() as recorder:
            out = compute(A)
        tape = Tape(recorder, [A], out)
        assert len(tape._direct) >= 4
        other = torch.randn(3, 4)
        assert torch.equal(tape.compile()(other)[0], compute(other)[0])
