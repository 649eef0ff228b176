"""Several inputs of a network, side by side in one array."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: integers up to here are exact in single precision
_EXACT = 2**24


@dataclass(frozen=True)
class Parts:
    """How the named inputs of a network lie side by side in the columns of one array.

    Parameters
    ----------
    names : tuple of str
    shapes : tuple of tuples of int
        Of one row of each.
    integers : tuple of bool
        Which are integers, such as token ids.
    booleans : tuple of bool, default=()
        Which are true or false, such as masks: attention adds a mask of numbers to its logits, and
        leaves out what a mask of truth values names. Empty is none of them.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklflat.networks import Parts
    >>> X = {"age": np.array([[30.0], [40.0]]), "words": np.array([[1, 2], [3, 4]])}
    >>> parts = Parts.of(X)
    >>> parts.join(X)
    array([[30.,  1.,  2.],
           [40.,  3.,  4.]])
    >>> parts.split(torch.as_tensor(parts.join(X)))["words"].tolist()
    [[1, 2], [3, 4]]
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    integers: tuple[bool, ...]
    booleans: tuple[bool, ...] = ()

    @classmethod
    def of(cls, X: Mapping) -> Self:
        """Those of arrays (n, ...) by name.

        Raises
        ------
        ValueError
            If there are none, or if they do not have the same number of rows.
        """
        arrays = {str(name): _numbers(x) for name, x in X.items()}
        if not arrays:
            raise ValueError("X is a dict without inputs: pass arrays by the names in forward.")
        if len({x.shape[:1] for x in arrays.values()}) > 1 or any(
            x.ndim == 0 for x in arrays.values()
        ):
            sizes = {name: x.shape for name, x in arrays.items()}
            raise ValueError(f"The inputs in X have inconsistent numbers of samples: {sizes}.")
        return cls(
            tuple(arrays),
            tuple(x.shape[1:] for x in arrays.values()),
            tuple(x.dtype.kind in "iu" for x in arrays.values()),
            tuple(x.dtype.kind == "b" for x in arrays.values()),
        )

    def join(self, X: Mapping) -> NDArray:
        """One array (n, n_columns) of arrays (n, ...) by name.

        In float64, or float32 where the numbers are.

        Raises
        ------
        ValueError
            If names or shapes are others, or integers too large to be exact beside floats.
        """
        arrays = {str(name): _numbers(x) for name, x in X.items()}
        given = type(self).of(arrays)
        found, expected = dict(given._named_shapes()), dict(self._named_shapes())
        if found != expected:
            raise ValueError(f"X has inputs of shapes {found}, but was {expected} in fit.")
        floats = [x for x in arrays.values() if x.dtype.kind == "f"]
        single = bool(floats) and all(x.dtype.itemsize <= 4 for x in floats)
        for name, _, is_integer, is_boolean in self._described():
            values = arrays[name]
            if is_boolean and not np.isin(values, (0, 1)).all():
                raise ValueError(f"X[{name!r}] was true or false in fit, and is not now.")
            if is_integer and not np.array_equal(values, np.floor(values)):
                raise ValueError(f"X[{name!r}] was integers in fit, and is not now.")
            if is_integer and np.abs(values).max(initial=0) > _EXACT:
                raise ValueError(f"X[{name!r}] has integers above 2**24: pass them as floats.")
        rows = [arrays[name].reshape(len(arrays[name]), -1) for name in self.names]
        return np.hstack(rows).astype(np.float32 if single else np.float64)

    def _named_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        return zip(self.names, self.shapes, strict=True)

    def split(self, x: Tensor) -> dict[str, Tensor]:
        """Inputs (n, ...) by name from columns (n, n_columns); integers are int64, masks bool."""
        columns = x.split([prod(shape) for shape in self.shapes], dim=1)
        found = {}
        for part, (name, shape, is_integer, is_boolean) in zip(
            columns, self._described(), strict=True
        ):
            own = part > 0.5 if is_boolean else part.round().long() if is_integer else part
            found[name] = own.reshape(len(x), *shape)
        return found

    def _described(self) -> Iterator[tuple[str, tuple[int, ...], bool, bool]]:
        """Name, shape, and whether integers or truth values, of each input."""
        booleans = self.booleans or (False,) * len(self.names)
        yield from zip(self.names, self.shapes, self.integers, booleans, strict=True)


class OfParts(nn.Module):
    """A module of several inputs as one of their columns (n, n_columns)."""

    def __init__(self, module: nn.Module, parts: Parts) -> None:
        super().__init__()
        self.module = module
        self.parts = parts

    def forward(self, x: Tensor) -> Any:
        """What the module returns for the parts of x, given by name."""
        return self.module(**self.parts.split(x))


def as_array(x: Any) -> NDArray:
    """An array of a tensor, on whatever device, or of what NumPy takes."""
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        x = (x.float() if x.dtype == torch.bfloat16 else x).numpy()
    return np.asarray(x)


def _numbers(x: Any) -> NDArray:
    x = as_array(x)
    if x.dtype == object:
        x = np.asarray(x.tolist())
    if x.dtype.kind not in "biuf":
        raise ValueError(f"Inputs have to be numbers, got an array of {x.dtype}.")
    return x
