"""What becomes of a module's buffers where its parameters are mixed with another's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.batch_statistics import tracking_layers
from sklflat.networks.checks import relative_difference
from sklflat.networks.network import copy_module
from sklflat.networks.same_outputs import same_outputs
from sklflat.networks.state import State, mix, write_state

#: passes of the power method, at most, and the change up to which a weight has converged
_N_PASSES, _CONVERGED = 1000, 1e-12


_OF_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@torch.no_grad()
def check_buffers(module: nn.Module, anchors: Sequence[Mapping[str, Tensor]], x: Tensor) -> None:
    """Make sure that it is known what every buffer is between some anchors.

    Running statistics of normalisation layers are mixed, or computed anew from data; the singular
    vectors of spectral normalisation are computed from the mixed weights; what is equal at all
    anchors is a constant. Nothing is known of others, such as moving averages of a codebook.

    Parameters
    ----------
    module : torch.nn.Module
    anchors : sequence of state
        Parameters and buffers by name.
    x : Tensor of shape (n, ...)
        Some rows: a buffer on which the outputs do not depend may be anything.

    Raises
    ------
    UnsupportedNetworkError
        Names the first buffer without a rule.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.buffers import check_buffers
    >>> from sklflat.networks.state import read_state
    >>> norm = torch.nn.BatchNorm1d(2)
    >>> check_buffers(norm, [read_state(norm), read_state(norm)], torch.ones(1, 2))
    """
    known = {
        f"{path}.{name}" if path else name
        for path in tracking_layers(module)
        for name in _OF_STATISTICS
    }
    known |= {name for names, _ in _spectral_norms(module) for name in names}
    first = anchors[0]
    for name, _ in module.named_buffers():
        others = [
            other[name] for other in anchors[1:] if relative_difference(first[name], other[name])
        ]
        if name in known or not others or _is_free(module, anchors, name, others, x):
            continue
        raise UnsupportedNetworkError(
            f"The buffer {name!r} of {type(module).__name__} differs between the networks, and "
            "nothing says what it is between them: the mean of two buffers need not fit the mean "
            "of two weights. Make it a function of the parameters, or set it to the same in both."
        )


@torch.no_grad()
def write_mixed(
    module: nn.Module, states: Sequence[State], coefficients: Sequence[float] | Tensor
) -> None:
    """Write the sum of states by coefficients into a module, and what follows from its weights.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place.
    states : sequence of K states
    coefficients : sequence of float or Tensor of shape (K,)
    """
    write_state(module, mix(states, coefficients))
    if sum(bool(c) for c in coefficients) > 1:
        for _, advance in _spectral_norms(module):
            _converge(advance)


def _is_free(
    module: nn.Module,
    anchors: Sequence[Mapping[str, Tensor]],
    name: str,
    others: Sequence[Tensor],
    x: Tensor,
) -> bool:
    """Whether outputs are the same with the buffers of all anchors."""
    copied = copy_module(module)
    write_state(copied, anchors[0])
    right = copied(x.clone())
    for other in others:
        write_state(copied, {**anchors[0], name: other})
        if not same_outputs(copied(x.clone()), right):
            return False
    return True


def follow_weights(module: nn.Module) -> None:
    """Let singular vectors of spectral normalisation take a step whenever the module runs."""
    for part in module.modules():
        if isinstance(part, parametrizations._SpectralNorm) or any(
            isinstance(hook, SpectralNorm) for hook in part._forward_pre_hooks.values()
        ):
            part.training = True


def _converge(advance: Callable[[], Tensor]) -> None:
    """Take steps of the power method until the weight no longer changes."""
    before = advance()
    for _ in range(_N_PASSES):
        after = advance()
        if float((after - before).abs().max()) <= _CONVERGED * float(after.abs().max()):
            return
        before = after


def _spectral_norms(module: nn.Module) -> Iterator[tuple[list[str], Callable[[], Tensor]]]:
    """Of each normalised weight: its buffers, and a step of the power method, with the weight."""
    for path, part in module.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(part, ParametrizationList):
            for i, own in enumerate(part):
                if isinstance(own, parametrizations._SpectralNorm):
                    names = [f"{prefix}{i}.{name}" for name, _ in own.named_buffers()]
                    yield names, partial(_in_training, own, part)
        for hook in part._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                names = [f"{prefix}{hook.name}_{end}" for end in "uv"]
                yield names, partial(hook.compute_weight, part, True)


def _in_training(own: nn.Module, part: ParametrizationList) -> Tensor:
    flag = own.training
    own.train()
    try:
        return part().detach().clone()
    finally:
        own.train(flag)
