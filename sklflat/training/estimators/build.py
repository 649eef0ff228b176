"""From the parameter ``net`` to a skorch net that is ready to train."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from sklflat.exceptions import OutputWidthError, UnsupportedNetworkError
from sklflat.networks import MLP, Network
from sklflat.networks.checks import refuse_scripted
from sklflat.networks.losses import TaskLoss
from sklflat.networks.network import copy_module
from sklflat.networks.token_ids import token_ids_named
from sklflat.training.engine.epoch_loss import callback_settings
from sklflat.training.engine.net import PerturbedNet, PerturbedNetClassifier
from sklflat.training.engine.scikit_learn_adam import ScikitLearnAdam


def choose_device(device: str) -> str:
    """``"auto"`` is the GPU where there is one; a GPU that is absent raises."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is unknown: use 'cpu', 'cuda' or 'auto'.") from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} asks for a GPU, but torch finds none. Use device='cpu', or "
            "device='auto' to take a GPU only where there is one."
        )
    return device


def make_module(
    net: Callable[..., Any] | None,
    n_features: int,
    n_outputs: int,
    n_classes: int,
    mlp: dict[str, Any],
) -> nn.Module:
    """The module that the parameter ``net`` (not a skorch net) stands for.

    An instance is copied and keeps its weights; a class or factory gets ``n_features``, and
    ``n_classes`` as ``n_outputs``, where its signature has them. The default network has
    ``n_outputs`` outputs and the parameters ``mlp``.
    """
    if net is None:
        return MLP(n_features, n_outputs, **mlp)
    if isinstance(net, nn.Module):
        refuse_scripted(net, "cannot be copied to be trained")
        if any(is_lazy(p) for p in net.parameters()):
            return copy.deepcopy(net)
        return copy_module(net).train()
    if not callable(net):
        raise TypeError(
            f"net={net!r} is no network: pass a torch.nn.Module class or instance, a function "
            "that returns one, or an uninitialised skorch net."
        )
    signature = inspect.signature(net).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    offered = {"n_features": n_features, "n_outputs": n_classes}
    taken = {k: v for k, v in offered.items() if k in signature or open_ended}
    missing = [
        name
        for name, p in signature.items()
        if p.default is p.empty
        and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and name not in taken
    ]
    name = getattr(net, "__name__", type(net).__name__)
    if missing:
        raise TypeError(
            f"net={name} needs the arguments {missing}, of which nothing is known. Only "
            "'n_features' and 'n_outputs' are filled in; give defaults to the others, or pass "
            "an instance, functools.partial, or a skorch net with module__ parameters."
        )
    module = net(**taken)
    if not isinstance(module, nn.Module):
        raise TypeError(f"net={name} returned {type(module).__name__}, not a torch.nn.Module.")
    return module


def reads_integers(module: nn.Module) -> bool:
    """Whether a module embeds token ids, so integer inputs must stay integers."""
    return any(isinstance(m, (nn.Embedding, nn.EmbeddingBag)) for m in module.modules())


@torch.no_grad()
def takes_integers(network: Network, X: Any) -> bool:
    """Whether a network embeds token ids, or runs on integers as they are, and not as numbers.

    Parameters
    ----------
    network : Network
    X : array-like of shape (n, ...)
        Integers.
    """
    if reads_integers(network.module):
        return True
    x = torch.as_tensor(np.asarray(X[:2]).astype(np.int64))
    for rows, runs in ((x.double(), False), (x, True)):
        try:
            network.forward(rows)
        except (LookupError, RuntimeError, TypeError, ValueError):
            continue
        return runs
    return False


#: where a network has another width than the data
_WIDTH_REMEDY = "A module class whose __init__ takes 'n_features' gets the width from the data."


