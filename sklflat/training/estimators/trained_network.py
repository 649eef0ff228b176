"""The network inside a skorch net or a fitted estimator."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from skorch import NeuralNet
from torch import Tensor, nn
from torch.utils.data import Dataset

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Network, OfParts, Parts
from sklflat.networks.before_activation import settle_before_activation
from sklflat.networks.hooks import temporary_hooks
from sklflat.networks.outputs import N_SETTLED
from sklflat.networks.units import Units
from sklflat.training.estimators.containers import as_arrays, joined
from sklflat.training.estimators.data import Inputs
from sklflat.training.estimators.outputs import in_logits, settle
from sklflat.training.estimators.targets import ClassTargets, as_values


@dataclass(frozen=True)
class TrainedNetwork:
    """A fitted estimator, opened: its network, and how data get in and out.

    Parameters
    ----------
    network : Network
    targets : ClassTargets or RealTargets
    loss : str
        What outputs mean: see :class:`~sklflat.networks.TaskLoss`.
    to_input : callable
        Validates X and makes it a tensor.
    to_target : callable
        Makes y the tensor that the criterion wants.
    """

    network: Network
    targets: Any
    loss: str
    to_input: Callable[[Inputs], Tensor]
    to_target: Callable[[ArrayLike], Tensor]

    @property
    def classes(self) -> NDArray | None:
        """Class labels (n_classes,); None for real targets."""
        return getattr(self.targets, "classes", None)

    def error_scale(self, y: Tensor, weights: Tensor) -> float:
        """What an error is a share of: 1 for classifiers, the variance of real targets.

        As the error is a mean over outputs, so is the variance. ``weights`` (n,) add up to 1.
        """
        if self.classes is not None:
            return 1.0
        y, s = y.double().reshape(len(y), -1), weights.double()
        return float((s @ (y - s @ y).square()).mean()) or 1.0

    @property
    def order(self) -> NDArray:
        """Which output (n_classes,) stands for each class; one output of two classes is 0 and 1."""
        assert self.classes is not None
        return getattr(self.targets, "order", np.arange(len(self.classes)))

    def numbers(self, y: ArrayLike) -> NDArray:
        """Indices (n,) into ``classes``; real targets and labels' indicators as they are, float.

        A label that the network does not know raises a ValueError.
        """
        if self.classes is None or self.targets.multilabel:
            return as_values(y)
        return ClassTargets.encode(self.targets, np.asarray(y), "softmax")


class Joining:
    """Joins several inputs by name to one array, as a network takes them from the first data on.

    Parameters
    ----------
    network : Network
        Its module may take the inputs by name so far.
    parts : Parts, default=None
        How they lie in one array, where the network takes that already.
    """

    def __init__(self, network: Network, parts: Parts | None = None) -> None:
        self.network = network
        self.parts = parts

    def __call__(self, X: Any) -> Any:
        """X in one array, or X itself, if it is no several inputs."""
        X, parts = joined(as_arrays(X)[0] if isinstance(X, Dataset) else X, self.parts)
        if self.parts is None and parts is not None:
            self.network.module = OfParts(self.network.module, parts)
        self.parts = parts
        return X


def network_of(net: NeuralNet) -> Network:
    """The module and the criterion of an initialised skorch net.

    Where the net's class has its own ``infer`` or ``get_loss``, these are used. Probabilities
    (under BCELoss, or NLLLoss of which skorch takes the logarithm itself) become logits. Nothing
    of the net is changed.
    """
    module, criterion = net.module_, net.criterion_
    parts = getattr(net, "parts_", None)
    if _overrides(net, "infer"):
        module = _Infer(net)
    elif parts is not None:
        module = OfParts(module, parts)
    is_own = _overrides(net, "get_loss")
    module, criterion = in_logits(net, module, _GetLoss(net) if is_own else criterion, is_own)
    return Network(module, criterion, device=net.device)


def settling(net: NeuralNet, trained: TrainedNetwork, reads: bool = True) -> TrainedNetwork:
    """The same, but what its outputs mean is settled by the first data that come in.

    ``reads`` says whether the net's own nonlinearity is to be asked, as its criterion is silent.
    """

    def to_input(X: Inputs) -> Tensor:
        x = trained.to_input(X)
        if reads:
            settle(net, trained.network, x[:N_SETTLED])
        settle_before_activation(trained.network, x[:N_SETTLED])
        return x

    return replace(trained, to_input=to_input)


def _overrides(net: NeuralNet, method: str) -> bool:
    """Whether the first class beside this package's that defines a method is not skorch's."""
    owners = (c.__module__ for c in type(net).__mro__ if method in vars(c))
    return next(m for m in owners if not m.startswith("sklflat.")).split(".")[0] != "skorch"


class _Adapter(nn.Module):
    """A part of a net as a module; the net is kept out of the list of submodules."""

    def __init__(self, net: NeuralNet, part: str) -> None:
        super().__init__()
        # a copy by copy.copy would go through skorch's pickling, module and all
        copied = object.__new__(type(net))
        copied.__dict__.update(vars(net))
        self._net = (copied,)
        self._part = part
        self.own = getattr(net, part)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Adapter":
        copied = type(self)(*self._net)  # type: ignore[call-arg]  # a subclass knows its part
        copied.own = copy.deepcopy(self.own, memo)
        return copied

    def net(self) -> NeuralNet:
        net = self._net[0]
        net.__dict__[self._part] = self.own
        return net


class _Infer(_Adapter):
    def __init__(self, net: NeuralNet) -> None:
        super().__init__(net, "module_")

    def forward(self, *X: Tensor, **parts: Tensor) -> Tensor:
        return self.net().infer(parts or X[0])


class _GetLoss(_Adapter):
    def __init__(self, net: NeuralNet) -> None:
        super().__init__(net, "criterion_")

    @property
    def reduction(self) -> str:
        """The criterion's own, where it has one."""
        return self.own.reduction

    @reduction.setter
    def reduction(self, value: str) -> None:
        self.own.reduction = value

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.net().get_loss(z, y)


