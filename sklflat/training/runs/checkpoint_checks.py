"""Checks of a checkpoint from a file, before the training that resumes from it takes it over.

What reaches C code unchecked (an optimiser's moments of another shape, orders out of range) is
undefined there; what is merely wrong would train on without an error.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import torch

from sklflat.storage.decoding import expect
from sklflat.training.engine.epochs import ALL_EPOCHS, CONVERGED, Record
from sklflat.training.engine.loader import EpochSum

#: what a net counts while it is trained
COUNTS = ("t", "n_begun", "n_gradient_evaluations", "n_skipped_steps")
#: an optimiser's moments, which have the shape of their parameter
_MOMENTS = {"momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether a value is a finite number within bounds, and no boolean."""
    return type(value) in (int, float) and math.isfinite(value) and low <= value <= high


def is_state(value: Any) -> bool:
    """Whether a value is a dictionary of names and tensors."""
    return isinstance(value, dict) and all(
        type(name) is str and isinstance(tensor, torch.Tensor) for name, tensor in value.items()
    )


def restore_optimizer(optimizer: torch.optim.Optimizer, options: Any, memory: Any) -> None:
    """Settings, and what an optimiser remembers of each of its parameters.

    Raises
    ------
    CheckpointError
        If they are not of such an optimiser.
    """
    (group,) = optimizer.param_groups
    expect(
        isinstance(options, dict) and set(options) <= set(group), "an optimiser's settings are none"
    )
    for name, value in options.items():
        expect(_is_like(value, group[name]), f"an optimiser's {name} is none")
    expect(is_number(options.get("lr", 0.0), 0.0), "a learning rate is none")
    expect(len(memory) == len(group["params"]), "an optimiser is of other parameters")
    group.update(options)
    for p, own in zip(group["params"], memory, strict=True):
        expect(is_state(own), "an optimiser's memory is none")
        for name, value in own.items():
            check_moment(p, name, value)
        if own:
            optimizer.state[p] = {k: v if k == "step" else v.to(p.device) for k, v in own.items()}


def check_moment(p: torch.Tensor, name: str, value: torch.Tensor) -> None:
    """Raise unless a tensor can be what an optimiser remembers of a parameter.

    Raises
    ------
    CheckpointError
    """
    if name == "step":
        right = value.numel() == 1 and value.ndim <= 1 and is_number(float(value), 0.0)
    else:
        right = name in _MOMENTS and value.shape == p.shape and value.dtype == p.dtype
    expect(right, "an optimiser's memory is of another network")


def _is_like(value: Any, model: Any) -> bool:
    """Whether a setting is of the kind of one that an optimiser has."""
    if isinstance(model, bool) or model is None:
        return value is None or type(value) is bool
    if isinstance(model, tuple):
        return isinstance(value, tuple) and len(value) == len(model) and all(map(is_number, value))
    return is_number(value)


def restore_generators(stream: Any, states: Any) -> None:
    """Positions of a net's random generators; torch checks what is in them.

    Raises
    ------
    CheckpointError
        If they are none.
    """
    states = states[: len(stream.generators)]
    expect(len(states) == len(stream.generators), "a net has other random generators")
    for state, now in zip(states, stream.get_state(), strict=True):
        right = isinstance(state, torch.Tensor) and state.dtype == torch.uint8
        expect(right and state.shape == now.shape, "a random generator's state is none")
    try:
        stream.set_state(list(states))
    except RuntimeError:
        expect(False, "a random generator's state is none")


def restore_steps(net: Any, counts: Any, state: Any) -> None:
    """How many steps were taken, and what the perturbation remembers.

    Raises
    ------
    CheckpointError
        If a count is none, or the state is of another perturbation.
    """
    steps = net.steps_
    expect(isinstance(counts, dict) and set(counts) == set(COUNTS), "counts of steps are none")
    expect(all(type(n) is int and 0 <= n < 2**53 for n in counts.values()), "a count is none")
    if state is not None:
        expect(is_state(state), "what a perturbation remembers is none")
        check_remembered(net, state)
    vars(steps).update(counts)
    steps.state = state


