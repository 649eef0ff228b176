"""Rows that claims are measured on: to train on, to match accuracies on, and to judge on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from sklflat.claims.protocol import Protocol
from sklflat.datasets import Truth

__all__ = ["REAL", "Rows", "cut", "real_rows", "standardised"]

#: tables that scikit-learn ships
REAL = {"digits": load_digits, "breast cancer": load_breast_cancer, "wine": load_wine}


@dataclass(frozen=True)
class Rows:
    """Three parts of one table, drawn by a seed.

    Attributes
    ----------
    X, y : ndarray
        To train on.
    X_match, y_match : ndarray
        To match accuracies on.
    X_test, y_test : ndarray
        To judge on; they choose nothing.
    test : ndarray of int
        Which rows of the table are judged on.
    """

    X: NDArray
    y: NDArray
    X_match: NDArray
    y_match: NDArray
    X_test: NDArray
    y_test: NDArray
    test: NDArray

    @property
    def n_train(self) -> int:
        """Rows to train on."""
        return len(self.X)


def cut(X: NDArray, y: NDArray, n_train: int, n_match: int) -> Rows:
    """Rows in the order that they have: the first to train on, then to match, the rest to judge.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
    n_train, n_match : int

    Returns
    -------
    Rows
    """
    one, two = n_train, n_train + n_match
    X = np.asarray(X, dtype=np.float32)
    test = np.arange(two, len(X))
    return Rows(X[:one], y[:one], X[one:two], y[one:two], X[two:], y[two:], test)


def standardised(rows: Rows) -> Rows:
    """The same with inputs of mean 0 and deviation 1 on the rows to train on."""
    center, scale = rows.X.mean(axis=0), rows.X.std(axis=0)
    scale = np.where(scale > 0, scale, 1)
    X, X_match, X_test = ((x - center) / scale for x in (rows.X, rows.X_match, rows.X_test))
    return Rows(X, rows.y, X_match, rows.y_match, X_test, rows.y_test, rows.test)


def real_rows(name: str, seed: int, n_most: int = 900) -> Rows:
    """A table that scikit-learn ships, in an order drawn by the seed: 45, 20 and 35 % of it.

    Parameters
    ----------
    name : {"digits", "breast cancer", "wine"}
    seed : int
    n_most : int, default=900
        Rows taken at most.

    Returns
    -------
    Rows
        Standardised.
    """
    X, y = REAL[name](return_X_y=True)
    order = np.random.RandomState(seed).permutation(len(X))[:n_most]
    n = len(order)
    return standardised(cut(X[order], y[order], round(0.45 * n), round(0.2 * n)))


def rows_with_truth(
    protocol: Protocol, data: str, seed: int, make: Callable[..., Any], **settings: Any
) -> tuple[Rows, Truth | None]:
    """Rows of a data set, and what was planted in those judged on; None for real data.

    Parameters
    ----------
    protocol : Protocol
        Has the numbers of rows and of features.
    data : str
        ``"planted"``, or the name of a real data set.
    seed : int
    make : callable
        Of :mod:`sklflat.datasets`: returns X, y and the truth.
    **settings
        Further arguments of it.
    """
    if data != "planted":
        return real_rows(data, seed), None
    n = [protocol.count(name) for name in ("n_train", "n_match", "n_test")]
    n_features = protocol.count("n_features")
    X, y, truth = make(sum(n), n_features=n_features, random_state=seed, **settings)
    rows = cut(X, y, n[0], n[1])
    return rows, truth.subset(rows.test)
