"""Tables of mixed columns as numbers for a network, and what was done to them in words."""

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklflat.report.text_columns import looks_like_dates, numbers_in_text
from sklflat.report.wording import shortened

#: categories of a column beyond which the rare ones become one
_MOST_CATEGORIES = 20


def encoder_of(X: Any) -> tuple[Any, tuple[str, ...]]:
    """What makes the columns of X numbers of one scale, and that in words.

    Numbers are standardised, with missing ones at the median and a column that says where. Text,
    categories and flags become a column of 0 and 1 for each category, missing being one; of more
    than twenty categories the rare ones become one: see :func:`inputs_of_categories`.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_samples, n_features)

    Returns
    -------
    encoder : transformer
        Not fitted.
    said : tuple of str

    Examples
    --------
    >>> import pandas as pd
    >>> from sklflat.report.encoding import encoder_of, inputs_of_categories
    >>> X = pd.DataFrame({"size": [1.0, None, 3.0], "colour": ["red", "blue", None]})
    >>> encoder, said = encoder_of(X)
    >>> encoder.fit_transform(X).shape
    (3, 5)
    >>> for sentence in said:
    ...     print(sentence)
    Standardised as numbers: size.
    Missing numbers are set to the median, with a column that says where: size.
    >>> for sentence in inputs_of_categories(encoder):
    ...     print(sentence)
    One input for each category, missing being one: colour (3).
    """
    if not _is_frame(X):
        return StandardScaler(), ("All columns are standardised.",)
    numbers = [c for c in X.columns if _is_number(X[c])]
    _check_scale(X, numbers)
    others = [c for c in X.columns if c not in set(numbers)]
    holes = [c for c in numbers if X[c].isna().any()]
    said = []
    if numbers:
        said.append(f"Standardised as numbers: {_names(numbers)}.")
    if holes:
        said.append(
            f"Missing numbers are set to the median, with a column that says where: "
            f"{_names(holes)}."
        )
    scale = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=_MOST_CATEGORIES,
        sparse_output=False,
    )
    parts = [("numbers", scale, numbers)] * bool(numbers)
    parts += [("categories", one_hot, others)] * bool(others)
    return ColumnTransformer(parts, verbose_feature_names_out=False), tuple(said)


def inputs_of_categories(encoder: Any) -> tuple[str, ...]:
    """How many inputs a network has of each column of categories, and where rare ones are merged.

    Parameters
    ----------
    encoder : fitted transformer
        Of :func:`encoder_of`.
    """
    parts = {name: (part, columns) for name, part, columns in getattr(encoder, "transformers_", ())}
    if "categories" not in parts:
        return ()
    one_hot, columns = parts["categories"]
    n_all = [len(values) for values in one_hot.categories_]
    n_merged = [0 if rare is None else len(rare) for rare in one_hot.infrequent_categories_]
    counts = [n - m + (m > 0) for n, m in zip(n_all, n_merged, strict=True)]
    inputs = [f"{c} ({n:,})" for c, n in zip(columns, counts, strict=True)]
    said = [f"One input for each category, missing being one: {shortened(inputs)}."]
    merged = [
        f"{c} ({m:,} of {n:,} categories)"
        for c, m, n in zip(columns, n_merged, n_all, strict=True)
        if m
    ]
    if merged:
        said.append(
            f"The rare categories of a column are merged into one input: {shortened(merged)}."
        )
    return tuple(said)


def check_text(X: Any) -> None:
    """Raise where a DataFrame has numbers or dates that would be taken for categories.

    Parameters
    ----------
    X : array-like or DataFrame

    Raises
    ------
    ValueError
        Says which columns, and what to give in their place.
    """
    if not _is_frame(X):
        return
    said, name = [], ""
    for c in X.columns:
        odd = numbers_in_text(X[c])
        if odd is not None:
            text = f"X[{c!r}]"
            if odd.kind == "unit":
                text += "".join(f".str.replace({sign!r}, '')" for sign in odd.signs)
            said.append(f"{odd.said} Give pd.to_numeric({text}, errors='coerce').")
        elif X[c].dtype.kind == "M":
            said.append(f"{c!r} has dates. Give (X[{c!r}] - X[{c!r}].min()).dt.days.")
        elif looks_like_dates(X[c]):
            said.append(f"{c!r} has dates in text. Give days, by pd.to_datetime(X[{c!r}]).")
        else:
            continue
        name = name or repr(c)
    if said:
        raise ValueError(
            f"{' '.join(said)} Where it is of categories: X[{name}].astype('category')."
        )


def _check_scale(X: Any, numbers: list[Any]) -> None:
    """Raise where squares of a column's values are no numbers any more."""
    largest = {
        c: float(np.abs(np.asarray(X[c].dropna(), dtype=float)).max(initial=0.0)) for c in numbers
    }
    odd = [c for c, m in largest.items() if m and not 1e-150 < m < 1e150]
    if odd:
        raise ValueError(
            f"Columns have values beyond 1e150, or none above 1e-150: {_names(odd)}. Give them in "
            "another unit, or leave them out."
        )


def _names(columns: list[Any]) -> str:
    return shortened([str(c) for c in columns])


def _is_frame(X: Any) -> bool:
    return hasattr(X, "dtypes") and hasattr(X, "columns")


def _is_number(column: Any) -> bool:
    return getattr(column.dtype, "kind", "O") in "iuf"


def as_table(X: Any) -> Any:
    """X with missing categories as None, so that all of them are one category.

    Parameters
    ----------
    X : array-like or DataFrame
    """
    if not _is_frame(X):
        return X
    made = X.copy()
    for name in X.columns:
        if not _is_number(X[name]):
            values = np.array(X[name], dtype=object)
            values[np.asarray(X[name].isna(), dtype=bool)] = None
            made[name] = values
    return made
