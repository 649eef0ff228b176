"""Unfitted copies of the networks in the parameter ``net``."""

from typing import Any

from sklearn.base import clone
from skorch import NeuralNet
from torch import nn
from torch.nn.parameter import is_lazy

from sklflat.networks.checks import refuse_scripted
from sklflat.networks.network import copy_module


def cloned_net(net: Any) -> Any:
    """A clone of what ``net`` stands for, also of modules that ``copy.deepcopy`` refuses.

    Such are those with weights that are computed from others, as ``torch.nn.utils.prune`` and
    ``weight_norm`` make them.

    Parameters
    ----------
    net : torch.nn.Module, skorch net, class, function or None

    Raises
    ------
    UnsupportedNetworkError
        If a module is compiled by ``torch.jit``.
    """
    if isinstance(net, NeuralNet) and isinstance(net.module, nn.Module):
        bare = object.__new__(type(net))
        bare.__dict__.update(vars(net), module=None)
        cloned = clone(bare)
        vars(cloned)["module"] = _copied(net.module)  # skorch forbids setattr
        return cloned
    return _copied(net) if isinstance(net, nn.Module) else clone(net, safe=False)


def _copied(module: nn.Module) -> nn.Module:
    """A deep copy in the same mode."""
    refuse_scripted(module, "cannot be copied to be trained")
    if any(is_lazy(p) for p in module.parameters()):
        return clone(module, safe=False)
    modes = {name: part.training for name, part in module.named_modules()}
    copied = copy_module(module)
    for name, part in copied.named_modules():
        part.training = modes.get(name, module.training)
    return copied
