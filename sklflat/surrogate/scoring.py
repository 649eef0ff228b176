"""Held-out fidelity as a scorer."""

from typing import Any

import numpy as np
from sklearn.base import is_classifier


def surrogate_fidelity(aligner: Any, X: Any, y: Any = None) -> float:
    """How faithful a fitted aligner's surrogate is to its network on data.

    A scorer, for ``GridSearchCV(SurrogateAligner(...), {"surrogate__max_depth": [...]},
    scoring=surrogate_fidelity)``.

    Parameters
    ----------
    aligner : SurrogateAligner
        Fitted.
    X : array-like of shape (n_samples, ...)
        Rows that neither network nor surrogate has seen.
    y : ignored

    Returns
    -------
    float
        Share of the rows to which both give the same label; of a regressor, R² with the network's
        predictions as the truth, of all outputs together.
    """
    from sklearn.metrics import r2_score

    said, mimicked = aligner.network_predict(X), aligner.predict(X)
    if is_classifier(aligner):
        return float(np.mean(said == mimicked))
    return float(r2_score(said, mimicked, multioutput="variance_weighted"))
