"""The axis indices that each element of a tensor depends on, and along which axes.

Labels have as many axes as their tensor, of length 1 where they do not vary: so they are small.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sklflat.networks.tracing.tensors import NONE

#: labels of a tensor: one integer tensor for each thing that its elements depend on
Labels = list[Tensor]


def varying_axes(labels: Tensor) -> set[int]:
    """The axes along which labels are not all the same."""
    return {a for a in range(labels.ndim) if varies(labels, [a])}


def varies(values: Tensor, axes: Sequence[int]) -> bool:
    """Whether a tensor's elements differ along some axes."""
    axes = [a for a in axes if values.shape[a] > 1 and values.stride(a) != 0]
    if not axes or not values.numel():
        return False
    first = values
    for a in axes:
        first = first.narrow(a, 0, 1)
    return bool((values != first).any())


def first_along(labels: Tensor, axes: Sequence[int]) -> Tensor:
    """The labels at the first index of some axes, which are dropped."""
    for a in sorted((a % labels.ndim for a in axes), reverse=True):
        labels = labels.select(a, 0)
    return labels


def compact(labels: Tensor) -> Tensor:
    """Labels of length 1 along the axes on which they do not vary."""
    for a in set(range(labels.ndim)) - varying_axes(labels):
        if not labels.shape[a]:
            continue
        labels = labels.narrow(a, 0, 1)
    return labels


def along(labels: Tensor, *axes: int, of: torch.Size) -> Tensor:
    """Labels of full length along some axes of a tensor of this shape."""
    axes = tuple(a % len(of) for a in axes)
    return labels.expand([of[a] if a in axes else n for a, n in enumerate(labels.shape)])


def merge_labels(layers: Labels) -> Labels:
    """Drop empty labels, and merge those that no element has both of."""
    kept: Labels = []
    for labels in map(compact, layers):
        if not bool((labels != NONE).any()):
            continue
        for i, other in enumerate(kept):
            if torch.equal(other, labels):
                break
            if not bool(((other != NONE) & (labels != NONE)).any()):
                kept[i] = torch.where(other == NONE, labels, other)
                break
        else:
            kept.append(labels)
    return kept
