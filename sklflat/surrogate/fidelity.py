"""How faithful a surrogate is on held-out rows, beside surrogates that cannot be."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.metrics import fidelity
from sklflat.surrogate.student import FLOOR
from sklflat.surrogate.teacher import Answers

#: bootstrap samples of an interval
_N_RESAMPLES = 2000
#: bytes of the counts of some of them
_MAX_BYTES = 2**26
#: share of the redraws in which the top splits have to come back
STABLE = 0.9


@dataclass(frozen=True)
class Estimate:
    """A number and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True)
class HeldOut:
    """What the network says about rows that its student was not taught on, and the truth.

    Attributes
    ----------
    answers : Answers
        Of the network.
    truth : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Numbers of classes, or targets.
    weight : ndarray of shape (n_samples,)
        Adds up to 1.
    groups : ndarray of shape (n_samples,) or None
        Rows of one group depend on each other; None for rows that do not.
    """

    answers: Answers
    truth: NDArray
    weight: NDArray
    groups: NDArray | None = None

    def losses(self, answers: Answers) -> NDArray[np.float64]:
        """What is lost of each row (n_samples,); its weighted mean is 1 less the fidelity.

        Of classes whether they differ; of predictions the squared difference, relative to the
        variance of the network's.
        """
        if answers.classes is not None:
            return (answers.codes != self.answers.codes).astype(float)
        f = self.answers.values
        variance = self.weight @ np.square(f - self.weight @ f).sum(axis=1)
        if variance <= np.square(1e-12 * np.abs(f).max()):
            return np.full(len(f), np.nan)
        return np.square(f - answers.values).sum(axis=1) / variance

    def hits(self, answers: Answers) -> NDArray[np.float64]:
        """What is right of each row (n_samples,); its weighted mean is the accuracy, or R²."""
        if answers.classes is not None:
            return (answers.codes == self.truth).astype(float)
        y = self.truth.reshape(len(self.truth), -1)
        variance = self.weight @ np.square(y - self.weight @ y).sum(axis=1)
        return 1 - np.square(y - answers.values).sum(axis=1) / max(variance, 1e-300)


def bootstrap_means(
    values: NDArray,
    weight: NDArray,
    rng: np.random.RandomState,
    groups: NDArray | None = None,
    n_resamples: int = _N_RESAMPLES,
) -> NDArray[np.float64]:
    """Weighted means (n_resamples, k) of columns (n_samples, k), rows or groups drawn again."""
    if groups is not None:
        values, weight = group_means(values, weight, groups), group_sums(weight, groups)
    n = len(values)
    at_once = max(1, _MAX_BYTES // (8 * n))
    means = []
    for start in range(0, n_resamples, at_once):
        size = min(at_once, n_resamples - start)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=size) * weight
        means.append(counts @ values / counts.sum(axis=1, keepdims=True))
    return np.concatenate(means)


def group_sums(values: NDArray, groups: NDArray) -> NDArray[np.float64]:
    """Sums (n_groups, ...) of the rows of each group, in the order of the groups' labels."""
    labels, of_group = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(labels), *values.shape[1:]))
    np.add.at(sums, of_group, values)
    return sums


def group_means(values: NDArray, weight: NDArray, groups: NDArray) -> NDArray[np.float64]:
    """Weighted means (n_groups, ...) of the rows of each group; 0 for one without a weight."""
    shape = (len(weight), *[1] * (values.ndim - 1))
    total = group_sums(weight, groups).reshape(-1, *shape[1:])
    sums = group_sums(values * weight.reshape(shape), groups)
    return np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)


def estimates(
    values: NDArray, held_out: HeldOut, rng: np.random.RandomState
) -> tuple[list[Estimate], NDArray[np.float64]]:
    """Weighted means of columns with percentile intervals, and the resampled means."""
    weight = held_out.weight
    size = weight @ np.abs(values)
    drawn = _without_rounding(bootstrap_means(values, weight, rng, held_out.groups), size)
    low, high = _ends(drawn)
    means = _without_rounding(weight @ values, size)
    found = zip(means.tolist(), low.tolist(), high.tolist(), strict=True)
    return [Estimate(*each) for each in found], drawn


