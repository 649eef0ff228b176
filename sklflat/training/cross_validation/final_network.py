"""Training the chosen candidate on all rows, and the next best where that fails."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklflat.exceptions import DivergenceError, PerturbationWarning, warn

#: candidates that are trained on all rows at most
_MOST = 4
#: share of a score by which less on training rows is a failure, however alike the folds are
_SHARE = 0.02


def train_final(
    search: Any,
    held_out: NDArray,
    train: Callable[[dict[str, Any]], Any],
    score: Callable[[Any], float],
) -> tuple[int, Any]:
    """Train the best candidate on all rows; where its training fails there, the next best.

    Where it fails for the four best, the first of them that is finite is kept.

    A training can fail on all rows where those of the folds did not: another number of rows makes
    other batches, and a penalty that is divided by the rows of a batch is another with each.

    Parameters
    ----------
    search : StackedSearchCV
        Fitted, without ``refit``.
    held_out : ndarray of shape (n_folds, n_candidates)
        Scores on rows that the networks of the folds were not trained on.
    train : callable
        ``train(params)`` returns an estimator that is fitted on all rows.
    score : callable
        ``score(estimator)`` is its score on these rows.

    Returns
    -------
    index : int
        The candidate that was taken.
    estimator : estimator

    Raises
    ------
    DivergenceError
        If the trainings of the best candidates all diverge.

    Warns
    -----
    PerturbationWarning
        If the best candidate failed; names what was taken.
    """
    results = search.cv_results_
    order = np.argsort(results["rank_test_score"], kind="stable")
    order = order[np.isfinite(held_out[:, order]).all(axis=0)][:_MOST]
    kept, lost, diverged = None, [], None
    for index in order:
        params = results["params"][index]
        try:
            estimator = train(params)
        except DivergenceError as error:
            diverged = diverged or error
            lost.append(f"{_named(params)} diverged")
            continue
        on_rows = score(estimator)
        if not has_failed(on_rows, held_out[:, index]):
            kept = index, estimator
            break
        lost.append(
            f"{_named(params)} has a score of {on_rows:.3g} on them, and in cross-validation had "
            f"{held_out[:, index].mean():.3g} in the mean on rows that were held out"
        )
        kept = kept or (index, estimator)
    if kept is None:
        assert diverged is not None
        raise diverged
    if lost:
        taken = (
            f"{_named(results['params'][kept[0]])} is {'kept' if kept[0] == order[0] else 'taken'}"
        )
        warn(
            f"Training on all rows failed where that on folds did not: {'; '.join(lost)}. "
            f"{taken}. A last batch much smaller than the others multiplies the share of alpha: "
            "choose a batch_size that leaves no small rest, or lower the largest alphas or rhos.",
            PerturbationWarning,
        )
    return kept


def has_failed(on_training_rows: float, held_out: NDArray) -> bool:
    """Whether a network scores less on its training rows than chance explains.

    Its score there is below nine of ten that the networks of the folds have on rows that were
    held out (n_folds,), and below their mean by more than two standard errors and 2 %. Of one fold
    it is not known how far scores are apart.

    Examples
    --------
    >>> (
    ...     has_failed(0.55, np.array([0.73, 0.65, 0.70])),
    ...     has_failed(0.66, np.array([0.73, 0.65, 0.7])),
    ... )
    (True, False)
    """
    if len(held_out) < 2:
        return False
    mean, error = held_out.mean(), held_out.std(ddof=1) / np.sqrt(len(held_out))
    below = mean - on_training_rows
    is_low = on_training_rows < np.quantile(held_out, 0.1)
    return bool(is_low and below > max(2 * error, _SHARE * abs(mean)))


def _named(params: dict[str, Any]) -> str:
    return " and ".join(f"{name}={params[name]:.3g}" for name in ("rho", "alpha") if name in params)
