"""What the columns of the data are, and how a student sees them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from sklflat.training.estimators.containers import is_several

#: kinds of columns: of those that are discrete, values are exchanged and never made up
NUMBER, INTEGER, BINARY, CATEGORY = "number", "integer", "binary", "category"
#: categories of one column that a student can ask for
_MOST = 50


@dataclass(frozen=True)
class Columns:
    """Names, kinds and categories of the columns of some data.

    Data are read as *codes*, a matrix of floats in which a category is its number. From codes the
    data can be made again (``to_data``), and what a student reads (``to_features``): numbers as
    they are, and a column of 0 and 1 for each category, or for the 50 most frequent ones (of the
    others, as in a column of names, nothing can be learned). Arrays of more than two axes are read
    as one column an entry.

    Attributes
    ----------
    names : tuple of str
    kinds : tuple of str
        "number", "integer" (all values are whole), "binary" (at most two values) or "category".
    categories : tuple of tuple
        The categories of each column; empty for numbers.
    asked : tuple of tuple of int
        Numbers of the categories that a student can ask for.
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
    asked: tuple[tuple[int, ...], ...]
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
        asked = tuple(_most_frequent(v, own) for v, own in zip(values, categories, strict=True))
        kinds = tuple(
            CATEGORY if known else _kind_of_numbers(_as_floats(v))
            for v, known in zip(values, categories, strict=True)
        )
        return cls(names, kinds, categories, asked, shape, dtype)

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
        pairs = zip(self.names, self.asked_words, strict=True)
        return tuple(f for name, own in pairs for f in ([f"{name} = {c}" for c in own] or [name]))

    @property
    def category_of(self) -> tuple[tuple[str, str] | None, ...]:
        """Column and category of each feature; None for numbers."""
        found: list[tuple[str, str] | None] = []
        for name, own in zip(self.names, self.asked_words, strict=True):
            found += [(name, c) for c in own] if own else [None]
        return tuple(found)

    @property
    def asked_words(self) -> list[list[str]]:
        """The categories of each column that a student can ask for, in words."""
        pairs = zip(self.categories, self.asked, strict=True)
        return [[_said(own[k]) for k in asked] for own, asked in pairs]

    def codes(self, X: Any) -> NDArray[np.float64]:
        """Data as floats (n_samples, n_columns); a category that is not known is -1."""
        _, values, _, _ = _taken_apart(X)
        if len(values) != len(self.names):
            raise ValueError(f"X has {len(values)} columns, but {len(self.names)} are expected.")
        columns = [
            _numbered(v, own) if own else _as_floats(v)
            for v, own in zip(values, self.categories, strict=True)
        ]
        return np.column_stack(columns)

    def to_features(self, codes: NDArray) -> NDArray[np.float64]:
        """What a student reads (n_samples, n_features)."""
        parts = [
            (column[:, None] == np.array(asked)).astype(float) if asked else column[:, None]
            for column, asked in zip(codes.T, self.asked, strict=True)
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


def filled(features: NDArray) -> NDArray[np.float64]:
    """Features (n_samples, n_features), what is missing being the mean of its column.

    A column of which nothing is known is 0.
    """
    lacking = np.isnan(features)
    known = np.where(lacking, 0, features)
    mean = known.sum(axis=0) / np.maximum((~lacking).sum(axis=0), 1)
    return np.where(lacking, mean, features)


def _is_table(X: Any) -> bool:
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def _taken_apart(X: Any) -> tuple[tuple[str, ...], list[Any], tuple[int, ...], str]:
    """Names and values of all columns; the shape of a row and the dtype of an array."""
    if _is_table(X):
        names = list(X.columns)  # where these are numbers, "0 <= 1" would be no rule to read
        said = tuple(name if isinstance(name, str) else f"x{name}" for name in names)
        return said, [X[name] for name in names], (), ""
    if is_several(X):
        raise TypeError(
            f"X is a {type(X).__name__} of several inputs. A surrogate reads one table: pass a "
            "DataFrame or an array, and let the network's forward split its columns."
        )
    array = np.asarray(X.toarray() if issparse(X) else X)
    flat = array.reshape(len(array), -1)
    dtype = "object" if array.dtype.kind in "OUS" else array.dtype.str
    return tuple(f"x{j}" for j in range(flat.shape[1])), list(flat.T), array.shape[1:], dtype


def _is_numeric(column: Any) -> bool:
    """Whether a column of an array or of a table is of numbers, some of which may be missing."""
    if hasattr(column.dtype, "categories"):  # numbers, too, are names, if somebody says so
        return False
    values = np.asarray(column)
    if values.dtype.kind == "O":  # numbers in an array of objects are numbers
        known = [v for v in values if _key(v) is not None]
        return bool(known) and all(_is_number(v) for v in known)
    return values.dtype.kind in "iuf"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))


def _as_floats(column: Any) -> NDArray[np.float64]:
    """Numbers (n_samples,); NaN is what is missing."""
    values = np.asarray(column)
    if values.dtype.kind == "O":
        values = np.array([np.nan if _key(v) is None else v for v in values])
    return np.asarray(values, dtype=np.float64)


def _listed(column: Any) -> list[Any]:
    """Values of a column, None for pandas.NA, as which its types of columns take it."""
    return [None if _is_unknowable(v) else v for v in np.asarray(column).tolist()]


def _is_unknowable(value: Any) -> bool:
    """Whether not even that is known of a value, whether it is itself: pandas.NA."""
    try:
        bool(value != value)
    except TypeError:
        return True
    return False


def _categories(column: Any) -> tuple[Any, ...]:
    """Different values, sorted by how they are written; what is missing is one of them."""
    found = {_key(v): v for v in _listed(column)}
    return tuple(found[key] for key in sorted(found, key=str))


def _most_frequent(column: Any, categories: tuple[Any, ...]) -> tuple[int, ...]:
    """Numbers of the categories that most rows have, in order."""
    if len(categories) <= _MOST:
        return tuple(range(len(categories)))
    count = np.bincount(_numbered(column, categories).astype(int), minlength=len(categories))
    return tuple(np.sort(np.argsort(-count, kind="stable")[:_MOST]).tolist())


def _key(value: Any) -> Any:
    """A value, or None if it is missing."""
    return None if value is None or _is_unknowable(value) or value != value else value


def _said(category: Any) -> str:
    return "missing" if _key(category) is None else str(category)


def _numbered(column: Any, categories: tuple[Any, ...]) -> NDArray[np.float64]:
    number: dict[Any, int] = {_key(c): i for i, c in enumerate(categories)}
    return np.array([number.get(_key(v), -1) for v in _listed(column)], dtype=np.float64)


def _kind_of_numbers(values: NDArray) -> str:
    known = values[np.isfinite(values)]
    if len(np.unique(known)) <= 2:
        return BINARY
    return INTEGER if (known == np.round(known)).all() else NUMBER
