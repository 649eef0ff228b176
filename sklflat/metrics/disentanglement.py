"""How far units stand for single factors: DCI and the mutual information gap."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import accuracy_score, mutual_info_score, r2_score
from sklearn.model_selection import cross_val_predict
from sklearn.utils import check_array, check_consistent_length, check_scalar

__all__ = ["DCI", "dci", "mutual_information_gap"]


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness; see :func:`dci`."""

    disentanglement: float
    completeness: float
    informativeness: float
    importances: NDArray[np.float64]


def dci(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    discrete: bool = False,
    predictor: Any = None,
    cv: int = 5,
    random_state: int | np.random.RandomState | None = 0,
) -> DCI:
    r"""Disentanglement, completeness and informativeness of codes for known factors.

    A predictor of each factor k from the codes gives importances :math:`R_{jk} \ge 0` of the
    codes j. With rows and columns of R normalised to distributions and entropies H to the base of
    their length [1]_,

    .. math::
        D = \sum_j \rho_j \big(1 - H(R_{j\cdot})\big), \qquad
        C = \frac{1}{K} \sum_k \big(1 - H(R_{\cdot k})\big)

    with :math:`\rho_j` the share of code j in all importance. D is 1 if every code that matters is
    important for one factor only; C is 1 if every factor is carried by one code. Informativeness
    is the mean over factors of the cross-validated :math:`R^2` (not below 0) or accuracy.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_codes)
        Activations of units.
    factors : array-like of shape (n_samples, n_factors)
        True factors.
    discrete : bool, default=False
        Whether factors are labels; their informativeness is then an accuracy.
    predictor : estimator, default=None
        With ``feature_importances_`` or ``coef_`` after ``fit``. ``None`` is a random forest of
        50 trees.
    cv : int, default=5
        Number of folds for the informativeness.
    random_state : int, RandomState instance or None, default=0
        Of the default predictor.

    Returns
    -------
    DCI
        Named tuple; ``importances`` has shape (n_codes, n_factors), columns adding up to 1 (or 0,
        where a factor cannot be told from the codes).

    References
    ----------
    .. [1] C. Eastwood, C. Williams, "A framework for the quantitative evaluation of disentangled
       representations", ICLR 2018. https://openreview.net/forum?id=By-7dz-AZ

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Lasso
    >>> from sklflat.metrics import dci
    >>> F = np.random.RandomState(0).normal(size=(200, 3))
    >>> result = dci(2 * F[:, [2, 0, 1]], F, predictor=Lasso(0.01))
    >>> round(result.disentanglement, 2), round(result.completeness, 2)
    (1.0, 1.0)
    """
    Z = check_array(codes, dtype=np.float64, input_name="codes", ensure_min_samples=cv)
    F = check_array(factors, dtype=None if discrete else np.float64, input_name="factors")
    check_consistent_length(Z, F)
    if predictor is None:
        forest = RandomForestClassifier if discrete else RandomForestRegressor
        # all codes compete in every split: otherwise those of no use win some of them
        predictor = forest(n_estimators=50, max_features=None, random_state=random_state)
    score = accuracy_score if discrete else r2_score
    columns, scores = [], []
    for v in F.T:
        columns.append(_importances(clone(predictor).fit(Z, v)))
        predicted = cross_val_predict(clone(predictor), Z, v, cv=cv)
        scores.append(max(0.0, score(v, predicted)))
    R = np.column_stack(columns)
    R = R / np.where(R.sum(axis=0) > 0, R.sum(axis=0), 1)
    total = R.sum()
    rho = R.sum(axis=1) / total if total > 0 else np.zeros(len(R))
    disentanglement = float(rho @ _concentration(R))
    completeness = float(_concentration(R.T).mean())
    return DCI(disentanglement, completeness, float(np.mean(scores)), R)


def _importances(fitted: Any) -> NDArray:
    if hasattr(fitted, "feature_importances_"):
        return np.asarray(fitted.feature_importances_)
    if hasattr(fitted, "coef_"):
        return np.abs(np.atleast_2d(fitted.coef_)).sum(axis=0)
    raise TypeError(
        f"predictor={type(fitted).__name__} has neither feature_importances_ nor coef_ after fit."
    )


def _concentration(R: NDArray) -> NDArray:
    """1 - H of each row, to the base of its length; 0 for a row of zeros, 1 for a single entry."""
    sums = R.sum(axis=1, keepdims=True)
    P = R / np.where(sums > 0, sums, 1)
    H = -(P * np.log(np.where(P > 0, P, 1))).sum(axis=1)
    full = np.log(R.shape[1]) if R.shape[1] > 1 else 1.0
    return np.where(sums[:, 0] > 0, 1 - H / full, 0.0)


def mutual_information_gap(
    codes: ArrayLike, factors: ArrayLike, *, n_bins: int | None = 20, discrete: bool = True
) -> float:
    r"""How far the most informative code of each factor is ahead of the second.

    .. math::
        \frac{1}{K} \sum_k \frac{I(z_{(1)}; v_k) - I(z_{(2)}; v_k)}{H(v_k)}

    with codes cut into bins of equal width [1]_. 1 if every factor is carried by one code alone,
    0 if two codes carry it equally.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_codes)
        At least two codes.
    factors : array-like of shape (n_samples, n_factors)
    n_bins : int or None, default=20
        Bins of the codes, and of factors that are not discrete. ``None`` takes codes as labels.
    discrete : bool, default=True
        Whether factors are labels.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If there is one code only, or a factor is constant.

    References
    ----------
    .. [1] R. Chen, X. Li, R. Grosse, D. Duvenaud, "Isolating sources of disentanglement in VAEs",
       NeurIPS 2018. https://arxiv.org/abs/1802.04942

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.metrics import mutual_information_gap
    >>> v = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> mutual_information_gap(v, v), mutual_information_gap(v[:, [0, 0]], v[:, [0]])
    (1.0, 0.0)
    """
    Z = check_array(codes, dtype=np.float64, input_name="codes")
    F = check_array(factors, dtype=None if discrete else np.float64, input_name="factors")
    check_consistent_length(Z, F)
    if n_bins is not None:
        check_scalar(n_bins, "n_bins", int, min_val=2)
        Z = _binned(Z, n_bins)
    elif not discrete:
        raise ValueError("n_bins=None needs factors that are labels: discrete=True.")
    if Z.shape[1] < 2:
        raise ValueError("codes must hold at least two codes, for there to be a second.")
    V = F if discrete or n_bins is None else _binned(F, n_bins)
    gaps = []
    for k, v in enumerate(V.T):
        entropy = mutual_info_score(v, v)
        if entropy <= 0:
            raise ValueError(f"Factor {k} is constant, so no code can tell anything about it.")
        information = np.sort([mutual_info_score(v, z) for z in Z.T])
        gaps.append((information[-1] - information[-2]) / entropy)
    return float(np.mean(gaps))


def _binned(Z: NDArray, n_bins: int) -> NDArray:
    """Numbers of bins of equal width between each column's extremes."""
    low, width = Z.min(axis=0), np.ptp(Z, axis=0)
    shares = (Z - low) / np.where(width > 0, width, 1)
    return np.minimum((shares * n_bins).astype(int), n_bins - 1)
