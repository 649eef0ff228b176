"""What the columns of the data are, and how a student sees them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from sklflat.training.estimators.containers import is_several

#: kinds of columns: of those that are discrete, values are exchanged and never made up
NUMBER, INTEGER, BINARY, CATEGORY = "number", "integer", "binary", "category"


@dataclass(frozen=True)
class Columns:
    """Names, kinds and categories of the columns of some data.

    Data are read as *codes*, a matrix of floats in which a category is its number. From codes the
    data can be made again (``to_data``), and what a student reads (``to_features``): numbers as
    they are, and a column of 0 and 1 for each category. Arrays of more than two axes are read as
    one column an entry.

    Attributes
    ----------
    names : tuple of str
    kinds : tuple of str
        "number", "integer" (all values are whole), "binary" (at most two values) or "category".
    categories : tuple of tuple
        The categories of each column; empty for numbers.
    row_shape : tuple of int
        Of one row of an array.
    dtype : str
        Of an array; empty for tables.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklflat.surrogate.columns import Columns
    >>> X = pd.DataFrame({"size": [1.5, 2.5, 4.0], "colour": ["red", "blue", "red"]})
    >>> columns = Columns.of(X)
    >>> columns.kinds, columns.feature_names
    (('number', 'category'), ('size', 'colour = blue', 'colour = red'))
    >>> columns.to_features(columns.codes(X))
    array([[1.5, 0. , 1. ],
           [2.5, 1. , 0. ],
           [4. , 0. , 1. ]])
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    categories: tuple[tuple[Any, ...], ...]
    row_shape: tuple[int, ...] = ()
    dtype: str = ""

    @classmethod
    def of(cls, X: Any) -> "Columns":
        """The columns of data, which are not looked at again.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        """
        names, values, shape, dtype = _taken_apart(X)
        categories = tuple(() if _is_numeric(v) else _categories(v) for v in values)
        kinds = tuple(
            CATEGORY if known else _kind_of_numbers(np.asarray(v, dtype=float))
            for v, known in zip(values, categories, strict=True)
        )
        return cls(names, kinds, categories, shape, dtype)

    @property
    def discrete(self) -> NDArray[np.bool_]:
        """Mask (n_columns,) of the columns whose values are exchanged and never made up."""
        return np.array([kind in (BINARY, CATEGORY) for kind in self.kinds], dtype=bool)

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Mask (n_columns,) of the columns of whole numbers."""
        return np.array([kind == INTEGER for kind in self.kinds], dtype=bool)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of what a student reads, such as ``"colour = red"`` for a category."""
        pairs = zip(self.names, self.categories, strict=True)
        return tuple(
            f for name, own in pairs for f in ([f"{name} = {_said(c)}" for c in own] or [name])
        )

    @property
    def category_of(self) -> tuple[tuple[str, str] | None, ...]:
        """Column and category of each feature; None for numbers."""
        found: list[tuple[str, str] | None] = []
        for name, own in zip(self.names, self.categories, strict=True):
            found += [(name, _said(c)) for c in own] if own else [None]
        return tuple(found)

    def codes(self, X: Any) -> NDArray[np.float64]:
        """Data as floats (n_samples, n_columns); a category that is not known is -1."""
        _, values, _, _ = _taken_apart(X)
        if len(values) != len(self.names):
            raise ValueError(f"X has {len(values)} columns, but {len(self.names)} are expected.")
        columns = [
            _numbered(v, own) if own else np.asarray(v, dtype=np.float64)
            for v, own in zip(values, self.categories, strict=True)
        ]
        return np.column_stack(columns)

    def to_features(self, codes: NDArray) -> NDArray[np.float64]:
        """What a student reads (n_samples, n_features)."""
        parts = [
            (column[:, None] == np.arange(len(own))).astype(float) if own else column[:, None]
            for column, own in zip(codes.T, self.categories, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    def to_data(self, codes: NDArray, like: Any) -> Any:
        """Data of codes (n_samples, n_columns), of the type that the data ``like`` have."""
        if not _is_table(like):
            values = codes
            if any(self.categories):
                values = np.empty(codes.shape, dtype=object)
                for j, column in enumerate(self._values(codes)):
                    values[:, j] = column
            return values.reshape(len(codes), *self.row_shape).astype(self.dtype)
        columns = dict(zip(like.columns, self._values(codes), strict=True))
        made = type(like)(columns)
        # pandas makes other dtypes of the same values; polars and others take them as they are
        return made.astype(dict(like.dtypes.items())) if hasattr(like, "iloc") else made

    def _values(self, codes: NDArray) -> list[Any]:
        return [
            np.array(own, dtype=object)[column.astype(int)] if own else column
            for column, own in zip(codes.T, self.categories, strict=True)
        ]


def _is_table(X: Any) -> bool:
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def _taken_apart(X: Any) -> tuple[tuple[str, ...], list[Any], tuple[int, ...], str]:
    """Names and values of all columns; the shape of a row and the dtype of an array."""
    if _is_table(X):
        names = list(X.columns)
        return tuple(map(str, names)), [np.asarray(X[name]) for name in names], (), ""
    if is_several(X):
        raise TypeError(
            f"X is a {type(X).__name__} of several inputs. A surrogate reads one table: pass a "
            "DataFrame or an array, and let the network's forward split its columns."
        )
    array = np.asarray(X.toarray() if issparse(X) else X)
    flat = array.reshape(len(array), -1)
    dtype = "object" if array.dtype.kind in "OUS" else array.dtype.str
    return tuple(f"x{j}" for j in range(flat.shape[1])), list(flat.T), array.shape[1:], dtype


def _is_numeric(values: NDArray) -> bool:
    if values.dtype.kind in "iuf":
        return True
    if values.dtype.kind == "O":  # numbers in an array of objects are numbers
        return all(isinstance(v, (int, float, np.number)) and not _is_flag(v) for v in values)
    return False


def _is_flag(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _categories(values: NDArray) -> tuple[Any, ...]:
    """Different values, sorted by how they are written; what is missing is one of them."""
    found = {_key(v): v for v in values.tolist()}
    return tuple(found[key] for key in sorted(found, key=str))


def _key(value: Any) -> Any:
    return None if value is None or value != value else value


def _said(category: Any) -> str:
    return "missing" if _key(category) is None else str(category)


def _numbered(values: NDArray, categories: tuple[Any, ...]) -> NDArray[np.float64]:
    number: dict[Any, int] = {_key(c): i for i, c in enumerate(categories)}
    return np.array([number.get(_key(v), -1) for v in values.tolist()], dtype=np.float64)


def _kind_of_numbers(values: NDArray) -> str:
    known = values[np.isfinite(values)]
    if len(np.unique(known)) <= 2:
        return BINARY
    return INTEGER if (known == np.round(known)).all() else NUMBER
