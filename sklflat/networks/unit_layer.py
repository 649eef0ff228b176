"""One layer of units, and layers by their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from sklflat.exceptions import UnsupportedNetworkError, did_you_mean
from sklflat.networks.tracing.layout import Layout


@dataclass(frozen=True, eq=False)
class UnitLayer:
    """The units that one call of a nonlinearity makes.

    Attributes
    ----------
    name : str
        Path of the nonlinearity's module; for a function, the path of the module that calls it
        and the function's name. A second call of the same ends in ``_1``, a third in ``_2``.
    aliases : tuple of str
        Paths of the affine and normalisation modules that feed it.
    n_units : int
    incoming, outgoing : mapping of str to Tensor
        By the parameters' names, tensors of the parameters' shapes: for each entry the unit that
        it feeds or reads, -1 if none or several.
    lost_incoming, lost_outgoing : tuple of str
        Operations behind which those entries got out of sight; if there are any, the entries
        above are not all.
    event : int
        Which call of a nonlinearity it is, in the order in which the module runs.
    layout : Layout
        Where the activations have their rows, units and positions.
    """

    name: str
    aliases: tuple[str, ...]
    n_units: int
    incoming: Mapping[str, Tensor]
    outgoing: Mapping[str, Tensor]
    lost_incoming: tuple[str, ...]
    lost_outgoing: tuple[str, ...]
    event: int
    layout: Layout

    def owners(self, direction: str) -> Mapping[str, Tensor]:
        """``incoming`` or ``outgoing``, or an error if it is not known completely."""
        lost = self.lost_incoming if direction == "incoming" else self.lost_outgoing
        if lost:
            raise UnsupportedNetworkError(
                f"The {direction} weights of the units of layer {self.name!r} are not known: "
                f"{', '.join(map(repr, lost))} stands between them. Choose other layers by "
                "layers=(...), or a method that does not need the units' weights."
            )
        return self.incoming if direction == "incoming" else self.outgoing


def chosen_layers(layers: Sequence[UnitLayer], names: str | Sequence[str]) -> list[UnitLayer]:
    """The layers of some names or aliases, as they run; a name goes before an alias."""
    wanted = [names] if isinstance(names, str) else list(names)
    if wanted == ["hidden"]:
        return list(layers)
    if not wanted:
        raise ValueError(f"layers={names!r} names no layer: pass 'hidden' or some names.")
    own = {layer.name for layer in layers}
    known = [name for layer in layers for name in (layer.name, *layer.aliases)]
    for name in wanted:
        if name not in known:
            raise ValueError(
                f"layers={names!r}: there is no hidden layer {name!r}."
                f"{did_you_mean(name, known, cutoff=0.5)} "
                f"There are {sorted(own)}, which also go by the names of the modules that feed "
                f"them: {sorted(set(known) - own)}."
            )
    return [
        layer
        for layer in layers
        if any(name == layer.name or (name not in own and name in layer.aliases) for name in wanted)
    ]
