"""How far units stand for single factors: DCI and the mutual information gap."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import accuracy_score, mutual_info_score, r2_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.utils import check_array, check_consistent_length, check_scalar

from sklflat.metrics._checks import check_labels, standardised, varying

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
    random_state: int | None = 0,
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
    is the mean over factors of the cross-validated :math:`R^2` (not below 0) or accuracy. Codes,
    and factors that are not discrete, are standardised first, so that their scale does not matter.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_codes)
        Activations of units.
    factors : array-like of shape (n_samples, n_factors)
        True factors.
    discrete : bool, default=False
        Whether factors are labels; their informativeness is then an accuracy, to be compared with
        the share of the most frequent label.
    predictor : estimator, default=None
        With ``feature_importances_`` or ``coef_`` after ``fit``. ``None`` is a random forest of
        50 trees.
    cv : int, default=5
        Number of folds for the informativeness; rows are shuffled.
    random_state : int or None, default=0
        Of the default predictor and of the folds.

    Returns
    -------
    DCI
        Named tuple; ``importances`` has shape (n_codes, n_factors), columns adding up to 1 (or 0,
        where a factor cannot be told from the codes).

    Raises
    ------
    ValueError
        If a factor is constant, or `discrete` is true and a factor holds numbers with a fraction.
    TypeError
        If the fitted predictor tells no importances.

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
    check_scalar(cv, "cv", int, min_val=2)
    Z = check_array(codes, dtype=np.float64, input_name="codes", ensure_min_samples=cv)
    F = _check_factors(factors, discrete)
    check_consistent_length(Z, F)
    size = np.sqrt(len(Z))  # of a column whose deviation is 1
    Z = size * standardised(Z)
    F = F if discrete else size * standardised(F)
    if predictor is None:
        forest = RandomForestClassifier if discrete else RandomForestRegressor
        # all codes compete in every split: otherwise those of no use win some of them
        predictor = forest(n_estimators=50, max_features=None, random_state=random_state)
    folds = (StratifiedKFold if discrete else KFold)(cv, shuffle=True, random_state=random_state)
    score = accuracy_score if discrete else r2_score
    columns, scores = [], []
    for v in F.T:
        columns.append(_importances(clone(predictor).fit(Z, v)))
        predicted = cross_val_predict(clone(predictor), Z, v, cv=folds)
        scores.append(max(0.0, score(v, predicted)))
    R = np.column_stack(columns)
    R = R / np.where(R.sum(axis=0) > 0, R.sum(axis=0), 1)
    total = R.sum()
    rho = R.sum(axis=1) / total if total > 0 else np.zeros(len(R))
    disentanglement = float(rho @ _concentration(R))
    completeness = float(_concentration(R.T).mean())
    return DCI(disentanglement, completeness, float(np.mean(scores)), R)


def _check_factors(factors: ArrayLike, discrete: bool) -> NDArray:
    """Factors (n_samples, n_factors), none of them constant."""
    F = check_array(factors, dtype=None if discrete else np.float64, input_name="factors")
    for k, v in enumerate(F.T):
        if discrete:
            check_labels(v, "factors", advice="For real factors pass discrete=False.")
        if len(np.unique(v)) == 1 or not (discrete or varying(v[:, None]).any()):
            raise ValueError(
                f"factors: column {k} is constant, so no code can tell anything about it. Leave "
                "it out."
            )
    return F


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
    codes: ArrayLike, factors: ArrayLike, *, discrete: bool = False, n_bins: int | None = 20
) -> float:
    r"""How far the most informative code of each factor is ahead of the second.

    .. math::
        \frac{1}{K} \sum_k \frac{I(z_{(1)}; v_k) - I(z_{(2)}; v_k)}{H(v_k)}

    with codes cut into bins of equal width [1]_. 1 if every factor is carried by one code alone,
    0 if two codes carry it equally. Information is estimated from counts, which adds some that is
    not there: use many more samples than bins times labels.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_codes)
        At least two codes.
    factors : array-like of shape (n_samples, n_factors)
    discrete : bool, default=False
        Whether factors are labels. If not they are cut into bins as well.
    n_bins : int or None, default=20
        Number of bins. ``None`` takes codes as they are, for labels.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If there is one code only, or a factor is constant, or is to be a label and has a fraction.

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
    F = _check_factors(factors, discrete)
    check_consistent_length(Z, F)
    if Z.shape[1] < 2:
        raise ValueError(f"codes must have at least two columns, got {Z.shape[1]}.")
    if n_bins is None and not discrete:
        raise ValueError("n_bins=None needs factors that are labels: pass discrete=True.")
    if n_bins is not None:
        check_scalar(n_bins, "n_bins", int, min_val=2)
    Z = np.column_stack([_labelled(z, n_bins) for z in Z.T])
    V = np.column_stack([_labelled(v, None if discrete else n_bins) for v in F.T])
    information = np.sort([[mutual_info_score(v, z) for z in Z.T] for v in V.T])
    entropy = np.array([mutual_info_score(v, v) for v in V.T])
    return float(np.mean((information[:, -1] - information[:, -2]) / entropy))


def _labelled(z: NDArray, n_bins: int | None) -> NDArray:
    """Number of the bin of each value, of equal width between the extremes; or of the value."""
    if n_bins is None:
        return np.unique(z, return_inverse=True)[1]
    if not varying(z[:, None]).any():
        return np.zeros(len(z), dtype=int)
    shares = (z - z.min()) / np.ptp(z)
    return np.minimum((shares * n_bins).astype(int), n_bins - 1)
