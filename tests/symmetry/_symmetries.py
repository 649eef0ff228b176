"""Networks whose symmetries are written by hand: states, forward passes, labels.

Each case is ``(symmetry, state, function)``; the function of a state is computed with plain tensor
operations, so that a wrong label shows as a function that permutations change.
"""

import itertools

import torch
from torch.nn import functional as F

from sklflat.symmetry import Group, Symmetry


class Classes:
    """Hands out classes, and collects groups and labels."""

    def __init__(self):
        self.n, self.groups, self.labels = 0, [], {}

    def new(self, *shape):
        n = torch.Size(shape).numel()
        self.n += n
        return torch.arange(self.n - n, self.n).view(shape)

    def group(self, n, name="units"):
        units = self.new(n)
        self.groups.append(Group(name, units))
        return units

    def label(self, name, *labels):
        self.labels[name] = labels

    def done(self):
        return Symmetry(self.n, tuple(self.groups), self.labels)


def normal(generator, **shapes):
    return {
        name.replace("__", "."): torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def mlp(generator, sizes=(5, 16, 12, 14, 3)):
    c, shapes, last = Classes(), {}, None
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        shapes |= {f"W{i}": (n_out, n_in), f"b{i}": (n_out,)}
        own = c.group(n_out, f"W{i}[0]") if i < len(sizes) - 2 else None
        rows = () if own is None else (own[:, None],)
        c.label(f"W{i}", *rows, *(() if last is None else (last[None],)))
        if own is not None:
            c.label(f"b{i}", own)
        last = own

    def function(s, X):
        for i in range(len(sizes) - 1):
            X = X @ s[f"W{i}"].T + s[f"b{i}"]
            X = X.relu() if i < len(sizes) - 2 else X
        return X

    return c.done(), normal(generator, **shapes), function


def residual(generator, n_in=4, width=24, hidden=24, n_blocks=4, n_out=3):
    """A stream that all blocks read and write: one tied group, and one in every block."""
    c = Classes()
    shapes = {"E": (width, n_in), "H": (n_out, width)}
    stream = c.group(width, "E[0]")
    c.label("E", stream[:, None])
    c.label("H", stream[None])
    for i in range(n_blocks):
        units = c.group(hidden, f"V{i}[0]")
        shapes |= {f"V{i}": (hidden, width), f"c{i}": (hidden,), f"U{i}": (width, hidden)}
        c.label(f"V{i}", units[:, None], stream[None])
        c.label(f"c{i}", units)
        c.label(f"U{i}", stream[:, None], units[None])

    def function(s, X):
        x = X @ s["E"].T
        for i in range(n_blocks):
            x = x + (x @ s[f"V{i}"].T + s[f"c{i}"]).relu() @ s[f"U{i}"].T
        return x @ s["H"].T

    return c.done(), normal(generator, **shapes), function


def conv(generator, channels=8, hidden=10):
    """Convolution, batch normalisation, flatten and linear: a class has 9 entries on an axis."""
    c = Classes()
    maps, units = c.group(channels, "K[0]"), c.group(hidden, "W[0]")
    c.label("K", maps[:, None, None, None])
    for name in "gamma", "beta", "running_mean", "running_var":
        c.label(name, maps)
    c.label("W", units[:, None], maps.repeat_interleave(9)[None])
    c.label("V", units[None])
    state = normal(
        generator,
        K=(channels, 2, 3, 3),
        gamma=(channels,),
        beta=(channels,),
        running_mean=(channels,),
        running_var=(channels,),
        W=(hidden, 9 * channels),
        V=(3, hidden),
    )
    state["running_var"] = state["running_var"].square() + 0.1

    def function(s, X):
        x = F.conv2d(X.view(len(X), 2, 5, 5), s["K"])
        x = F.batch_norm(x, s["running_mean"], s["running_var"], s["gamma"], s["beta"])
        return (x.relu().flatten(1) @ s["W"].T).relu() @ s["V"].T

    return c.done(), state, function


def heads(generator, n_heads=4, dim=6, n_values=5, n_in=7, width=9):
    """Attention: heads as members, query-key and value dimensions as their inner parts."""
    c = Classes()
    stream = c.group(width, "E[0]")
    members = c.new(n_heads)
    keys, values = c.new(n_heads, dim), c.new(n_heads, n_values)
    c.groups.append(Group("Q[0]", members, (keys, values)))
    c.label("E", stream[:, None])
    for name, part in ("Q", keys), ("K", keys), ("V", values):
        c.label(name, part.flatten()[:, None], stream[None])
    c.label("t", members)  # a temperature of every head
    c.label("O", stream[:, None], values.flatten()[None])
    c.label("H", stream[None])
    qk, v = n_heads * dim, n_heads * n_values
    shapes = {"E": (width, n_in), "Q": (qk, width), "K": (qk, width), "V": (v, width)}
    state = normal(generator, **shapes, t=(n_heads,), O=(width, v), H=(3, width))

    def function(s, X):
        x = X.view(len(X), -1, n_in) @ s["E"].T

        def split(name, d):
            return (x @ s[name].T).view(*x.shape[:2], n_heads, d).transpose(1, 2)

        scores = split("Q", dim) @ split("K", dim).transpose(2, 3) * s["t"][:, None, None]
        mixed = (scores / 30).softmax(-1) @ split("V", n_values)
        return (x + mixed.transpose(1, 2).flatten(2) @ s["O"].T).mean(1) @ s["H"].T

    return c.done(), state, function


def grouped(generator, n_groups=3, n_in=4, n_out=5):
    """A grouped convolution: labels that vary over two axes, two inner parts in one tensor."""
    c = Classes()
    members, reads, writes = c.new(n_groups), c.new(n_groups, n_in), c.new(n_groups, n_out)
    c.groups.append(Group("G[0]", members, (reads, writes)))
    c.label("K", reads.flatten()[:, None, None])
    rows = reads.repeat_interleave(n_out, 0)  # (outputs, inputs of the group)
    c.label("G", writes.flatten()[:, None, None], rows[:, :, None])
    c.label("V", writes.flatten()[None])
    state = normal(
        generator,
        K=(n_groups * n_in, 2, 3),
        G=(n_groups * n_out, n_in, 3),
        V=(3, n_groups * n_out),
    )

    def function(s, X):
        x = F.conv1d(X.view(len(X), 2, -1), s["K"]).relu()
        return F.conv1d(x, s["G"], groups=n_groups).relu().mean(2) @ s["V"].T

    return c.done(), state, function


def recurrent(generator, n_in=3, width=16):
    """A recurrent network: one group on both axes of a square matrix."""
    c = Classes()
    units = c.group(width, "W[0]")
    c.label("W", units[:, None])
    c.label("R", units[:, None], units[None])
    c.label("V", units[None])
    state = normal(generator, W=(width, n_in), R=(width, width), V=(2, width))

    def function(s, X):
        h = X.new_zeros(len(X), width)
        for x in X.view(len(X), -1, n_in).unbind(1):
            h = (x @ s["W"].T + h @ s["R"].T).tanh()
        return h @ s["V"].T

    return c.done(), state, function


#: name -> (maker, number of inputs)
CASES = {
    "mlp": (mlp, 5),
    "residual": (residual, 4),
    "conv": (conv, 50),
    "heads": (heads, 21),
    "grouped": (grouped, 20),
    "recurrent": (recurrent, 12),
}
