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
from sklflat.networks.state import State, mix, write_state

#: passes of the power method, at most, and the change up to which a weight has converged
_N_PASSES, _CONVERGED = 1000, 1e-12


def check_buffers(module: nn.Module, anchors: Sequence[Mapping[str, Tensor]]) -> None:
    """Make sure that it is known what every buffer is between some anchors.

    Running statistics of normalisation layers are mixed, or computed anew from data; the singular
    vectors of spectral normalisation are computed from the mixed weights; what is equal at all
    anchors is a constant. Nothing is known of others, such as moving averages of a codebook.

    Parameters
    ----------
    module : torch.nn.Module
    anchors : sequence of state
        Parameters and buffers by name.

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
    >>> check_buffers(norm, [read_state(norm), read_state(norm)])
    """
    layers = tuple(f"{name}." if name else "" for name in tracking_layers(module))
    known = {
        prefix + name
        for prefix in layers
        for name, _ in module.get_submodule(prefix.rstrip(".")).named_buffers()
    }
    known |= {name for names, _ in _spectral_norms(module) for name in names}
    first = anchors[0]
    for name, _ in module.named_buffers():
        if name in known or all(torch.equal(first[name], other[name]) for other in anchors[1:]):
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
