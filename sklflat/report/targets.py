"""The unit of a target of numbers: what the default networks are given, and what is said of it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.probing.split import Rows
from sklflat.report.parts import Quantity
from sklflat.report.wording import listed, number

#: a standard deviation between these, and a mean up to the second, is called near unit scale
_NEAR = (0.1, 10.0)


@dataclass(frozen=True)
class TargetUnit:
    """Mean and standard deviation of the targets that networks are trained on.

    Parameters
    ----------
    mean, scale : ndarray of shape (n_outputs,), or of shape () for one output
        The scale is 1 for a constant target.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.probing.split import Rows
    >>> from sklflat.report.targets import TargetUnit
    >>> rows = Rows(np.zeros((2, 1)), np.array([10.0, 30.0]), {})
    >>> TargetUnit.of(rows).standardised(rows).y
    array([-1.,  1.])
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Rows) -> "TargetUnit":
        """Of the targets of rows; targets that are not finite are left as they are.

        Parameters
        ----------
        rows : Rows
        """
        y = np.asarray(rows.y, dtype=float)
        if not np.isfinite(y).all():
            return cls(np.zeros(y.shape[1:]), np.ones(y.shape[1:]))
        largest = np.abs(y).max(initial=0.0) or 1.0  # squares of 1e300 or of 1e-300 are no numbers
        mean, scale = (y / largest).mean(axis=0) * largest, (y / largest).std(axis=0) * largest
        constant = scale <= 1e-12 * np.abs(mean)
        return cls(np.asarray(mean), np.where(constant, 1.0, scale))

    def standardised(self, rows: Rows) -> Rows:
        """The rows with their targets in this unit.

        Parameters
        ----------
        rows : Rows
        """
        return replace(rows, y=(np.asarray(rows.y, dtype=float) - self.mean) / self.scale)

    @property
    def said(self) -> str:
        """What was done to the target, in a sentence."""
        return (
            f"Standardised on the training rows (mean {_written(self.mean)}, standard deviation "
            f"{_written(self.scale)}), and "
            "all numbers of this page are in that unit."
        )


def total_variance(y: Any) -> float:
    """Variance of targets, of several outputs added up: the squared error of the mean.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    """
    y = np.asarray(y, dtype=float).reshape(len(y), -1)
    return float(np.square(y - y.mean(axis=0)).sum(axis=1).mean())


def target_spread(y: Any) -> Quantity:
    """The standard deviation of the targets that networks are given, and whether it is far from 1.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    """
    y = np.asarray(y, dtype=float).reshape(len(y), -1)
    spread, mean = y.std(axis=0), y.mean(axis=0)
    low, high = _NEAR
    text = "As the networks are given it."
    if ((spread < low) | (spread > high) | (np.abs(mean) > high)).any():
        text = (
            f"As the networks are given it, with a mean of {_written(mean)}: far from unit scale. "
            "Networks learn slowly from such targets, and the step of flatness means something "
            "else in every unit: standardise the target first."
        )
    return Quantity(
        "standard deviation of the target", float(np.sqrt(np.square(spread).mean())), text
    )


def _written(values: NDArray) -> str:
    """Numbers of the first outputs in words."""
    found = [number(float(v)) for v in np.ravel(values)]
    return listed([*found[:6], f"{len(found) - 6} others"] if len(found) > 7 else found)
