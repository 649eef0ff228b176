"""The hidden layers of a module, found by running it."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sklflat.exceptions import NoUnitsError, UnsupportedNetworkError
from sklflat.networks.checks import refuse_scripted
from sklflat.networks.evaluation import prepared, undisturbed
from sklflat.networks.tracing import operations
from sklflat.networks.tracing.nonlinear import FoundLayer
from sklflat.networks.tracing.tracer import Tracer
from sklflat.networks.unit_layer import UnitLayer

_ROW_COUNTS = (5, 7, 11, 13, 17, 19, 23)


def discover(module: nn.Module, X: Tensor) -> tuple[tuple[UnitLayer, ...], tuple[str, ...], bool]:
    """Run a module on some rows and find its hidden layers.

    Parameters
    ----------
    module : torch.nn.Module
        Is left as it was.
    X : Tensor of shape (n, ...)
        A few of its rows are used, several times if there are not enough.

    Returns
    -------
    layers : tuple of UnitLayer
        All hidden layers, in the order in which they run.
    events : tuple of str
        The calls that are counted to know a layer again.
    draws : bool
        Whether random numbers may have been drawn.

    Raises
    ------
    UnsupportedNetworkError
        If the module cannot be run on X.
    NoUnitsError
        If it has no hidden layer.
    """
    refuse_scripted(module, "hides its units")
    if any(is_lazy(p) for p in module.parameters()):
        _run(module, X[:2].clone())  # which gives it its shapes
    x = prepared(module, X[torch.arange(_n_rows(module, X)) % len(X)])
    tracer = Tracer(module, x)
    with undisturbed(module, lambda: tracer.draws), tracer.watching():
        _run(module, x)
    if not any(layer.is_hidden for layer in tracer.layers):
        raise NoUnitsError(_nothing_found(module, tracer))
    return *_counted(tracer.layers, tracer.events), tracer.draws


@torch.no_grad()
def _run(module: nn.Module, x: Tensor) -> None:
    try:
        module(x)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UnsupportedNetworkError(
            f"The network cannot be run on X of shape {tuple(x.shape)} and {x.dtype}: {error}. "
            "Units are found by calling it with a few rows of X and nothing else."
        ) from error


def _n_rows(module: nn.Module, X: Tensor) -> int:
    """A number of rows that is no other length, so that the rows' axis can be told."""
    shapes = [X.shape[1:], *(t.shape for t in (*module.parameters(), *module.buffers()))]
    lengths = {n for shape in shapes for n in shape}
    return next((n for n in _ROW_COUNTS if n not in lengths), _ROW_COUNTS[0])


def _nothing_found(module: nn.Module, tracer: Tracer) -> str:
    """What was looked for in vain, and why."""
    message = (
        f"No hidden layer of units was found in {type(module).__name__}. Looked for, upstream of "
        f"a layer with weights: {', '.join(sorted(operations.NONLINEARITIES))}."
    )
    recurrent = sorted(tracer.unknown & operations.RECURRENT)
    if recurrent:
        return message + f" What runs inside of a recurrent layer ({recurrent[0]}) cannot be seen."
    if tracer.layers:
        names = [layer.path or layer.operation for layer in tracer.layers]
        return message + f" Nothing with weights comes after {names}."
    return message


def _counted(
    layers: list[FoundLayer], events: list[str]
) -> tuple[tuple[UnitLayer, ...], tuple[str, ...]]:
    """Layers that know their places among all calls that are counted."""
    # linear operations count only where a layer is told by one
    counts_linear = any(layer.operation == "identity" for layer in layers)
    kept = [i for i, event in enumerate(events) if event != "linear" or counts_linear]
    place = {event: i for i, event in enumerate(kept)}
    finished = [
        _finished(layer, name, place[layer.event])
        for layer, name in zip(layers, _names(layers), strict=True)
        if layer.is_hidden
    ]
    return tuple(finished), tuple(events[i] for i in kept)


def _finished(layer: FoundLayer, name: str, event: int) -> UnitLayer:
    if layer.layout is None:
        raise UnsupportedNetworkError(
            f"Layer {name!r} makes activations of shape {tuple(layer.units.shape)} in which the "
            "rows of X cannot be found. A unit must have its own activations for each row."
        )
    return UnitLayer(
        name,
        tuple(dict.fromkeys(_owner(feeder) for feeder in layer.feeders)),
        layer.layout.n_units,
        layer.incoming.finished(),
        layer.outgoing.finished(),
        tuple(sorted(layer.lost_incoming)),
        tuple(sorted(layer.lost_outgoing)),
        event,
        layer.layout,
    )


def _owner(parameter: str) -> str:
    """Path of the module that a parameter belongs to; the root's go by their own names."""
    path = parameter.split(".parametrizations.")[0] if ".parametrizations." in parameter else ""
    return path or parameter.rpartition(".")[0] or parameter


def _names(layers: Iterable[FoundLayer]) -> list[str]:
    """Unique names; those of modules come first, calls of one thing are counted."""
    layers = list(layers)
    bases = [
        layer.path if layer.is_module else f"{layer.path}.{layer.operation}".lstrip(".")
        for layer in layers
    ]
    taken = {base for base, layer in zip(bases, layers, strict=True) if layer.is_module}
    seen: set[str] = set()
    names = []
    for base, layer in zip(bases, layers, strict=True):
        name = base
        number = 0
        while name in seen or (name in taken and not (layer.is_module and name == base)):
            number += 1
            name = f"{base}_{number}"
        seen.add(name)
        names.append(name)
    return names
