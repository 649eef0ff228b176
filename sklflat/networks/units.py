"""The units of a network: names, activations, parameters."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklflat.exceptions import UnsupportedNetworkError, did_you_mean
from sklflat.networks.blocks import Blocks, blocks_of
from sklflat.networks.checks import Check, checked_rows, has_independent_rows
from sklflat.networks.evaluation import prepared, undisturbed
from sklflat.networks.functional import ParameterVector
from sklflat.networks.nonlinearity_calls import CallCounter, ForwardPasses, structure_of
from sklflat.networks.token_ids import token_ids_named
from sklflat.networks.tracing.discovery import discover
from sklflat.networks.tracing.layout import stored_like
from sklflat.networks.unit_layer import UnitLayer, chosen_layers

__all__ = ["Blocks", "UnitLayer", "Units"]

Replace = Callable[[int, Tensor], Tensor]


class Units:
    """Units of some layers of a network, numbered from 0 on, layer after layer as they run.

    A *unit* is an output channel of a hidden layer after its nonlinearity. :meth:`find` runs the
    module once and watches which nonlinearities it calls, whether they are modules or functions,
    and which channels of which affine operations reach them. A layer is *hidden* if an affine
    operation runs downstream of it, so a final sigmoid or softmax is none.

    * Of nonlinearities of each other with nothing in between, such as ``relu(relu(x))``, only the
      last makes units, unless an affine operation reads the others too.
    * The gate of a product written by hand, such as ``x * sigmoid(x)``, is a layer itself: its
      units are the values of the sigmoid. ``nn.SiLU`` and ``nn.GLU`` are one nonlinearity each.
    * In :class:`~sklflat.networks.MLP` with ``activation="identity"``, the identities count as
      nonlinearities.

    Layers are known again by the order in which nonlinearities are called. So the units that were
    found in a module are those of all its twins: copies with other weights or another precision.

    Attributes
    ----------
    layers : tuple of UnitLayer
    names : list of str
        Of the units: ``"hidden.relu_0[3]"``.
    layer_of : ndarray of shape (n_units,), int
        Index into `layers` of each unit.
    channel_of : ndarray of shape (n_units,), int
        Number of each unit within its layer.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks import MLP, ParameterVector
    >>> from sklflat.networks.units import Units
    >>> module = MLP(2, 1, hidden_layer_sizes=(3,))
    >>> units = Units.find(module, torch.zeros(1, 2))
    >>> units.names
    ['hidden.relu_0[0]', 'hidden.relu_0[1]', 'hidden.relu_0[2]']

    Its parameters are a (3, 2) matrix, 3 biases, a (1, 3) matrix and a bias. The second unit has
    the second row of the first matrix, and is read by the second entry of the other:

    >>> vector = ParameterVector.of(module)
    >>> units.incoming(vector).indices(1)
    tensor([2, 3, 7])
    >>> units.outgoing(vector).indices(1)
    tensor([10])

    Weights of 1 make every unit the sum of the inputs:

    >>> vector.write(torch.ones(13).index_fill(0, torch.tensor([6, 7, 8]), 0.0))
    >>> units.activations(module, torch.tensor([[1.0, 2.0], [-3.0, 0.0]]))
    tensor([[3., 3., 3.], [0., 0., 0.]])
    """

    def __init__(
        self,
        layers: Sequence[UnitLayer],
        events: Sequence[str],
        structure: Sequence[tuple[str, str]],
        parameters: Sequence[str],
        draws: bool = False,
    ) -> None:
        self.layers = tuple(layers)
        self._events = tuple(events)
        self._structure = tuple(structure)
        self._parameters = frozenset(parameters)
        self._draws = draws
        sizes = [layer.n_units for layer in self.layers]
        self.layer_of = np.repeat(np.arange(len(sizes)), np.array(sizes, dtype=int))
        channels = [np.arange(size) for size in sizes]
        self.channel_of: NDArray[np.int_] = np.concatenate([np.arange(0), *channels])
        self.names = [f"{layer.name}[{c}]" for layer in self.layers for c in range(layer.n_units)]
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._ends = np.cumsum(sizes)

    @classmethod
    def find(cls, module: nn.Module, X: Tensor, layers: str | Sequence[str] = "hidden") -> "Units":
        """The units of a module, found by running it on a few rows in evaluation mode.

        Parameters
        ----------
        module : torch.nn.Module
            Called with X alone. It is left as it was.
        X : Tensor of shape (n, ...)
            Some rows of data, at least one.
        layers : "hidden" or sequence of str, default="hidden"
            All hidden layers, or those with these names or aliases. A name alone stands for a
            sequence of one.

        Raises
        ------
        UnsupportedNetworkError
            If the module cannot be run on X, or if it has no hidden layer.
        ValueError
            If there is no layer of a name.
        """
        _check_rows(X)
        found, events, draws = discover(module, X)
        parameters = [name for name, _ in module.named_parameters()]
        chosen = chosen_layers(found, layers)
        return cls(chosen, events, structure_of(module), parameters, draws)

    @classmethod
    def none(cls, module: nn.Module) -> "Units":
        """No units, of a module that has none.

        Parameters
        ----------
        module : torch.nn.Module
        """
        return cls((), (), structure_of(module), [name for name, _ in module.named_parameters()])

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{layer.name}: {layer.n_units}" for layer in self.layers)
        return f"<{len(self)} units: {sizes}>"

    def index(self, name: str) -> int:
        """The number of the unit of a name; a ValueError names the one that may be meant."""
        if not isinstance(name, str):
            such = f", such as {self.names[0]!r}" if self.names else ""
            raise TypeError(f"A unit is called by its name{such}, got {name!r}.")
        if name not in self._numbers:
            meant = self._by_alias(name)
            hint = (
                f" Did you mean {meant!r}?" if meant else did_you_mean(name, self.names, cutoff=0.5)
            )
            raise ValueError(f"There is no unit {name!r}.{hint}")
        return self._numbers[name]

    def _by_alias(self, name: str) -> str | None:
        """The unit of a name that has the module that feeds its layer in the layer's place."""
        path, bracket, channel = name.rpartition("[")
        for layer in self.layers:
            meant = f"{layer.name}{bracket}{channel}"
            if path in layer.aliases and meant in self._numbers:
                return meant
        return None

    # --- activations -------------------------------------------------------------------------

    def activations(self, module: nn.Module, X: Tensor, batch_size: int = 1024) -> Tensor:
        """Activation of every unit for every row, the mean over positions.

        Parameters
        ----------
        module : torch.nn.Module
            A twin of the one whose units they are, run in evaluation mode and left as it was.
        X : Tensor of shape (n, ...)
        batch_size : int, default=1024
            Rows in flight at once; peak memory is what these need, and the result.

        Returns
        -------
        Tensor of shape (n, n_units)
            On the CPU, in the module's precision.
        """
        result = None if self.layers else torch.empty(len(X), 0)
        start = 0
        for part in self.stream(module, X, batch_size) if self.layers else ():
            if result is None:
                result = part.new_empty(len(X), len(self))
            result[start : start + len(part)] = part
            start += len(part)
        assert result is not None
        return result

    @torch.no_grad()
    def has_independent_rows(self, module: nn.Module, X: Tensor) -> Check:
        """Whether the activations of a row do not depend on the rows beside it.

        Outputs may be right where they do: a module that sorts the rows of a batch, as one of
        sequences by their lengths, puts outputs back in order, and activations are seen sorted.

        Parameters
        ----------
        module : torch.nn.Module
        X : Tensor of shape (n, ...)
            Two rows at least.
        """
        x = checked_rows(X)
        x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
        with token_ids_named(module):
            found = has_independent_rows(lambda x: torch.cat(list(self.stream(module, x))), x)
        return replace(
            found,
            question="Is each row's activation its own?",
            compared=f"activations of {len(x)} rows together and in parts",
            advice="The module sorts or mixes the rows of a batch in its forward, so it is not "
            "known which row an activation is of: let rows keep their order there.",
        )

    def stream(self, module: nn.Module, X: Tensor, batch_size: int = 1024) -> Iterator[Tensor]:
        """The rows of :meth:`activations`, (b, n_units) a batch."""
        _check_rows(X)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size!r}.")
        for x in X.split(batch_size):
            yield self._activations_of_batch(module, x)

    def _activations_of_batch(self, module: nn.Module, x: Tensor) -> Tensor:
        parts: list[Tensor] = []

        def see(layer: UnitLayer, out: Tensor) -> None:
            a = layer.layout.split(out)
            if len(a) != len(x) or a.shape[1] != layer.n_units:
                raise UnsupportedNetworkError(
                    f"Layer {layer.name!r} makes activations of {a.shape[1]} units for {len(a)} "
                    f"rows, where {layer.n_units} units for {len(x)} rows were expected."
                )
            # now, as the module may go on to work in place
            parts.append(a.flatten(2).mean(2).cpu() if a.ndim > 2 else a.cpu().clone())

        visits = {layer.event: partial(see, layer) for layer in self.layers}
        counter = CallCounter(self._events, visits)
        with undisturbed(module, lambda: self._draws), counter:
            counter.begin()
            module(prepared(module, x))
            counter.end()
        return torch.cat(parts, dim=1)

    @contextmanager
    def replaced(self, replace: Replace, layers: Iterable[int] | None = None) -> Iterator[None]:
        """While it is entered, replace the activations.

        Any forward pass of a twin in this thread calls ``replace(layer_index, a)`` at each layer,
        where `a` has the shape ``(rows, n_units, *positions)``, and goes on with what it returns,
        of the same shape. Gradients flow through both; :mod:`torch.func` works. Other modules
        are not touched, nor is the module's training mode.

        Parameters
        ----------
        replace : callable
            ``replace(layer_index, a) -> Tensor``.
        layers : iterable of int, default=None
            Layers whose activations are replaced; None means all.

        Raises
        ------
        UnsupportedNetworkError
            If nothing was replaced though something ran, because it was no twin or was not
            called as ``module(X)``.

        Examples
        --------
        With all units set to 1, a network is the sum of its last weights and biases:

        >>> import torch
        >>> from sklflat.networks import MLP
        >>> from sklflat.networks.units import Units
        >>> module = MLP(2, 1, hidden_layer_sizes=(3,))
        >>> units = Units.find(module, torch.zeros(1, 2))
        >>> with units.replaced(lambda layer_index, a: torch.ones_like(a)):
        ...     z = module(torch.randn(4, 2))
        >>> torch.allclose(z, module.output.weight.sum() + module.output.bias)
        True
        """

        def put(index: int, out: Tensor) -> Tensor:
            layout = self.layers[index].layout
            a = layout.split(out)
            new = replace(index, a)
            if new.shape != a.shape:
                raise ValueError(
                    f"replace(layer_index={index}, a) must return a tensor of a's shape "
                    f"{tuple(a.shape)}, got {tuple(new.shape)}."
                )
            # a copy, as the module may work in place on what was seen outside
            return stored_like(out, layout.join(new.to(out.dtype), out))

        with self.rewritten(put, layers):
            yield

    @contextmanager
    def rewritten(self, rewrite: Replace, layers: Iterable[int] | None = None) -> Iterator[None]:
        """As :meth:`replaced`, of the output of a layer as the network has it.

        Parameters
        ----------
        rewrite : callable
            ``rewrite(layer_index, out) -> Tensor`` in the layout of the layer, with which the
            network goes on.
        layers : iterable of int, default=None
            Layers that are rewritten; None means all.
        """
        chosen = range(len(self.layers)) if layers is None else layers
        visits = {self.layers[i].event: partial(rewrite, i) for i in chosen}
        counter = CallCounter(self._events, visits, replaces=True)
        with ForwardPasses(counter, self._structure).watched() as passes, counter:
            yield
        if counter.n_ignored and not passes.n_complete:
            raise UnsupportedNetworkError(
                "Nothing was replaced: no module of the structure whose units these are was "
                "called. Call it as module(X), not by module.forward."
            )

    def watched(self, run: Callable[[], object]) -> Tensor:
        """Activations while a twin runs, as tensors that gradients flow through.

        Parameters
        ----------
        run : callable
            Calls ``module(X)`` once. :mod:`torch.func` works.

        Returns
        -------
        Tensor of shape (rows, n_units)
            Averaged over positions.

        Examples
        --------
        >>> import torch
        >>> from sklflat.networks import MLP
        >>> from sklflat.networks.units import Units
        >>> module = MLP(2, 1, hidden_layer_sizes=(3,))
        >>> units = Units.find(module, torch.zeros(1, 2))
        >>> x = torch.ones(4, 2, requires_grad=True)
        >>> units.watched(lambda: module(x)).requires_grad
        True
        """
        seen: dict[int, Tensor] = {}

        def keep(layer: int, a: Tensor) -> Tensor:
            # a copy, as the module may go on to work in place
            seen[layer] = a.flatten(2).mean(2) if a.ndim > 2 else a.clone()
            return a

        with self.replaced(keep):
            run()
        return torch.cat([seen[layer] for layer in range(len(self.layers))], dim=1)

    # --- parameters --------------------------------------------------------------------------

    def incoming(self, vector: ParameterVector) -> Blocks:
        """For each unit the entries of a parameter vector that feed it.

        These are the weights and biases of the affine operations whose output becomes that
        unit and no other of its layer: its row of a weight matrix and its bias; its filter;
        factor and shift of normalisations in between, whose statistics count as constants. In a
        residual stream, the rows of all that was added to it count. Non-trainable parameters are
        left out.

        Raises
        ------
        UnsupportedNetworkError
            If an operation that is not understood stands in between.
        """
        return blocks_of(self.layers, "incoming", vector, self._parameters)

    def outgoing(self, vector: ParameterVector) -> Blocks:
        """For each unit the entries of a parameter vector that read it and no other of its layer.

        Its column of the next weight matrix, or the columns of its positions; the part of each
        filter that sees its channel.

        Raises
        ------
        UnsupportedNetworkError
            If an operation that is not understood stands in between.
        """
        return blocks_of(self.layers, "outgoing", vector, self._parameters)


def _check_rows(X: Tensor) -> None:
    if not isinstance(X, Tensor) or X.ndim == 0 or len(X) == 0:
        got = f"shape {tuple(X.shape)}" if isinstance(X, Tensor) else type(X).__name__
        raise ValueError(f"X must be a tensor of at least one row, got {got}.")