def _without_rounding(means: NDArray, size: NDArray) -> NDArray[np.float64]:
    """Means (..., k), 0 where +1 and -1 cancel but for the rounding of terms of that size (k,)."""
    return np.where(np.abs(means) <= 1e-13 * size, 0.0, means)


def _ends(drawn: NDArray) -> NDArray[np.float64]:
    """Ends (2, k) of 95 % intervals of resampled means (n_resamples, k); NaN if none is known."""
    known = ~np.isnan(drawn).all(axis=0)
    found = np.full((2, len(known)), np.nan)
    found[:, known] = np.nanquantile(drawn[:, known], [0.025, 0.975], axis=0)
    return found


@dataclass(frozen=True)
class FidelityReport:
    """How faithful the surrogate is; print it, or take ``to_frame()``.

    Fidelity is the share of held-out rows to which surrogate and network give the same label; of a
    regressor, R² with the network's predictions as the truth. Alone it says little, as a small
    model that has never seen the network also gives most rows the network's label. So what counts
    is ``gain``: the fidelity less that of the same student taught the true targets.

    Attributes
    ----------
    gain : Estimate
        Fidelity less that of the student that never saw the network; paired 95 % interval.
    oracle_gain : Estimate
        Less that of the student taught by the training rows alone.
    models : tuple of str
        "surrogate", "taught true targets", "without oracle samples", "majority" (or "mean") and
        "network".
    columns : tuple of str
        "fidelity", "low", "high" (its 95 % interval), "kappa", "kl" (probabilities of at least
        0.001 each), "r2" (of the logits where these are taught, else of the probabilities; of a
        regressor it is the fidelity) and "accuracy" (on y; of a regressor R²).
    scores : ndarray of shape (n_models, n_columns)
    per_class : dict of label to float
        Fidelity among the rows that the network puts into a class.
    stability : float
        Share of the redraws in which the top splits come back; NaN where there are no splits.
    n_rows : int
        Held-out rows.
    n_redraws : int, default=0
        Times that the surrogate was taught again, which ``stability`` is a share of.
    min_fidelity : float, default=0.0
        A surrogate of less does not stand for the network, whatever it gains.
    """

    gain: Estimate
    oracle_gain: Estimate
    models: tuple[str, ...]
    columns: tuple[str, ...]
    scores: NDArray[np.float64]
    per_class: dict[Any, float]
    stability: float
    n_rows: int
    n_redraws: int = 0
    min_fidelity: float = 0.0

    @property
    def value(self) -> float:
        """Fidelity of the surrogate."""
        return self.of("surrogate")

    @property
    def is_stable(self) -> bool:
        """Whether the top splits come back in at least 90 % of the redraws."""
        return bool(np.isnan(self.stability) or self.stability >= STABLE)

    def of(self, model: str, column: str = "fidelity") -> float:
        """One number of the table.

        Parameters
        ----------
        model : str
            As in ``models``.
        column : str, default="fidelity"
            As in ``columns``.
        """
        return float(self.scores[self.models.index(model), self.columns.index(column)])

    def to_frame(self) -> Any:
        """The table of scores.

        Returns
        -------
        frame : pandas.DataFrame
            One row a model.
        """
        import pandas as pd

        index = pd.Index(self.models, name="model")
        return pd.DataFrame(self.scores, index=index, columns=list(self.columns))

    def __str__(self) -> str:
        lines = [
            f"gain over the student taught true targets: {self.gain}",
            f"gain by oracle samples: {self.oracle_gain}",
            f"verdict: {self.verdict}",
            "",
            " " * 23 + "".join(f"{name:>10}" for name in self.columns),
        ]
        for name, row in zip(self.models, self.scores, strict=True):
            lines.append(f"{name:<23}" + "".join(f"{x:10.3f}" for x in row))
        if not np.isnan(self.stability):
            word = "stable" if self.is_stable else "unstable"
            n, again = self.n_redraws, round(self.stability * self.n_redraws)
            lines += ["", f"top splits come back in {again} of {n} redraws: {word}"]
        return "\n".join(lines)

    @property
    def verdict(self) -> str:
        """What the numbers allow to say, in words."""
        majority = self.models[3]
        if np.isnan(self.value):
            return "the network says the same of all rows, so there is nothing to mimic"
        if self.of("surrogate", "low") <= self.of(majority):
            return f"no gain over {majority}"
        if self.value < self.min_fidelity:
            limit = f"below min_fidelity={self.min_fidelity}"
            return f"not faithful ({limit}), and {self._beside_the_truth}"
        return self._beside_the_truth

    @property
    def _beside_the_truth(self) -> str:
        """How the surrogate compares with the student of the true targets."""
        if self.gain.low > 0:
            return "more faithful than a student that never saw the network"
        if self.gain.high < 0:
            return "less faithful than a student that never saw the network"
        return "as faithful as a student that never saw the network"