def check_remembered(net: Any, state: dict[str, torch.Tensor]) -> None:
    """Raise unless a perturbation of this net could remember such a state.

    Raises
    ------
    CheckpointError
    """
    perturbation = net.perturbation
    expect(perturbation is not None, "a state is of no perturbation")
    w = torch.cat([p.detach().reshape(-1) for p in net.optimizer_.param_groups[0]["params"]])
    model = perturbation.init(w)
    more = set(state) - set(model)  # noise remembers the subspace that it has found
    right = set(model) <= set(state) and (not more or perturbation.needs_landscape)
    expect(right, "what a perturbation remembers is of another")
    for name, value in state.items():
        like = model.get(name, value)
        expect(value.dtype == like.dtype and value.ndim == like.ndim, "a memory is of another kind")
        if like.shape == w.shape:
            expect(value.shape == w.shape, "a memory is of another network")


def check_module_state(module: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Raise unless a state is one of a module: names, shapes and dtypes.

    Raises
    ------
    CheckpointError
    """
    own = module.state_dict()
    right = set(state) == set(own) and all(
        state[name].shape == own[name].shape and state[name].dtype == own[name].dtype
        for name in own
    )
    expect(right, "weights are of another network")


def record_of(found: Any, estimator: Any) -> Record:
    """The record of a training, with the kinds that ``Record`` declares.

    Raises
    ------
    CheckpointError
    """
    names = {field.name for field in dataclasses.fields(Record)} - {"best_weights"}
    expect(isinstance(found, dict) and set(found) == names, "a record has other fields")
    for name in ("t", "n_iter", "no_improvement"):
        expect(type(found[name]) is int and 0 <= found[name] < 2**53, f"a record's {name} is none")
    expect(found["n_iter"] <= estimator.max_iter, "a record is of more epochs than are asked for")
    ended = found["ended"]
    expect(ended in (None, CONVERGED, ALL_EPOCHS), "a record is of a training that was stopped")
    missing = estimator.max_iter - found["n_iter"]
    expect(ended != ALL_EPOCHS or not missing, "a record is of fewer epochs than are asked for")
    early = bool(estimator.early_stopping)
    for name, is_kept in (("validation_scores", early), ("loss_curve", True)):
        expect((found[name] is not None) == is_kept, f"a record's {name} is of another training")
        expect(all(map(_is_float, found[name] or ())), f"a record's {name} is none")
    for name, is_kept in (("best_validation_score", early), ("best_loss", not early)):
        expect(_is_float(found[name]) if is_kept else found[name] is None, f"{name} is none")
    return Record(**found)


def _is_float(value: Any) -> bool:
    return type(value) in (int, float)


def part_of_epoch(found: Any, n_samples: int) -> EpochSum:
    """What was done of an epoch, with the kinds that ``EpochSum`` declares.

    Raises
    ------
    CheckpointError
    """
    names = {field.name for field in dataclasses.fields(EpochSum)}
    expect(isinstance(found, dict) and set(found) == names, "a part of an epoch is none")
    counts = [found[name] for name in ("n_samples", "n_batches", "n_skipped")]
    expect(all(type(n) is int and 0 <= n <= n_samples for n in counts), "a count of rows is none")
    expect(found["n_samples"] < n_samples and _is_float(found["loss"]), "a part of an epoch is all")
    return EpochSum(**found)


def order_of(indices: np.ndarray, n_samples: int) -> np.ndarray:
    """An order of samples, which is checked to be one.

    Raises
    ------
    CheckpointError
    """
    expect(indices.shape == (n_samples,) and indices.dtype.kind in "iu", "an order is none")
    expect(np.array_equal(np.sort(indices), np.arange(n_samples)), "an order is none")
    return indices.copy()
