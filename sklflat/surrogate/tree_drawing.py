"""A tree drawn from left to right, where its questions have room to be read."""

from collections.abc import Sequence
from typing import Any

import numpy as np

#: levels that are drawn; below stands how many leaves there are
_LEVELS = 5
#: letters of a name that are shown
_LETTERS = 28


def draw_tree(
    ax: Any, model: Any, feature_names: Sequence[str], said: Sequence[Any], class_names: Any = None
) -> None:
    """Draw a tree: the upper branch of a question is its yes, wide branches have many rows.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    model : fitted tree of scikit-learn
    feature_names : sequence of str
    said : sequence
        What the tree predicts at each of its nodes.
    class_names : sequence of str, default=None
        By which leaves are coloured.
    """
    names = [] if class_names is None else [str(name) for name in class_names]
    drawing = _Drawing(ax, model.tree_, feature_names, said, names)
    drawing.draw(0, 0)
    ax.set_xlim(-0.1, drawing.deepest + 0.75)
    ax.set_ylim(-0.5 - drawing.n_leaves + 1, 0.7)
    ax.set_axis_off()


class _Drawing:
    """What is drawn already: leaves come one below the other."""

    def __init__(
        self, ax: Any, tree: Any, features: Sequence[str], said: Sequence[Any], names: list[str]
    ) -> None:
        self.ax, self.tree, self.features = ax, tree, features
        self.said, self.names = said, names
        self.n_leaves = self.deepest = 0

    def draw(self, node: int, level: int) -> float:
        """Draw what is below a node; return the height at which the node stands."""
        left, right = self.tree.children_left[node], self.tree.children_right[node]
        self.deepest = max(self.deepest, level)
        if left < 0 or level == _LEVELS:
            self.n_leaves += 1
            self._write(node, level, 1.0 - self.n_leaves, split=left >= 0)
            return 1.0 - self.n_leaves
        heights = [self.draw(child, level + 1) for child in (left, right)]
        height = float(np.mean(heights))
        whole = self.tree.weighted_n_node_samples[0]
        for child, end in zip((left, right), heights, strict=True):
            width = 0.5 + 5 * self.tree.weighted_n_node_samples[child] / whole
            self.ax.plot([level, level + 1], [height, end], color="0.8", lw=width, zorder=1)
        question = _question(
            self.features[self.tree.feature[node]], float(self.tree.threshold[node])
        )
        self._put(level, height, question, "white")
        return height

    def _write(self, node: int, level: int, height: float, split: bool) -> None:
        """A leaf: what is said there, and of how many rows; of one not drawn further, an end."""
        share = self.tree.weighted_n_node_samples[node] / self.tree.weighted_n_node_samples[0]
        words = f"{_said(self.said[node])} ({share:.0%})" + (" …" if split else "")
        label = str(self.said[node])
        colour = f"C{self.names.index(label) % 10}" if label in self.names else "0.7"
        self._put(level, height, words, colour, alpha=0.35)

    def _put(self, x: float, y: float, words: str, colour: str, alpha: float = 1.0) -> None:
        import matplotlib.colors

        face = matplotlib.colors.to_rgba(colour, alpha)
        box = {"boxstyle": "round,pad=0.2", "facecolor": face, "edgecolor": "0.6", "lw": 0.5}
        self.ax.text(x, y, words, fontsize=8, va="center", ha="left", bbox=box, zorder=2)


def _question(name: str, threshold: float) -> str:
    name = name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"
    if " = " in name and threshold == 0.5:  # a category, whose column is 0 or 1
        return name.replace(" = ", " is not ", 1)
    if threshold == np.inf:
        return f"{name} is not missing"
    return f"{name} ≤ {threshold:.5g}"  # a year has four, and stands between two


def _said(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.3g}"
    if isinstance(value, np.ndarray):
        return ", ".join(f"{v:.3g}" for v in value[:3])
    return str(value)
