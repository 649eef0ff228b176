"""The record of checks of the noise's subspace and size."""

from typing import NamedTuple

#: outcomes of a check, the last column of its record
FINE, CAPPED, BACKED_OFF, EMPTY = range(4)


class SubspaceCheck(NamedTuple):
    """A row of ``noise_history_``: subspace and size of the noise at one step.

    Attributes
    ----------
    step : float
    overlap : float
        Of the refreshed subspace with the one before; NaN where it was not refreshed.
    kept : float
        Retained energy: the share of a product with vectors of the subspace in use that still
        lies inside it; NaN where that was not measured.
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
