"""The units of a fitted probe as a table."""

from typing import Any

import numpy as np


def unit_table(probe: Any) -> Any:
    """A DataFrame with one row a unit: see ``UnitProbe.to_frame``.

    Parameters
    ----------
    probe : UnitProbe
        Fitted.
    """
    import pandas as pd

    layers = np.array([layer.name for layer in probe.units_.layers], dtype=object)
    columns = {
        "layer": layers[probe.units_.layer_of],
        "channel": probe.units_.channel_of,
        "score": probe.unit_scores_,
        "p_value": probe.p_values_,
        "q_value": probe.q_values_,
        "selected": probe.support_,
        "dead": probe.dead_,
        "mean": probe.unit_means_,
        "variance": probe.unit_variances_,
    }
    frame = pd.DataFrame(columns, index=pd.Index(probe.unit_names_, name="unit"))
    frame.attrs["p_value"] = probe.null_hypothesis_
    return frame
