"""The units of a fitted probe as a table."""

from typing import Any

import numpy as np


def unit_table(probe: Any, own: dict[str, Any]) -> Any:
    """A DataFrame with one row a unit: see ``UnitProbe.to_frame``.

    Parameters
    ----------
    probe : UnitProbe
        Fitted.
    own : dict of str to ndarray of shape (n_units,)
        What this probe says of each unit, by column.
    """
    import pandas as pd

    layers = np.array([layer.name for layer in probe.units_.layers], dtype=object)
    columns = {
        "layer": layers[probe.units_.layer_of],
        "channel": probe.units_.channel_of,
        **own,
        "selected": probe.support_,
        "dead": probe.dead_,
        "mean": probe.unit_means_,
        "variance": probe.unit_variances_,
    }
    return pd.DataFrame(columns, index=pd.Index(probe.unit_names_, name="unit"))
