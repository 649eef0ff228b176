"""Networks whose training ended before it converged, on which all else of a page depends."""

from typing import Any

from sklearn.pipeline import Pipeline

from sklflat.report.efforts import EFFORTS, Effort
from sklflat.training.engine.epochs import ALL_EPOCHS


def epochs_short(fitted: Any) -> int:
    """Epochs after which training ended before it converged; 0 where it converged or is unknown.

    Parameters
    ----------
    fitted : estimator
        A network, a pipeline that ends in one, or a search among such.
    """
    fitted = getattr(fitted, "best_estimator_", fitted)
    last = fitted.steps[-1][1] if isinstance(fitted, Pipeline) else fitted
    record = getattr(last, "_record", None)
    return int(last.n_iter_) if record is not None and record.ended == ALL_EPOCHS else 0


def stopped(n_epochs: int, is_default: bool, effort: Effort) -> str:
    """That training ended before it converged, and what to do; empty where it did not.

    Parameters
    ----------
    n_epochs : int
        As ``epochs_short`` gives them.
    is_default : bool
        Whether the network is one of the default ones, which effort trains for so long.
    effort : Effort

    Examples
    --------
    >>> from sklflat.report.efforts import EFFORTS
    >>> from sklflat.report.stopping import stopped
    >>> stopped(40, True, EFFORTS["quick"])[:50]
    'Training stopped at 40 epochs, before it converged'
    """
    if not n_epochs:
        return ""
    how = "max_iter"
    if is_default:
        longest = max(e.max_iter for e in EFFORTS.values())
        how = f"a full report trains {longest}"
        if effort.max_iter == longest:
            how = "estimators= with a larger max_iter"
    return (
        f"Training stopped at {n_epochs:,} epochs, before it converged: more epochs ({how}) before "
        "anything else."
    )
