"""Calls that a replay leaves out: what is the same in every batch, and what nobody reads."""

import pytest
import torch
from torch import nn

from sklflat.training.engine.known_calls import without_known
from sklflat.training.engine.tape import Recorder, Tape, _Remembering


def recorded(function, inputs):
    with Recorder() as recorder:
        outputs = function(*inputs)
    return recorder, outputs


def names(calls):
    return [func._schema.name.removeprefix("aten::") for func, *_ in calls]


def test_what_reads_nothing_but_shapes_is_computed_once():
    def function(x):
        scale = torch.ones_like(x).mul(3.0).neg()
        return (x * scale,)

    x = torch.randn(4)
    recorder, outputs = recorded(function, [x])
    calls, known = without_known(recorder.calls, [x], outputs)
    assert names(calls) == ["mul"]
    assert known
    tape = Tape(recorder, [x], outputs)
    other = torch.randn(4)
    assert torch.equal(tape.compile()(other)[0], -3.0 * other)
    assert tape.same_as(Tape(*_again(function, x)))


def _again(function, x):
    recorder, outputs = recorded(function, [x])
    return recorder, [x], outputs


def test_what_is_written_into_or_handed_out_is_made_anew():
    """Two replays must not write into the same memory."""

    def written(x):
        total = torch.zeros_like(x)
        total.add_(x)
        return (total * 1.0,)

    def handed_out(x):
        return x + 1, torch.zeros_like(x)

    x = torch.randn(3)
    for function in (written, handed_out):
        recorder, outputs = recorded(function, [x])
        replay = Tape(recorder, [x], outputs).compile()
        first = [t.clone() for t in replay(x)]
        for out in replay(x):
            out.add_(100.0)
        for a, b in zip(replay(x), first, strict=True):
            assert torch.equal(a, b)


def test_constants_of_other_values_are_no_same_recording():
    x = torch.randn(3)
    tapes = [Tape(*_again(lambda x, c=c: (x * torch.full_like(x, c),), x)) for c in (1.0, 2.0)]
    assert not tapes[0].same_as(tapes[1])


def test_what_nobody_reads_is_not_called_and_random_numbers_are_drawn():
    def function(x):
        x.exp()
        torch.rand(2)
        return (x + 1,)

    x = torch.randn(3)
    recorder, outputs = recorded(function, [x])
    calls, _ = without_known(recorder.calls, [x], outputs)
    assert names(calls) == ["rand", "add"]


def test_a_gradient_takes_a_sixth_fewer_calls():
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))

    def gradient(x, y, *parameters):
        loss = nn.functional.cross_entropy(module(x), y)
        return loss, *torch.autograd.grad(loss, parameters)

    inputs = [torch.randn(4, 6), torch.tensor([0, 1, 2, 0]), *module.parameters()]
    recorder, outputs = recorded(gradient, inputs)
    calls, _ = without_known(recorder.calls, inputs, outputs)
    assert len(calls) < 0.85 * len(recorder.calls)
    replayed = Tape(recorder, inputs, outputs).compile()(*inputs)
    for a, b in zip(replayed, outputs, strict=True):
        assert torch.equal(a, b)


def into_out(x):
    total = torch.zeros_like(x)
    torch.add(x, 1.0, out=total)
    return (total.neg(),)


def into_each_of_a_list(x):
    parts = [torch.zeros_like(x)]
    torch._foreach_add_(parts, [x])
    return (parts[0].neg(),)


@pytest.mark.parametrize("function", [into_out, into_each_of_a_list])
def test_what_is_written_into_by_name_or_in_a_list_is_not_known(function):
    x = torch.randn(3)
    recorder, outputs = recorded(function, [x])
    replay = Tape(recorder, [x], outputs).compile()
    for _ in range(2):
        other = torch.randn(3)
        assert torch.equal(replay(other)[0], function(other)[0])


def test_what_returns_nothing_is_called():
    def function(x):
        torch._assert_async((x < 100).all())
        return (x + 1,)

    x = torch.randn(3)
    recorder, outputs = recorded(function, [x])
    calls, _ = without_known(recorder.calls, [x], outputs)
    assert names(calls)[-2:] == ["_assert_async", "add"]


def test_views_are_remembered_as_long_as_their_tensor_lives():
    """A stack of which some networks have ended gathers the rows of the others in every step."""
    remembering = _Remembering(lambda t: (t[0], t.view(6)))
    lasting = torch.randn(2, 3)
    with torch.no_grad():
        first = remembering(lasting)
        for _ in range(5):
            row, flat = remembering(torch.randn(2, 3).requires_grad_())
            assert torch.equal(flat[:3], row)
    assert remembering(lasting)[0] is first[0]
    assert first[0].data_ptr() == lasting.data_ptr()
    assert len(remembering.known) == 1
    del lasting
    assert not remembering.known
