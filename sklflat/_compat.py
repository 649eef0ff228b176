"""The only page that touches private or version-dependent names of scikit-learn and skorch."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import _fit_context as fit_context
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call as check_partial_fit_first_call,
)
from sklearn.utils.validation import (
    _check_feature_names_in as check_feature_names_in,
)
from sklearn.utils.validation import (
    _check_method_params as check_method_params,
)
from sklearn.utils.validation import (
    _check_sample_weight as check_sample_weight,
)
from sklearn.utils.validation import (
    _num_samples as num_samples,
)

__all__ = [
    "TREE_NODE_FIELDS",
    "EstimatorMixin",
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "Options",
    "StrOptions",
    "check_feature_names_in",
    "check_method_params",
    "check_partial_fit_first_call",
    "check_sample_weight",
    "fit_context",
    "num_samples",
    "one_hot_is_sound",
    "safe_indexing",
    "scorer_params",
    "tree_classes",
    "validate_parameter_constraints",
]

#: of a node of scikit-learn's trees, as their state has it
TREE_NODE_FIELDS = (
    "left_child",
    "right_child",
    "feature",
    "threshold",
    "impurity",
    "n_node_samples",
    "weighted_n_node_samples",
    "missing_go_to_left",
)


class EstimatorMixin:
    """What all estimators here have in common; stands before ``BaseEstimator``.

    The HTML of each links to its page of the reference. The documentation is where the environment
    variable ``SKLFLAT_DOCS`` says, else where ``make docs`` has built it in a clone that the
    package is imported from; without either there is no link. A parameter of a part that has none
    is refused in words.
    """

    _doc_link_module = "sklflat"

    @property
    def _doc_link_template(self) -> str:
        built = Path(__file__).parents[1] / "docs" / "_build" / "html"
        address = os.environ.get("SKLFLAT_DOCS") or (built.as_uri() if built.is_dir() else "")
        return address and f"{address.rstrip('/')}/api/{{path}}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        """The public path: where the front door or the outermost package has the class."""
        name, parts = type(self).__name__, type(self).__module__.split(".")
        packages = [".".join(parts[:n]) for n in range(1, len(parts))]
        found = (p for p in packages if name in getattr(sys.modules.get(p), "__all__", ()))
        return {"path": f"{next(found, packages[-1])}.{name}"}

    def set_params(self, **params: Any) -> Any:
        """Set parameters, also of parts as ``part__parameter``.

        Parameters
        ----------
        **params
            Parts come first, then parameters of these.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If there is no such parameter, or a part is None, a name or a class, which has none.
        """
        estimator: Any = super()
        own = estimator.get_params(deep=False) if any("__" in key for key in params) else {}
        for key in params:
            name, of_part, parameter = key.partition("__")
            part = params.get(name, own.get(name))
            if of_part and name in own and not _has_parameters(part):
                raise InvalidParameterError(
                    f"{key}: {name}={part!r} of {type(self).__name__} has no parameters, so "
                    f"{parameter!r} cannot be set. Give an instance as {name} first."
                )
        return estimator.set_params(**params)


def _has_parameters(part: Any) -> bool:
    return hasattr(part, "set_params") and not isinstance(part, type)


def scorer_params(search: Any, params: dict[str, Any]) -> dict[str, Any]:
    """What of the parameters of a search's ``fit`` its scorer gets, with their rows unsplit."""
    with warnings.catch_warnings():
        # that a scorer takes no weights has been said by the search's own fit
        warnings.filterwarnings("ignore", "The scoring .* does not support sample_weight")
        return dict(search._get_routed_params_for_fit(params).scorer.score)


def tree_classes() -> tuple[Any, np.dtype[Any]]:
    """scikit-learn's compiled tree, and the dtype of its nodes."""
    from sklearn.tree._tree import NODE_DTYPE, Tree

    return Tree, NODE_DTYPE


def one_hot_is_sound(encoder: Any) -> bool:
    """Whether no row can make a ``OneHotEncoder`` write beyond the columns that it says it has.

    It hands its indices to C code without looking at them.
    """
    try:
        own = vars(encoder)
        categories, drop = own["categories_"], own["_drop_idx_after_grouping"]
        grouped = own["_infrequent_enabled"]
        n = len(categories)
        none = [None] * n
        rare = own["_infrequent_indices"] if grouped else none
        mappings = own["_default_to_infrequent_mappings"] if grouped else none
        drops = none if drop is None else drop.tolist()
        widths = own["_n_features_outs"]
        parts = [categories, rare, mappings, drops]
        right = all(type(part) is list and len(part) == n for part in [*parts, widths])
        right = right and own["n_features_in_"] == n and type(grouped) is bool
        return right and all(
            type(width) is int and width == _columns(*part)
            for width, part in zip(widths, zip(*parts, strict=True), strict=True)
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        return False


def _columns(categories: Any, rare: Any, mapping: Any, drop: Any) -> int:
    """How many columns one feature needs; -1 if its parts do not belong together."""
    n = n_groups = len(categories)
    values = np.asarray(categories)
    is_number = values.dtype.kind in "iuf"
    rising = values[1:] > values[:-1] if is_number else np.ones(0, dtype=bool)
    rising |= np.isnan(values[1:]) & ~np.isnan(values[:-1]) if is_number else rising
    right = values.ndim == 1 and n > 0 and bool(rising.all())
    right = right and (rare is None) == (mapping is None)
    if right and rare is not None:
        n_groups = n - len(rare) + 1
        right = len(rare) > 0 and mapping.shape == (n,)
        right = right and _are_indices(rare, n) and _are_indices(mapping, n_groups)
    right = right and (drop is None or (type(drop) is int and 0 <= drop < n_groups))
    return n_groups - (drop is not None) if right else -1


def _are_indices(found: Any, n: int) -> bool:
    is_whole = found.ndim == 1 and found.dtype.kind in "iu"
    return is_whole and found.min() >= 0 and found.max() < n


def predict_nonlinearity(net: Any) -> Any:
    """What a skorch net makes of its module's outputs (a tensor) when it predicts."""
    return net._get_predict_nonlinearity()
