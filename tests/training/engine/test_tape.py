"""Recording and replay: the same bits, or a refusal that says why."""

import pytest
import torch
from torch import nn

from sklflat.training.engine.replays import python_state
from sklflat.training.engine.tape import NotReplayableError, Recorder, Tape


def record(function, inputs):
    with Recorder() as recorder:
        outputs = function(*inputs)
    return Tape(recorder, inputs, outputs), outputs


def mlp_gradient(module):
    def function(x, *parameters):
        loss = module(x).logsumexp(1).mean()
        return loss, *torch.autograd.grad(loss, parameters)

    return function


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
        nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 3)),
        nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Tanh()),
        nn.Sequential(nn.Unflatten(1, (2, 3)), nn.GRU(3, 4, batch_first=True)),
        nn.Sequential(nn.Unflatten(1, (2, 3)), nn.TransformerEncoderLayer(3, 1, 8, 0.0)),
    ],
    ids=lambda m: type(m[-1]).__name__ + str(len(m)),
)
def test_replay_on_other_inputs_is_bitwise_autograd(module):
    if isinstance(module[-1], nn.GRU):
        gru = module[-1]
        module = nn.Sequential(module[0])
        module.forward = lambda x, first=module[0]: gru(first(x))[0].flatten(1)
        module.gru = gru
    function, parameters = mlp_gradient(module), list(module.parameters())
    tape, _ = record(function, [torch.randn(4, 6), *parameters])
    other = torch.randn(4, 6)
    shifted = [p.detach() + 0.1 for p in parameters]
    with torch.no_grad():
        replayed = tape.compile()(other, *shifted)
        for p, value in zip(parameters, shifted, strict=True):
            p.copy_(value)
    for a, b in zip(replayed, function(other, *parameters), strict=True):
        assert torch.equal(a, b)


def test_two_recordings_compare_equal_and_different_ones_do_not():
    a, b = torch.randn(3), torch.randn(3)
    assert record(lambda x: (x * 2,), [a])[0].same_as(record(lambda x: (x * 2,), [b])[0])
    assert not record(lambda x: (x * 2,), [a])[0].same_as(record(lambda x: (x * 3,), [b])[0])
    assert not record(lambda x: (x * 2.0,), [a])[0].same_as(record(lambda x: (x * 2,), [b])[0])
    fresh = [record(lambda x: (x * torch.tensor([1.0, 2.0, 3.0]),), [a])[0] for _ in range(2)]
    assert not fresh[0].same_as(fresh[1])  # constants made anew might change


def test_in_place_updates_of_outside_tensors_are_replayed():
    total = torch.zeros(2)
    tape, _ = record(lambda x: (total.add_(x).clone(),), [torch.ones(2)])
    tape.compile()(torch.full((2,), 5.0))
    assert total.tolist() == [6.0, 6.0]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: (x * x.sum().item(),), "depend on values"),
        (lambda x: (x[x > 0],), "depend on values"),
        (lambda x: (torch.rand_like(x),), "cannot be exchanged"),
        (lambda x: (x * float(x.numpy().sum()),), "depend on values"),
        (lambda x: (x * max(x.tolist()),), "depend on values"),
        (lambda x: (x.as_strided((2,), (1,), 1),), "absolute offsets"),
        (lambda x: (x.mul_(2),), "changes an input in place"),
    ],
)
def test_what_cannot_be_replayed_is_refused(function, reason):
    with pytest.raises(NotReplayableError, match=reason):
        record(function, [torch.randn(3)])


def test_inputs_that_are_one_memory_are_refused():
    a = torch.randn(3)
    with pytest.raises(NotReplayableError, match="same memory"):
        record(lambda x, y: (x + y,), [a, a])


def test_random_numbers_come_from_the_generator_given():
    module = nn.Dropout(0.5)
    tape, _ = record(lambda x: (module(x),), [torch.ones(100)])
    replay = tape.compile()
    a, b = (replay(torch.ones(100), generator=torch.Generator().manual_seed(1))[0] for _ in "ab")
    before = torch.get_rng_state()
    replay(torch.ones(100), generator=torch.Generator())
    assert torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())
    assert 20 < int((a == 0).sum()) < 80


def test_python_state_sees_counters():
    module = nn.Linear(2, 2)
    before = python_state([module])
    assert python_state([module]) == before
    module.calls = 1
    assert python_state([module]) != before
