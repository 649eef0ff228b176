"""Which weights of a network may be pruned, and masks of those that are kept."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import prune

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import ParameterVector

_NORMALISATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
#: rate of the output layer relative to that of the others, layer by layer (Frankle, Carbin 2019)
OUTPUT_RATE = 0.5


@dataclass(frozen=True)
class PrunableLayers:
    """The weights of a network that pruning may remove.

    These are trained parameters of two or more dimensions: weight matrices, filters, projections
    of attention, embeddings. Biases and normalisation are kept. A mask is a vector of booleans over
    all trained parameters, as :class:`~sklflat.training.runs.Training` takes it.

    Parameters
    ----------
    names : tuple of str
        Of the parameters, in the module's order; the last counts as the output layer.
    places : tuple of slice
        Where they are in the vector of all trained parameters.
    shapes : tuple of tuple of int
    n_parameters : int
        Length of that vector.

    Examples
    --------
    >>> import torch
    >>> from sklflat.rewinding.pruning import PrunableLayers
    >>> layers = PrunableLayers.of(torch.nn.Linear(4, 1))
    >>> w = torch.tensor([3.0, -1.0, 2.0, -4.0, 0.1])  # the last is the bias
    >>> layers.pruned(layers.full(), w, kept=0.5)
    tensor([ True, False, False,  True,  True])
    """

    names: tuple[str, ...]
    places: tuple[slice, ...]
    shapes: tuple[tuple[int, ...], ...]
    n_parameters: int

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        """The prunable weights of a module.

        Raises
        ------
        UnsupportedNetworkError
            If there are none.
        """
        vector = ParameterVector.of(module)
        normalising = {
            id(p)
            for part in module.modules()
            if isinstance(part, _NORMALISATIONS)
            for p in part.parameters(recurse=False)
        }
        ends = np.cumsum([0, *vector.sizes])
        own = [
            (str(name), slice(int(a), int(b)), tuple(p.shape))
            for name, p, a, b in zip(
                vector.names, vector.parameters, ends[:-1], ends[1:], strict=True
            )
            if p.ndim > 1 and id(p) not in normalising
        ]
        if not own:
            raise UnsupportedNetworkError(
                f"{type(module).__name__} has no prunable weights: none of its trained parameters "
                "is a matrix or a filter."
            )
        names, places, shapes = zip(*own, strict=True)
        return cls(names, places, shapes, len(vector))

    @property
    def sizes(self) -> list[int]:
        """Numbers of weights."""
        return [place.stop - place.start for place in self.places]

    def full(self) -> Tensor:
        """The mask (p,) that keeps all."""
        return torch.ones(self.n_parameters, dtype=torch.bool)

    def remaining(self, mask: Tensor) -> float:
        """The share of the prunable weights that a mask keeps."""
        return sum(int(mask[place].sum()) for place in self.places) / sum(self.sizes)

    def pruned(
        self,
        mask: Tensor,
        w: Tensor,
        kept: float,
        scope: str = "global",
        kept_of_output: float | None = None,
    ) -> Tensor:
        """The mask without the weights of least magnitude.

        Parameters
        ----------
        mask : Tensor of shape (p,), bool
        w : Tensor of shape (p,)
            Trained parameters.
        kept : float
            The share of all prunable weights, those masked already among them, that is kept.
            Round after round, rounding to whole weights does not add up.
        scope : {"global", "layerwise"}, default="global"
            Whether magnitudes are compared over the network, or within each layer.
        kept_of_output : float, default=None
            The share of the output layer's, layer by layer. None lets it lose half as large a share
            as the others do.

        Raises
        ------
        ValueError
            If a layer would be left without weights; names it.
        """
        magnitudes = [torch.where(mask[p], w[p].abs(), -1.0).double() for p in self.places]
        counts = self.sizes
        if scope == "global":
            chosen = _largest(torch.cat(magnitudes), round(kept * sum(counts)))
            parts = list(chosen.split([len(m) for m in magnitudes]))
        else:
            if kept_of_output is None:
                kept_of_output = 1 - OUTPUT_RATE * (1 - kept)
            shares = [kept] * (len(counts) - 1) + [kept_of_output]
            parts = [
                _largest(m, round(share * n))
                for m, share, n in zip(magnitudes, shares, counts, strict=True)
            ]
        return self._joined(mask, parts)

    def at_random(self, like: Tensor, rng: np.random.RandomState) -> Tensor:
        """A random mask that keeps as many weights of each layer as another."""
        kept = [like[place] for place in self.places]
        parts = [own[torch.as_tensor(rng.permutation(len(own)))] for own in kept]
        return self._joined(like, parts)

    def _joined(self, mask: Tensor, parts: list[Tensor]) -> Tensor:
        joined = mask.clone()
        for place, part in zip(self.places, parts, strict=True):
            joined[place] = part
        empty = [n for n, part in zip(self.names, parts, strict=True) if not part.any()]
        if empty:
            raise ValueError(
                f"Pruned to {self.remaining(joined):.3%} of the weights, {', '.join(empty)} has "
                "none left. Lower sparsity, or use prune='layerwise'."
            )
        return joined

    def by_name(self, mask: Tensor) -> dict[str, NDArray]:
        """A mask as arrays of the parameters' shapes, by their names."""
        pairs = zip(self.names, self.places, self.shapes, strict=True)
        return {name: mask[place].reshape(shape).numpy().copy() for name, place, shape in pairs}

    def from_names(self, masks: Mapping[str, Any]) -> Tensor:
        """The mask (p,) of arrays by name; what is not named is kept.

        Raises
        ------
        ValueError
            If a name or a shape is not the network's.
        """
        mask = self.full()
        for name, own in masks.items():
            own = torch.as_tensor(np.asarray(own)).bool()
            if name not in self.names or tuple(own.shape) != self.shapes[self.names.index(name)]:
                known = dict(zip(self.names, self.shapes, strict=True))
                raise ValueError(
                    f"There is no weight {name!r} of shape {tuple(own.shape)} to mask; the "
                    f"network has {known}."
                )
            mask[self.places[self.names.index(name)]] = own.flatten()
        return mask


