"""Areas under ROC curves, and correlations of units with hidden features."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_array, check_consistent_length, column_or_1d

__all__ = ["best_correlations", "mask_auc", "regions_auc"]

_ROUNDING = 1e-12  # relative spread below which a column counts as constant


def mask_auc(
    real: NDArray[np.bool_],
    scores: ArrayLike,
    roles: NDArray[np.str_] | None = None,
    against: str | None = None,
) -> float:
    """AUC of scores against a mask, or against one role among the unreal."""
    values = column_or_1d(
        check_array(scores, ensure_2d=False, dtype=np.float64, input_name="scores")
    )
    if len(values) != len(real):
        raise ValueError(f"scores must hold one number for each of {len(real)}, got {len(values)}.")
    kept = np.ones(len(real), dtype=bool)
    if against is not None:
        if roles is None or against not in roles:
            known = "none" if roles is None else sorted({str(role) for role in roles})
            raise ValueError(f"against={against!r} is not among the roles planted here: {known}.")
        real = real & (roles != against)
        kept = real | (roles == against)
    if real[kept].all() or not real[kept].any():
        raise ValueError(
            f"The AUC is undefined: {np.count_nonzero(real[kept])} of {np.count_nonzero(kept)} are "
            "real, and it takes some that are and some that are not."
        )
    return float(roc_auc_score(real[kept], values[kept]))


def regions_auc(regions: NDArray, scores: ArrayLike) -> float:
    """Mean over regions of the AUC of a column of scores against the samples in the region."""
    names = np.unique(regions)
    values = check_array(scores, dtype=np.float64, input_name="scores")
    if values.shape != (len(regions), len(names)) or len(names) < 2:
        raise ValueError(
            f"scores must have shape (n_samples, n_regions) = {(len(regions), len(names))}, with "
            f"at least two regions among the samples; got {values.shape}."
        )
    columns = zip(names, values.T, strict=True)
    return float(np.mean([roc_auc_score(regions == name, column) for name, column in columns]))


def best_correlations(activations: ArrayLike, latent: NDArray) -> NDArray[np.float64]:
    """Largest absolute correlation of each column of activations with a column of latent."""
    a = check_array(activations, dtype=np.float64, ensure_min_samples=2, input_name="activations")
    check_consistent_length(a, latent)
    correlations = np.abs(_standardised(a).T @ _standardised(latent))
    return np.minimum(correlations.max(axis=1), 1.0)


def _standardised(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of mean 0 and unit norm; constant ones become 0."""
    # at unit size, as squares of tiny numbers are 0 and of huge ones infinite
    size = np.abs(columns).max(axis=0)
    columns = columns / np.where(size > 0, size, 1.0)
    centred = columns - columns.mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    # the mean of equal numbers may be off by rounding, which must not be blown up to unit norm
    constant = norms <= _ROUNDING * np.linalg.norm(columns, axis=0)
    return np.asarray(np.where(constant, 0.0, centred / np.where(constant, 1.0, norms)))