_COLUMNS = ("fidelity", "low", "high", "kappa", "kl", "r2", "accuracy")


def measure_fidelity(
    held_out: HeldOut,
    students: dict[str, Answers],
    target: str,
    stability: float,
    rng: np.random.RandomState,
    n_redraws: int = 0,
) -> FidelityReport:
    """Compare students on held-out rows.

    Parameters
    ----------
    held_out : HeldOut
    students : dict of str to Answers
        In this order: the surrogate, that of the true targets, that without oracle samples, and
        the constant.
    target : {"label", "proba", "logit"}
    stability : float
    rng : RandomState
    n_redraws : int, default=0
        That ``stability`` is a share of.

    Returns
    -------
    report : FidelityReport
    """
    faithful = np.column_stack([1 - held_out.losses(a) for a in students.values()])
    found, drawn = estimates(faithful, held_out, rng)
    rows = [
        [
            e.value,
            e.low,
            e.high,
            *_further(held_out, answers, target),
            held_out.weight @ held_out.hits(answers),
        ]
        for e, answers in zip(found, students.values(), strict=True)
    ]
    own = held_out.weight @ held_out.hits(held_out.answers)
    rows.append([np.nan] * (len(_COLUMNS) - 1) + [own])
    gains = [
        Estimate(
            found[0].value - found[k].value,
            *_ends(drawn[:, [0]] - drawn[:, [k]])[:, 0].tolist(),
        )
        for k in (1, 2)
    ]
    return FidelityReport(
        gain=gains[0],
        oracle_gain=gains[1],
        models=(*students, "network"),
        columns=_COLUMNS,
        scores=np.array(rows, dtype=float),
        per_class=_per_class(held_out, next(iter(students.values()))),
        stability=stability,
        n_rows=len(held_out.answers),
        n_redraws=n_redraws,
    )


def _further(held_out: HeldOut, answers: Answers, target: str) -> list[float]:
    """Kappa, KL and R²."""
    network, s = held_out.answers, held_out.weight
    if network.classes is None:
        r2 = fidelity(network.values, answers.values, discrete=False, sample_weight=s).r2
        return [np.nan, np.nan, float(np.nan if r2 is None else r2)]
    p = np.maximum(answers.proba, FLOOR)
    labels = fidelity(
        network.codes,
        answers.codes,
        p_network=network.proba,
        p_surrogate=p / p.sum(axis=1, keepdims=True),
        sample_weight=s,
    )
    pair = (network.values, answers.values) if target == "logit" else (network.proba, answers.proba)
    r2 = fidelity(*pair, discrete=False, sample_weight=s).r2
    return [float(np.nan if x is None else x) for x in (labels.kappa, labels.kl, r2)]


def _per_class(held_out: HeldOut, answers: Answers) -> dict[Any, float]:
    network = held_out.answers
    if network.classes is None:
        return {}
    shares = fidelity(network.codes, answers.codes, sample_weight=held_out.weight).per_class or {}
    return {network.classes[k].item(): share for k, share in shares.items()}
