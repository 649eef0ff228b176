"""A layer of units: what a nonlinearity makes of its input."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Size, Tensor

from sklflat.networks.tracing.flow import (
    SHARED,
    Affine,
    Entries,
    Flow,
    Layer,
    Rows,
    Source,
    arange_along,
    collected,
)
from sklflat.networks.tracing.layout import Layout
from sklflat.networks.tracing.tensors import NONE

_STRIDE = 2**32


class Owners:
    """For each entry of some parameters, the one unit that it belongs to.

    An entry that belongs to two units belongs to none.

    Parameters
    ----------
    shapes : mapping of str to torch.Size
        Of the parameters.
    """

    def __init__(self, shapes: Mapping[str, Size]) -> None:
        self._shapes = shapes
        self._units: dict[str, Tensor] = {}

    def add(self, name: str, entries: Tensor, units: Tensor) -> None:
        """Say whose some entries of a parameter are; NONE says nothing."""
        new = collected(self._shapes[name].numel(), entries, units)
        old = self._units.setdefault(name, new)
        both = torch.where(old == new, old, SHARED)
        self._units[name] = torch.where(old == NONE, new, torch.where(new == NONE, old, both))

    def items(self) -> list[tuple[str, Tensor, Tensor]]:
        """All that was added, as arguments of :meth:`add`."""
        return [(name, torch.arange(len(u)), u) for name, u in self._units.items()]

    def finished(self) -> dict[str, Tensor]:
        """Tensors of the parameters' shapes with the units of the entries, -1 for none."""
        return {
            name: units.where(units >= 0, NONE).to(torch.int32).view(self._shapes[name])
            for name, units in self._units.items()
            if bool((units >= 0).any())
        }


@dataclass(eq=False)
class FoundLayer:
    """A layer of units as it was found, hidden or not.

    Attributes
    ----------
    source : Layer
    units : Tensor
        The unit of each element of the activations.
    layout : Layout or None
        None if it is not known where the rows are.
    event : int
        Which of the watched calls it was.
    path, operation : str
        Of the module that called the nonlinearity, and the nonlinearity's name.
    is_module : bool
        Whether that module is nothing but the nonlinearity.
    incoming, outgoing : Owners
    feeders : list of str
        Parameters that feed it.
    lost_incoming, lost_outgoing : set of str
    is_upstream : bool
        Whether it is upstream of an affine operation.
    is_read : bool
        Whether an affine operation reads it with no other layer in between.
    is_superseded : bool
        Whether another nonlinearity works on this one's units and nothing else.
    """

    source: Layer
    units: Tensor
    layout: Layout | None
    event: int
    path: str
    operation: str
    is_module: bool
    incoming: Owners
    outgoing: Owners
    feeders: list[str] = field(default_factory=list)
    lost_incoming: set[str] = field(default_factory=set)
    lost_outgoing: set[str] = field(default_factory=set)
    is_upstream: bool = False
    is_read: bool = False
    is_superseded: bool = False

    @property
    def is_hidden(self) -> bool:
        """Whether its units are hidden units of the network."""
        return self.is_upstream and (self.is_read or not self.is_superseded)


def units_and_layout(flow: Flow, shape: torch.Size, n_rows: int) -> tuple[Tensor, Layout | None]:
    """The unit of each element of a nonlinearity's output, and where the units are.

    Units are the channels of the last affine operation that reaches an element, else of the
    last layer of units, else of the channel axis: the second of four or more, else the last.
    They are numbered as they come.
    """
    rows = [labels for _, labels in flow.of(Rows)]
    by_row = rows[0] if len(rows) == 1 else None
    channel = 1 if len(shape) >= 4 else -1
    by_axis = arange_along(shape, *([channel] if len(shape) > 1 else []))
    units = _numbered([*_last_first(flow, Affine), *_last_first(flow, Layer), by_axis])
    layout = Layout.of(by_row, units, n_rows)
    if layout is None:  # some units have more positions than others
        units = _numbered([by_axis])
        layout = Layout.of(by_row, units, n_rows)
    return units, layout


def _last_first(flow: Flow, kind: type[Affine] | type[Layer]) -> list[Tensor]:
    pairs = flow.of(kind)
    pairs.sort(key=lambda pair: -pair[0].order)  # type: ignore[attr-defined]
    return [labels for _, labels in pairs]


def _numbered(labelings: list[Tensor]) -> Tensor:
    """The first labeling that knows an element decides, and units count up from the first."""
    keys = torch.full(labelings[0].shape, NONE)
    for rank, labels in enumerate(labelings):
        keys = torch.where((keys == NONE) & (labels >= 0), labels + rank * _STRIDE, keys)
    found, inverse = torch.unique(keys, return_inverse=True)
    places, start = torch.arange(inverse.numel()), torch.full((len(found),), inverse.numel())
    first = start.scatter_reduce(0, inverse.flatten(), places, "amin")
    number = torch.empty_like(first)
    number[first.argsort()] = torch.arange(len(found))
    return number[inverse]


def feed(layer: FoundLayer, flow: Flow, below: list[FoundLayer]) -> None:
    """Note which parameters feed the units: what makes channels that are in one unit only.

    If nothing but layers reach it, it supersedes them and is fed by what feeds them.
    """
    layer.lost_incoming |= {operation for operation, of in flow.lost if of is None}
    sources = list(dict.fromkeys(source for source, _ in flow.of(Affine, Entries)))
    for source in sources:
        labelings = [labels for s, labels in flow.pairs if s is source]
        if not any(bool((labels >= 0).any()) for labels in labelings):
            layer.lost_incoming.add("an operation across channels")
        for labels in labelings:
            _feed_from(layer, source, labels)
    if flow.direct and not sources and not flow.lost:
        for index in flow.direct:
            below[index].is_superseded = True
        for source, labels in flow.of(Layer):
            _inherit(layer, below[source.order], labels)  # type: ignore[attr-defined]


def _feed_from(layer: FoundLayer, source: Source, labels: Tensor) -> None:
    if isinstance(source, Entries):
        layer.incoming.add(source.name, labels, layer.units)
        layer.feeders.append(source.name)
    elif isinstance(source, Affine):
        unit = collected(source.n_channels, labels, layer.units)
        for name, entries, channels in source.rows:
            layer.incoming.add(name, entries, unit[channels])
            layer.feeders.append(name)
        layer.lost_incoming |= source.lost


def _inherit(layer: FoundLayer, below: FoundLayer, labels: Tensor) -> None:
    unit = collected(int(below.units.max()) + 1, labels, layer.units)
    for name, entries, units in below.incoming.items():
        layer.incoming.add(name, entries, torch.where(units >= 0, unit[units], NONE))
    layer.feeders += below.feeders
    layer.lost_incoming |= below.lost_incoming