@torch.no_grad()
def output_shape(
    forward: Callable[[Tensor], Any], X: Tensor, remedy: str = _WIDTH_REMEDY
) -> tuple[int, ...]:
    """Shape of one sample's output, (k,) or (), found by running a network on a few.

    Parameters
    ----------
    forward : callable
    X : Tensor of shape (n, ...)
    remedy : str
        What to do, in a sentence, where X is of another shape than the network reads.
    """
    try:
        with token_ids_named(forward):
            output = forward(X)
    except (OutputWidthError, UnsupportedNetworkError):
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error.__cause__, IndexError):  # of token ids, and says all
            raise
        if X.is_floating_point() and "indices" in str(error):
            remedy = "Token ids have to be integers: pass X.astype(int)."
        elif "argument" in str(error) and "forward()" in str(error):
            remedy = (
                "Several inputs are passed as a dictionary of arrays by the names of forward's "
                "arguments."
            )
        integers = "" if X.is_floating_point() else f" and {X.dtype}"
        raise UnsupportedNetworkError(
            f"The network cannot be run on X of shape {tuple(X.shape)}{integers}: {error}. {remedy}"
        ) from error
    if not isinstance(output, Tensor) or output.ndim > 2 or output.shape[:1] != X.shape[:1]:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise OutputWidthError(
            f"The network must return one row of outputs per sample, of shape ({len(X)}, k); "
            f"got {got}."
        )
    return tuple(output.shape[1:])


@torch.no_grad()
def least_batch(module: nn.Module, rows: Tensor) -> int:
    """Samples that a batch has to have: two, if a module in training takes no single one.

    Parameters
    ----------
    module : torch.nn.Module
    rows : Tensor of shape (n, ...)
        Two rows of data, or one, which is taken twice.
    """
    if not any(isinstance(part, _BatchNorm) for part in module.modules()):
        return 1
    copied, two = copy_module(module).train(), rows[[0, -1]]
    return 2 if not _runs(copied, two[:1]) and _runs(copied, two) else 1


def check_batch(size: int, n_samples: int, least: int) -> None:
    """Raise a ValueError if batches are too small for a module."""
    if min(size, n_samples) < least:
        raise ValueError(
            f"Batch normalisation needs batches of at least {least} samples for a variance, got "
            f"batch_size={size} and {n_samples} samples."
        )


def _runs(module: nn.Module, rows: Tensor) -> bool:
    """Whether a module can be called; why it cannot, training meets where it matters."""
    try:
        with torch.random.fork_rng(devices=[]):
            module(rows)
    except Exception:
        return False
    return True


def facade_net(
    module: nn.Module, loss: TaskLoss, n_classes: int, optimizer: dict[str, Any], **own: Any
) -> NeuralNet:
    """A skorch net around a finished module; the estimator itself runs the epochs."""
    optimizer_class = optimizer.pop("optimizer")
    settings = {f"optimizer__{key}": value for key, value in optimizer.items()}
    # a classifier's predictions are indices of classes, which skorch's scoring callbacks expect
    net_class = PerturbedNet
    if loss.loss == "softmax":
        net_class, own = PerturbedNetClassifier, {"classes": list(range(n_classes)), **own}
    return net_class(
        module,
        criterion=loss,
        optimizer=optimizer_class,
        train_split=None,
        verbose=0,
        **callback_settings(net_class is PerturbedNetClassifier),
        **settings,
        **own,
    )


def base_optimizer(estimator: Any) -> dict[str, Any]:
    """Class and parameters of the torch optimiser that ``solver`` names."""
    if estimator.solver == "adam":
        betas = (float(estimator.beta_1), float(estimator.beta_2))
        own = {"optimizer": ScikitLearnAdam, "betas": betas, "eps": float(estimator.epsilon)}
    else:
        momentum = float(estimator.momentum)
        nesterov = bool(estimator.nesterovs_momentum and momentum > 0)
        own = {"optimizer": torch.optim.SGD, "momentum": momentum, "nesterov": nesterov}
    return {**own, "lr": float(estimator.learning_rate_init)}
