"""How good the predictions are on held-out rows, beside a constant."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from sklflat.metrics import mean_bounds, paired_rate_interval
from sklflat.probing.display import axes_for
from sklflat.probing.split import Rows
from sklflat.report.findings import better_than_constant
from sklflat.report.parts import Quantity
from sklflat.report.subjects import Subject
from sklflat.report.targets import total_variance
from sklflat.report.techniques.base import Reading, Technique, always
from sklflat.report.wording import number
from sklflat.training.estimators.containers import own_copy


@dataclass(frozen=True)
class Predictions:
    """What a network and a constant say of held-out rows.

    Attributes
    ----------
    losses, constant : ndarray of shape (n_rows,)
        1 for a wrong row (of numbers the squared error), of the network and of the constant.
    scale : float
        What a score of 1 is: 1, or of numbers the variance of the targets.
    log_loss : float
        NaN for numbers.
    score_train : float
        NaN where the rows trained on are not known.
    name : str
    """

    losses: NDArray = field(repr=False)
    constant: NDArray = field(repr=False)
    scale: float
    log_loss: float
    score_train: float
    name: str

    @property
    def score(self) -> float:
        """Accuracy, or R²."""
        return float(1 - self.losses.mean() / self.scale)

    @property
    def gain(self) -> tuple[float, float, float]:
        """Over the constant, with the ends of its 95 % interval."""
        return difference(self.constant, self.losses, self.scale)

    @property
    def error(self) -> float:
        """Standard error of the score."""
        return float(self.losses.std() / np.sqrt(len(self.losses)) / self.scale)


def difference(worse: NDArray, better: NDArray, scale: float = 1.0) -> tuple[float, float, float]:
    """How much less the second loses than the first, with its paired 95 % interval.

    Of rows that are right or wrong by Tango's score interval, else by Student's, made robust to
    skewness.

    Parameters
    ----------
    worse, better : ndarray of shape (n_rows,)
    scale : float, default=1.0
    """
    d = (worse - better) / scale
    value = float(d.mean())
    if are_rates(worse, better):
        ends = paired_rate_interval(int((d > 0).sum()), int((d < 0).sum()), len(d))
        return value, float(ends.low), float(ends.high)
    if len(d) < 2:
        return value, -np.inf, np.inf
    low, high = mean_bounds(d)
    return value, float(low), float(high)


def are_rates(*losses: NDArray) -> bool:
    """Whether losses are of rows that are right or wrong.

    Parameters
    ----------
    *losses : ndarray of shape (n_rows,)
    """
    return all(set(np.unique(own)) <= {0.0, 1.0} for own in losses)


def predictions(subject: Subject) -> Predictions:
    """Predict the held-out rows.

    Parameters
    ----------
    subject : Subject
    """
    rows, known = subject.held_out, subject.trained_on
    y = np.asarray(rows.y)
    reference = y if known is None else np.asarray(known.y)
    said = subject.network.predict(own_copy(rows.X))
    if not subject.is_classifier:
        y, said = (np.asarray(v, dtype=float).reshape(len(y), -1) for v in (y, said))
        mean = np.asarray(reference, dtype=float).reshape(len(reference), -1).mean(axis=0)
        losses, constant = (np.square(y - p).sum(axis=1) for p in (said, mean))
        scale = total_variance(y) or 1.0
        own = np.nan if known is None else _score(subject, known)
        return Predictions(losses, constant, scale, np.nan, own, "R²")
    if y.ndim > 1:  # several labels a row
        losses = (said != y).any(axis=1).astype(float)
        usual = (reference.mean(axis=0) > 0.5).astype(y.dtype)
        constant = (y != usual).any(axis=1).astype(float)
        return Predictions(losses, constant, 1.0, np.nan, np.nan, "accuracy")
    labels, counts = np.unique(reference, return_counts=True)
    losses = (said != y).astype(float)
    constant = (y != labels[counts.argmax()]).astype(float)
    proba = subject.network.predict_proba(own_copy(rows.X))
    nll = log_loss(y, proba, labels=subject.network.classes_)
    own = np.nan if known is None else _score(subject, known)
    return Predictions(losses, constant, 1.0, float(nll), own, "accuracy")


def _score(subject: Subject, rows: Rows) -> float:
    return float(subject.network.score(own_copy(rows.X), rows.y))


def read(found: Predictions, subject: Subject) -> Reading:
    """Score, gain over a constant, and the loss.

    Parameters
    ----------
    found : Predictions
    subject : Subject
    """
    n, (gain, low, high) = len(found.losses), found.gain
    finding = better_than_constant(subject.name, (gain, low, high), found.name, n)
    spread = 1.96 * found.error
    quantities = [
        Quantity(
            found.name,
            found.score,
            "On held-out rows; 1 is perfect.",
            low=found.score - spread,
            high=min(1.0, found.score + spread),
        ),
        Quantity(
            "gain over a constant",
            gain,
            "How much more than always saying the most frequent class (or the mean).",
            low=low,
            high=high,
        ),
    ]
    if np.isfinite(found.log_loss):
        text = "Mean negative log-likelihood of held-out labels, in nats; 0 is perfect."
        quantities.append(Quantity("log loss", found.log_loss, text, "nats"))
    if np.isfinite(found.score_train):
        text = "On the rows trained on; far above the held-out one means overfitting."
        quantities.append(Quantity(f"{found.name} on training rows", found.score_train, text))
    first = (
        f"On {n:,} held-out rows {subject.name} has {found.name} {number(found.score)}; always "
        f"saying the same has {number(found.score - gain)}."
    )
    return Reading(
        (first, finding.statement),
        tuple(quantities),
        "A constant prediction: the most frequent class of the training rows, or their mean.",
        (finding,),
        alt=f"{found.name} of the network, {number(found.score)}, and of a constant, "
        f"{number(found.score - gain)}, on {n:,} held-out rows, with intervals.",
        details={"losses": found.losses, "scale": [found.scale]},
    )


def draw(found: Predictions) -> Any:
    """Scores of the network and of a constant, with 95 % intervals."""
    ax = axes_for(None, 1, figsize=(7, 1.8), layout="constrained")[0]
    for y, losses, style in ((1, found.losses, "o"), (0, found.constant, "s")):
        score = 1 - losses.mean() / found.scale
        spread = 1.96 * losses.std() / np.sqrt(len(losses)) / found.scale
        ax.errorbar(score, y, xerr=spread, fmt=style, color="black", capsize=4)
    ax.set_yticks([1, 0], ["network", "constant"])
    ax.set_ylim(-0.6, 1.6)
    ax.set_xlabel(f"{found.name} on held-out rows, bars: 95 % intervals")
    return ax.figure


PREDICTION = Technique(
    "prediction",
    "Predictions",
    "How good is it on rows that it has not seen?",
    "sharpness_aware_training",
    always,
    predictions,
    read,
    draw,
)
