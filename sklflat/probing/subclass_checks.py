"""What a probe's own functions return, checked by name before anything depends on it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.probing.nulls import Null


def require_parameters(probe: Any, shared: dict[str, Any]) -> None:
    """Raise unless a probe has the parameters that all have; says which it lacks."""
    missing = [name for name in shared if not hasattr(probe, name)]
    if missing:
        raise TypeError(
            f"{type(probe).__name__} has no parameters {', '.join(missing)}: a subclass of "
            "UnitProbe writes out __init__ with these and its own, and stores each as it is given."
        )


def checked_scores(probe: Any, scores: Any, scoreless: NDArray) -> NDArray:
    """Scores (n_units,) as ``_score_units`` has to return them."""
    name, n_units = f"{type(probe).__name__}._score_units", len(scoreless)
    found = np.asarray(scores)
    if found.shape != (n_units,) or found.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} has to return one number for each of the {n_units} units, an array of shape "
            f"({n_units},); got {_described(scores)}."
        )
    if np.isnan(found[~scoreless]).any():
        raise ValueError(
            f"{name} returned NaN for {np.isnan(found[~scoreless]).sum()} units that live: a unit "
            "with nothing to show has the score 0."
        )
    return found


def checked_nulls(probe: Any, nulls: Any, n_units: int) -> tuple[Null, ...]:
    """Null hypotheses as ``_draw_nulls`` has to return them."""
    name = f"{type(probe).__name__}._draw_nulls"
    if not isinstance(nulls, list | tuple) or not nulls:
        raise ValueError(
            f"{name} has to return a list of Null, one for each null hypothesis; got "
            f"{_described(nulls)}. Wrap draws as Null('what is random', draws)."
        )
    for null in nulls:
        if not isinstance(null, Null):
            raise ValueError(
                f"{name}: the list has to hold Null objects, and holds {_described(null)}. Wrap "
                "draws as Null('what is random', draws)."
            )
        shape = np.shape(null.draws)
        if np.asarray(null.draws).dtype.kind not in "biuf":
            raise ValueError(f"{name}: the draws of {null.name!r} are {_described(null.draws)}.")
        if null.matched and (len(shape) != 2 or shape[1] != n_units):
            transposed = len(shape) == 2 and shape[0] == n_units
            raise ValueError(
                f"{name}: the draws of {null.name!r} have the shape {shape}, and those of a "
                f"matched null have a row for each draw and a column for each of {n_units} units"
                + (": transpose them." if transposed else "; else say matched=False.")
            )
        if np.isnan(null.draws).any():
            raise ValueError(f"{name}: there are NaN among the draws of {null.name!r}.")
    return tuple(nulls)


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    return f"{value!r} of type {type(value).__name__}"[:200]
