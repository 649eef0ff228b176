"""Paths and planes in the space of parameters, all of them linear in their anchors."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from sklflat.networks.state import State, check_same_architecture, mix


class Path(ABC):
    r"""A path through parameters: a sum of K anchors :math:`\theta_k` by coefficients.

    .. math:: \theta(t) = \sum_k c_k(t)\, \theta_k, \qquad 0 \le t \le 1, \qquad \sum_k c_k = 1

    Running statistics are mixed like parameters, integers are those of the first anchor.

    Parameters
    ----------
    anchors : sequence of K states
        Parameters and buffers by name: see :func:`~sklflat.networks.state.read_state`.

    Raises
    ------
    ValueError
        If the anchors are not of one architecture.
    """

    #: numbers that a point of it has: an empty shape for one
    point_shape: tuple[int, ...] = ()
    #: mean loss along it in every epoch of its training, if it was trained
    losses_: NDArray | None = None

    def __init__(self, anchors: Sequence[Mapping[str, Tensor]]) -> None:
        self.anchors: tuple[State, ...] = tuple(dict(anchor) for anchor in anchors)
        for anchor in self.anchors[1:]:
            check_same_architecture(self.anchors[0], anchor)

    def __len__(self) -> int:
        return len(self.anchors)

    def __repr__(self) -> str:
        n = sum(tensor.numel() for tensor in self.anchors[0].values())
        return f"<{type(self).__name__}: {len(self)} anchors of {n} numbers>"

    def coefficients(self, t: Any) -> Tensor:
        """Coefficients (K,) of the anchors at t, or (T, K) at the points of an array, float64."""
        points = torch.as_tensor(t, dtype=torch.float64)
        self._check(points)
        return self._coefficients(points)

    def at(self, t: Any) -> State:
        """The state at one t."""
        return mix(self.anchors, self.coefficients(t))

    def _check(self, points: Tensor) -> None:
        if not ((points >= 0) & (points <= 1)).all():
            raise ValueError(f"t must be between 0 and 1, got {points.tolist()}.")

    @abstractmethod
    def _coefficients(self, points: Tensor) -> Tensor:
        """Coefficients (..., K) at valid points."""


class LinearPath(Path):
    r"""The straight line :math:`(1 - t)\, a + t\, b`.

    Parameters
    ----------
    a, b : state

    Examples
    --------
    >>> import torch
    >>> from sklflat.paths.paths import LinearPath
    >>> path = LinearPath({"w": torch.tensor([0.0])}, {"w": torch.tensor([8.0])})
    >>> path.coefficients(0.25)
    tensor([0.7500, 0.2500], dtype=torch.float64)
    >>> path.at(0.25)
    {'w': tensor([2.])}
    """

    def __init__(self, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
        super().__init__([a, b])

    def _coefficients(self, points: Tensor) -> Tensor:
        return torch.stack([1 - points, points], -1)


class BezierPath(Path):
    r"""The quadratic curve :math:`(1 - t)^2 a + 2 t (1 - t)\, \mathrm{bend} + t^2\, b`.

    It leaves and reaches its ends in the direction of the bend, which it does not touch.

    Parameters
    ----------
    a, bend, b : state

    Examples
    --------
    >>> from sklflat.paths.paths import BezierPath
    >>> BezierPath({}, {}, {}).coefficients([0.0, 0.5])
    tensor([[1.0000, 0.0000, 0.0000],
            [0.2500, 0.5000, 0.2500]], dtype=torch.float64)
    """

    def __init__(
        self, a: Mapping[str, Tensor], bend: Mapping[str, Tensor], b: Mapping[str, Tensor]
    ) -> None:
        super().__init__([a, bend, b])

    def _coefficients(self, points: Tensor) -> Tensor:
        s = 1 - points
        return torch.stack([s * s, 2 * points * s, points * points], -1)


class PolygonalChain(Path):
    """Straight lines from anchor to anchor, each for an equal interval of t.

    Parameters
    ----------
    anchors : sequence of at least two states

    Examples
    --------
    >>> from sklflat.paths.paths import PolygonalChain
    >>> PolygonalChain([{}, {}, {}]).coefficients([0.25, 0.5])
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 1.0000, 0.0000]], dtype=torch.float64)
    """

    def __init__(self, anchors: Sequence[Mapping[str, Tensor]]) -> None:
        if len(anchors) < 2:
            raise ValueError(f"anchors must be at least two states, got {len(anchors)}.")
        super().__init__(anchors)

    def _coefficients(self, points: Tensor) -> Tensor:
        knots = torch.arange(len(self), dtype=points.dtype)
        return (1 - (points[..., None] * (len(self) - 1) - knots).abs()).clamp_min(0)


class Plane(Path):
    r"""The plane through three networks, in coordinates in which their distances are true.

    The first is at the origin, the second on the positive first axis, the third above it. One
    unit is one unit of Euclidean length between parameters.

    Parameters
    ----------
    a, b, c : state
    names : iterable of str, default=None
        The tensors between which distances are measured: the parameters' names. None is all
        floating-point ones.

    Attributes
    ----------
    positions : Tensor of shape (3, 2)
        Of the three networks.

    Raises
    ------
    ValueError
        If the three are on one line.

    Examples
    --------
    >>> import torch
    >>> from sklflat.paths.paths import Plane
    >>> a, b, c = ({"w": torch.tensor(w)} for w in ([0.0, 0.0], [3.0, 0.0], [3.0, 4.0]))
    >>> plane = Plane(a, b, c)
    >>> plane.positions.tolist()
    [[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]
    >>> plane.coefficients([1.5, 0.0])
    tensor([0.5000, 0.5000, 0.0000], dtype=torch.float64)
    """

    point_shape = (2,)

    def __init__(
        self,
        a: Mapping[str, Tensor],
        b: Mapping[str, Tensor],
        c: Mapping[str, Tensor],
        names: Iterable[str] | None = None,
    ) -> None:
        super().__init__([a, b, c])
        kept = [n for n, t in a.items() if t.is_floating_point()] if names is None else list(names)
        u, v = (
            torch.cat([(other[n].double() - a[n].double()).flatten().cpu() for n in kept])
            for other in (b, c)
        )
        along = float(u.norm())
        across = v - u * (float(u @ v) / along**2) if along else v
        if not (along > 0 and float(across.norm()) > 1e-10 * float(v.norm())):
            raise ValueError(
                "The three networks are on one line (or two are the same, or one is not finite), "
                "so there is no plane through them. Pass three different networks."
            )
        self.positions = torch.zeros(3, 2, dtype=torch.float64)
        self.positions[1, 0] = along
        self.positions[2, 0] = float(u @ v) / along
        self.positions[2, 1] = across.norm()

    def _check(self, points: Tensor) -> None:
        if points.shape[-1:] != (2,):
            raise ValueError(f"A point must have two coordinates, got shape {tuple(points.shape)}.")

    def _coefficients(self, points: Tensor) -> Tensor:
        y = points[..., 1] / self.positions[2, 1]
        x = (points[..., 0] - y * self.positions[2, 0]) / self.positions[1, 0]
        return torch.stack([1 - x - y, x, y], -1)
