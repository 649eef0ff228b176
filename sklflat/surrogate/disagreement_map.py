"""Where on two features surrogate and network differ, and where the models of the basin do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.surrogate.degeneracy import apart, output_variance
from sklflat.surrogate.taught import TaughtSample
from sklflat.surrogate.teacher import Answers

#: held-out rows that are kept
_MAX_ROWS = 2000


@dataclass(frozen=True)
class DisagreementMap:
    """Held-out rows over the two features that the surrogate uses most.

    Attributes
    ----------
    names : tuple of two str
        The second is the network's margin, where there is one feature only.
    places : ndarray of shape (n_rows, 2)
    differs : ndarray of shape (n_rows,), bool
        Whether surrogate and network differ.
    variance : ndarray of shape (n_rows,)
        Of the outputs, over the models of the basin; NaN without any.
    """

    names: tuple[str, str]
    places: NDArray
    differs: NDArray
    variance: NDArray

    @classmethod
    def of(cls, sample: TaughtSample, members: Sequence[Answers]) -> "DisagreementMap":
        """The map of a sample, with the models of its first source."""
        network = sample.held_out.answers
        differs, _ = apart(network, sample.surrogate_answers)
        variance = np.full(len(network), np.nan)
        if len(members) > 1:
            variance = output_variance(members)
        rows = np.flatnonzero(sample.weights > 0)
        if len(rows) > _MAX_ROWS:
            rows = np.sort(sample.rng(9).choice(rows, _MAX_ROWS, replace=False))
        names, features = sample.columns.feature_names, sample.features
        most = most_used(sample.student.model, features.shape[1])[:2]
        axes = [features[:, j] for j in most] + [network.margin]
        said = [names[j] for j in most] + ["margin"]
        places = np.column_stack(axes[:2])[rows]
        return cls((said[0], said[1]), places, differs[rows], variance[rows])


def most_used(model: Any, n_features: int) -> NDArray[np.int64]:
    """Numbers of the features, those first that a surrogate uses most, as far as it says so."""
    if hasattr(model, "feature_importances_"):
        use = np.asarray(model.feature_importances_, dtype=float)
    elif hasattr(model, "coef_"):
        use = np.abs(np.atleast_2d(np.asarray(model.coef_, dtype=float))).sum(axis=0)
    else:
        use = np.zeros(n_features)
    return np.argsort(-use, kind="stable")
