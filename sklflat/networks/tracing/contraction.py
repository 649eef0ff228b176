"""Sums of products of tensors, each axis of which has a letter, as Einstein wrote them."""

from collections.abc import Sequence

from torch import Tensor

from sklflat.networks.tracing.flow import shared_over
from sklflat.networks.tracing.tensors import Arguments, Options

#: one letter an axis; axes of the batch that an ellipsis stands for have negative ones
Letters = list[int]

Contraction = tuple[list[Tensor], list[Letters], Letters]


def read(name: str, args: Arguments, kwargs: Options) -> Contraction | None:
    """Factors, their letters and the letters of the product; None if it is not known."""
    if name == "linear":
        x, weight = args[0], args[1] if len(args) > 1 else kwargs["weight"]
        lead = list(range(x.ndim - 1))
        out = [-100] if weight.ndim == 2 else []
        return [x, weight], [[*lead, -200], [*out, -200]], [*lead, *out]
    if name == "bilinear":
        x1, x2, weight = args[:3]
        lead = list(range(x1.ndim - 1))
        letters = [[*lead, -200], [*lead, -300], [-100, -200, -300]]
        return [x1, x2, weight], letters, [*lead, -100]
    if name == "scaled_dot_product_attention":
        query, key, value = args[:3]
        lead = list(range(query.ndim - 2))
        letters = [[*lead, -10, -20], [*lead, -30, -20], [*lead, -30, -40]]
        return [query, key, value], letters, [*lead, -10, -40]
    if name == "einsum":
        return _einsum(args)
    a, b = args[1:3] if name.startswith(("add", "badd")) else args[:2]
    return _matmul(b, a) if name == "rmatmul" else _matmul(a, b)


def _matmul(a: Tensor, b: Tensor) -> Contraction:
    n_lead = max(a.ndim, b.ndim, 2) - 2
    left, right, inner = -100, -200, -300
    lead_a, lead_b = ([*range(n_lead)][n_lead - max(t.ndim - 2, 0) :] for t in (a, b))
    own_a = [left] if a.ndim > 1 else []
    own_b = [right] if b.ndim > 1 else []
    letters_b = [*lead_b, inner, right] if b.ndim > 1 else [inner]
    return [a, b], [[*lead_a, *own_a, inner], letters_b], [*range(n_lead), *own_a, *own_b]


def _einsum(args: Arguments) -> Contraction | None:
    if not isinstance(args[0], str):
        return None
    tensors = list(args[1]) if isinstance(args[1], (list, tuple)) else list(args[1:])
    equation = args[0].replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not arrow:
        letters = sorted(c for c in set(left) if c.isalpha() and left.count(c) == 1)
        right = ("..." if "..." in left else "") + "".join(letters)
    covered = [
        t.ndim - len(term.replace("...", "")) for t, term in zip(tensors, terms, strict=True)
    ]
    own = [_spelled(term, n) for term, n in zip(terms, covered, strict=True)]
    out = _spelled(right, max(covered))
    repeats = any(len(set(letters)) < len(letters) for letters in own)
    return None if repeats else (tensors, own, out)


def _spelled(term: str, covered: int) -> Letters:
    before, dots, after = term.partition("...")
    ellipsis = list(range(-covered, 0)) if dots else []
    return [*map(ord, before), *ellipsis, *map(ord, after)]


def project(labels: Tensor, own: Letters, target: Letters, shape: Sequence[int]) -> Tensor:
    """Labels of a factor carried to another factor or to the product.

    Along an axis that the target does not have, labels must agree; along one that only the
    target has, they repeat.
    """
    labels = shared_over(labels, [i for i, letter in enumerate(own) if letter not in target])
    kept = [letter for letter in target if letter in own]
    order = [own.index(letter) for letter in kept]
    rest = [i for i in range(len(own)) if i not in order]
    labels = labels.permute(*order, *rest).reshape([labels.shape[i] for i in order])
    for axis, letter in enumerate(target):
        if letter not in own:
            labels = labels.unsqueeze(axis)
    broadcast = [i for i, n in enumerate(shape) if n == 1]
    return shared_over(labels, broadcast).expand(*shape)
