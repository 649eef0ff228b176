"""Trees of the same classes by simpler means, and how they compare."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from sklflat.temperature.class_tree import grow
from sklflat.temperature.resampled_rows import Distances, ResampledRows, softmax_distances
from sklflat.temperature.temperature_sample import TemperatureSample
from sklflat.training.estimators.trained_network import last_hidden

__all__ = ["TreeComparison", "compare_trees"]

#: correlation by which one tree has to be better than another for it to be said
LEAST_GAIN = 0.01
_WEIGHTS = "the last layer's weights"


@dataclass(frozen=True, eq=False)
class TreeComparison:
    """One way to a tree, judged on rows that did not build it.

    Ends of intervals are the 2.5 % and 97.5 % quantiles over random halves of the rows: they say
    how much depends on which rows these are. They are no confidence intervals, as the halves share
    rows, and another network is not in them.

    Parameters
    ----------
    name : str
    linkage : ndarray of shape (n_classes - 1, 4)
    stability : float
        Mean correlation of the tree of one half with this way's distances on the other. NaN for
        the last layer's weights, which no rows are needed for.
    stability_interval : (float, float)
    confusion : float
        Mean correlation of the tree of one half with the confusions on the other: with
        ``class_distances`` of the predicted labels.
    confusion_interval : (float, float)
    gain : float
        Mean of ``confusion`` of the temperature's tree less that of this one, half by half.
    gain_interval : (float, float)
    """

    name: str
    linkage: NDArray = field(repr=False)
    stability: float
    stability_interval: tuple[float, float]
    confusion: float
    confusion_interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]


def compare_trees(
    sample: TemperatureSample,
    temperature: float,
    method: str,
    resampled: ResampledRows,
) -> tuple[TreeComparison, ...]:
    """The tree at a temperature, and those by simpler means, on the same halves of the rows.

    Parameters
    ----------
    sample : TemperatureSample
    temperature : float
    method : str
        Of the linkage.
    resampled : ResampledRows
        Its halves are those that every way is judged on.

    Returns
    -------
    comparisons : tuple of TreeComparison
        The temperature's first.
    """
    ways = _ways(sample, temperature)
    hard = ways["hard confusion"]
    rows = {
        name: [resampled.agreement(distances, method, other) for other in (distances, hard)]
        for name, distances in ways.items()
    }
    reference = next(iter(rows.values()))[1]
    if _WEIGHTS in rows:
        rows[_WEIGHTS][0] = np.full_like(rows[_WEIGHTS][0], np.nan)
    return tuple(
        TreeComparison(
            name,
            grow(ways[name](sample.weights[None])[0], method),
            *_with_interval(stability),
            *_with_interval(confusion),
            *_with_interval(reference - confusion),
        )
        for name, (stability, confusion) in rows.items()
    )


def verdict(comparisons: tuple[TreeComparison, ...]) -> str:
    """Which tree foretells the confusions of other rows best, in a sentence."""
    ours, *others = comparisons
    best = max(others, key=lambda c: c.confusion)
    if ours.confusion == best.confusion == 0:
        return "No tree foretells confusions on other rows: hardly any class is taken for another."
    low, high = best.gain_interval
    figures = f"{ours.confusion:.2f} against {best.confusion:.2f}, difference {best.gain:+.2f}, "
    figures += f"{low:+.2f} to {high:+.2f} over halves of the rows"
    if low > 0 and best.gain >= LEAST_GAIN:
        return f"The {ours.name} foretells confusions better than {best.name} ({figures})."
    if high < 0 and best.gain <= -LEAST_GAIN:
        return f"Confusions are better foretold by {best.name} than by the {ours.name} ({figures})."
    return f"The {ours.name} is no better than {best.name} at foretelling confusions ({figures})."


def _with_interval(values: NDArray) -> tuple[float, tuple[float, float]]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(values.mean()), (float(low), float(high))


def _ways(sample: TemperatureSample, temperature: float) -> dict[str, Distances]:
    y, present = sample.class_numbers, sample.present
    predicted = np.eye(sample.logits.shape[1])[sample.logits.argmax(axis=1)][:, present]
    inputs = sample.X.flatten(1).double().cpu().numpy()
    spread = inputs.std(axis=0)
    ways = {
        f"tree at T = {temperature:.3g}": softmax_distances(sample.probabilities(temperature), y),
        "confusion at T = 1": softmax_distances(sample.probabilities(1.0), y),
        "hard confusion": softmax_distances(predicted, y),
        "class means of the inputs": _mean_distances(inputs / np.where(spread > 0, spread, 1), y),
    }
    last = [m for m in sample.network.module.modules() if isinstance(m, torch.nn.Linear)][-1:]
    if last:
        hidden = last_hidden(sample.network, sample.X).numpy()
        ways["class means of the last hidden layer"] = _mean_distances(hidden, y)
    if last and last[0].out_features == sample.logits.shape[1]:
        weights = last[0].weight.detach().double().cpu().numpy()[sample.trained.order[present]]
        fixed = squareform(pdist(weights))
        ways[_WEIGHTS] = lambda s: np.broadcast_to(fixed, (len(s), *fixed.shape))
    return ways


def _mean_distances(A: NDArray, y: NDArray) -> Distances:
    """Euclidean distances between class means of columns."""
    of_class = np.eye(y.max() + 1)[y]

    def of_draw(s: NDArray) -> NDArray:
        weight = of_class * s[:, None]
        return squareform(pdist(weight.T @ A / weight.sum(axis=0)[:, None]))

    return lambda s: np.stack([of_draw(one) for one in s])
