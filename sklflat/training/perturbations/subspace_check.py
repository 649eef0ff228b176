"""What noise found when it looked at the loss around the weights."""

from typing import NamedTuple

#: what is said of a look in the last column of its record
FINE, CAPPED, BACKED_OFF, EMPTY = range(4)


class Look(NamedTuple):
    """A row of the record: what was found when the noise was set.

    Attributes
    ----------
    step : float
    overlap : float
        Of the refreshed subspace with the one before; NaN where it was not refreshed.
    kept : float
        How much of a product with vectors of the subspace in use still lies inside it; NaN where
        that was not looked at.
    length : float
        Root of the expected squared length of the noise, relative to the parameters' length.
    rise : float
        Expected rise of the loss, relative to the loss; NaN where it was not measured.
    state : float
        ``FINE``, ``CAPPED`` (at its largest, the budget is not used up), ``BACKED_OFF`` (from a
        loss that is not finite) or ``EMPTY`` (the subspace holds nothing).
    """

    step: float
    overlap: float
    kept: float
    length: float
    rise: float
    state: float
