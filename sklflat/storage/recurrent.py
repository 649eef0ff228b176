"""Recurrent layers in files: their sizes, and weights that have exactly the shapes of these sizes.

The kernels trust that both belong together, so a layer is made of its sizes by torch, without
memory, and gets the weights of the file only if they are of the shapes that torch has given it.
"""

from typing import Any

from torch import nn

from sklflat.exceptions import CheckpointError

#: name in files -> class; subclasses of the user's are layers of theirs
LAYERS: dict[str, type[nn.Module]] = {
    f"torch.nn.{cls.__name__}": cls
    for cls in (nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell)
}
_SIZES = ("input_size", "hidden_size", "num_layers")
_FLAGS = ("bias", "batch_first", "bidirectional")
_MAX_SIZE = 2**31


def name_of(module: Any) -> str | None:
    """The name in files of a recurrent layer of torch's own; None for anything else."""
    name = f"torch.nn.{type(module).__name__}"
    return name if LAYERS.get(name) is type(module) else None


def settings_of(module: nn.Module) -> dict[str, Any]:
    """What a layer was made with."""
    names = (*_SIZES, *_FLAGS, "dropout", "proj_size", "nonlinearity")
    own = {name: getattr(module, name) for name in names if hasattr(module, name)}
    if type(module) is not nn.LSTM:
        own.pop("proj_size", None)
    return own


def make(name: Any, settings: dict[str, Any], weights: dict[str, Any]) -> nn.Module:
    """A layer of a name, with settings and weights, all of which are checked.

    Raises
    ------
    CheckpointError
        If they do not belong together.
    """
    cls: Any = LAYERS.get(name) if isinstance(name, str) else None
    _expect(cls is not None, "is unknown")
    for key, value in settings.items():
        _expect(_is_setting(key, value), f"has no such {key[:40]}")
    # each has a weight at least, so that the file's size bounds the number of layers
    _expect(settings.get("num_layers", 1) <= len(weights), "has too few weights")
    made: nn.Module = cls(**settings, device="meta")
    shapes = {key: p.shape for key, p in made.named_parameters()}
    _expect(list(weights) == list(shapes), "has other weights")
    right = all(isinstance(w, nn.Parameter) and w.shape == shapes[k] for k, w in weights.items())
    _expect(right, "has weights of other shapes")
    dtypes = {w.dtype for w in weights.values()}
    _expect(len(dtypes) == 1 and dtypes.pop().is_floating_point, "has weights of several types")
    for key, weight in weights.items():
        setattr(made, key, weight)
    return made


def _is_setting(name: str, value: Any) -> bool:
    """Whether a setting is there, and its value of its kind."""
    if name in _SIZES or name == "proj_size":
        return type(value) is int and (name == "proj_size" or value > 0) and 0 <= value < _MAX_SIZE
    if name in _FLAGS:
        return type(value) is bool
    if name == "nonlinearity":
        return value in ("tanh", "relu") if type(value) is str else False
    return name == "dropout" and type(value) in (int, float) and 0 <= value <= 1


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise CheckpointError(f"The file cannot be used: a recurrent layer {what}.")