@torch.no_grad()
def last_hidden(network: Network, X: Tensor | Dataset) -> Tensor:
    """Activations (n_samples, units), float64, that the last affine layer reads.

    The last affine layer is the ``torch.nn.Linear`` that runs last; activations of sequences
    are averaged over positions.
    """
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[:] = [inputs[0]]

    linear = [m for m in network.module.modules() if isinstance(m, nn.Linear)]
    rows = []
    for x in network.batches(X):
        with temporary_hooks(module.register_forward_pre_hook(keep) for module in linear):
            network.forward(x)
        if not seen:
            raise UnsupportedNetworkError(
                f"{type(network.module).__name__} runs no torch.nn.Linear, so it has no last "
                "hidden layer that transform could return."
            )
        hidden = seen[0]
        rows.append(hidden.flatten(1, -2).mean(1) if hidden.ndim > 2 else hidden)
    return torch.cat(rows).double().cpu()


def last_hidden_names(network: Network, X: Tensor) -> list[str] | None:
    """What the units are called whose activations :func:`last_hidden` returns.

    None if these are not the activations of one layer of units, but what a normalisation or a
    pooling makes of them.

    Parameters
    ----------
    network : Network
    X : Tensor of shape (n, ...)
        Some rows, which tell layers apart.
    """
    X = network.prepare(X)
    read = last_hidden(network, X)
    try:
        units = Units.find(network.module, X)
    except UnsupportedNetworkError:
        return None
    of_units = units.activations(network.module, X).double().cpu()
    for layer in reversed(range(len(units.layers))):
        columns = units.layer_of == layer
        found = of_units[:, torch.as_tensor(columns)]
        if found.shape == read.shape and torch.allclose(found, read, rtol=1e-5, atol=1e-8):
            return [name for name, its in zip(units.names, columns, strict=True) if its]
    return None