def _largest(magnitudes: Tensor, n: int) -> Tensor:
    """Mask of the n largest; of equal ones those that come first."""
    chosen = torch.zeros(len(magnitudes), dtype=torch.bool)
    chosen[torch.argsort(magnitudes, descending=True, stable=True)[:n]] = True
    return chosen


def write_masks(module: nn.Module, masks: Mapping[str, Any]) -> nn.Module:
    """A copy of a module, pruned by :mod:`torch.nn.utils.prune`.

    Parameters
    ----------
    module : torch.nn.Module
        Such as ``rewinder.ticket_.module_``.
    masks : mapping of str to array
        By the parameters' names, such as ``rewinder.mask_``.

    Returns
    -------
    pruned : torch.nn.Module
    """
    module = copy.deepcopy(module)
    for name, mask in masks.items():
        owner, _, own = name.rpartition(".")
        part = module.get_submodule(owner)
        like = getattr(part, own)
        prune.custom_from_mask(part, own, torch.as_tensor(np.asarray(mask)).to(like))
    return module


def read_masks(module: nn.Module) -> dict[str, NDArray]:
    """The masks of a module that was pruned by :mod:`torch.nn.utils.prune`, by parameters' names.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    masks : dict of str to ndarray of bool
        True for weights that are kept.

    Examples
    --------
    >>> import torch
    >>> from torch.nn.utils import prune
    >>> from sklflat.rewinding.pruning import read_masks
    >>> module = prune.l1_unstructured(torch.nn.Linear(1, 2), "weight", amount=1)
    >>> sorted(read_masks(module)["weight"].ravel().tolist())
    [False, True]
    """
    return {
        name.removesuffix("_mask"): buffer.bool().cpu().numpy()
        for name, buffer in module.named_buffers()
        if name.endswith("_mask")
    }
