"""A bar of what is done, for those who asked for it."""

from typing import Any

from tqdm import tqdm

#: seconds before a bar appears
_PATIENCE = 1.0


def progress(name: str, total: int, unit: str, verbose: int) -> Any:
    """A bar that is hidden unless ``verbose``; call its ``update`` with what has been done.

    Parameters
    ----------
    name : str
        Of the estimator.
    total : int
    unit : str
        What is counted, such as ``"draw"``.
    verbose : int

    Returns
    -------
    bar : tqdm
        A context manager.
    """
    return tqdm(desc=name, total=total, unit=unit, disable=not verbose, delay=_PATIENCE)
