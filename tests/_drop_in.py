"""scikit-learn's tests of its multi-layer perceptrons with the two classes replaced.

What is expected of each test is written here once. ``tests/training/estimators/test_drop_in.py``
runs the tests and compares; ``docs/generate_drop_in.py`` runs them and writes the table.
"""

import importlib.util
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import sklearn
import sklearn.neural_network

from sklflat import SAMClassifier, SAMRegressor

TABLE = Path(__file__).parents[1] / "docs" / "_generated" / "drop_in.md"
PASSES, DIFFERS = "passes", "differs"
_UPSTREAM = "sklearn.neural_network.tests.test_mlp"
_REPLACED = {"MLPClassifier": SAMClassifier, "MLPRegressor": SAMRegressor}


@dataclass(frozen=True)
class Difference:
    """How a test fails, why that is meant, and with which parameters it passes after all."""

    error: type[BaseException]
    message: str
    reason: str
    passes_with: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        """The cell of the table."""
        if not self.passes_with:
            return self.reason
        given = ", ".join(f"{key}={value!r}" for key, value in self.passes_with.items())
        return f"{self.reason} Passes with `{given}`."


def _lbfgs(reason: str = "", **passes_with: Any) -> Difference:
    because = "`lbfgs` is refused: a line search has no training step to perturb."
    return Difference(ValueError, "has no meaning here", f"{because} {reason}".strip(), passes_with)


def _private(name: str, public: str) -> Difference:
    reason = f"Reads the private `{name}`; {public}"
    return Difference(AttributeError, re.escape(name.split(".")[0]), reason)


_MAX_FUN = Difference(
    TypeError, "max_fun", "`max_fun` is a parameter of `lbfgs` alone, which is refused."
)
_ADAM = {"solver": "adam", "rho": 0.0, "learning_rate_init": 0.01}
_RATE = "its value is `net_.optimizer_.param_groups[0]['lr']`."
_COUNT = "`n_iter_` and `loss_curve_` show the same (tested apart)."

DIFFERENCES: dict[str, Difference] = {
    "test_fit": Difference(
        AttributeError,
        "coefs_",
        "Assigns `coefs_` and private attributes to an estimator that was never fitted; here "
        "`coefs_` shows the weights of `module_`. The worked example itself is tested apart.",
    ),
    "test_gradient": _lbfgs("Also calls the private `_loss_grad_lbfgs`; gradients are torch's."),
    "test_lbfgs_classification": _lbfgs(**_ADAM),
    "test_lbfgs_regression": _lbfgs(
        solver="adam", rho=0.0, learning_rate_init=0.05, max_iter=600, tol=0.0
    ),
    "test_lbfgs_classification_maxfun": _MAX_FUN,
    "test_lbfgs_regression_maxfun": _MAX_FUN,
    "test_learning_rate_warmstart": _private("_optimizer.learning_rate", _RATE),
    "test_multilabel_classification": _lbfgs(solver="sgd"),
    "test_multioutput_regression": _lbfgs(**_ADAM),
    "test_partial_fit_errors": Difference(
        AssertionError,
        "partial_fit",
        "`lbfgs` is refused by `fit` and `partial_fit` alike, so `partial_fit` is not hidden.",
    ),
    "test_nonfinite_params": Difference(
        AssertionError,
        "Training diverged in epoch 1",
        "Text: the `ValueError` also says in which epoch and what to lower.",
    ),
    "test_predict_proba_multilabel": _lbfgs(**_ADAM),
    "test_sparse_matrices": _lbfgs(solver="adam"),
    "test_adaptive_learning_rate": _private("_optimizer.learning_rate", _RATE),
    "test_warm_start": _lbfgs(solver="adam"),
    "test_n_iter_no_change": _private("_no_improvement_count", _COUNT),
    "test_n_iter_no_change_inf": _private("_no_improvement_count", _COUNT),
    "test_early_stopping_stratified": Difference(
        AssertionError,
        r"Classes with too few members are: \[1\]",
        "Text: the `ValueError` names the user's own label, not that of an internal encoding.",
    ),
    "test_preserve_feature_names[SAMClassifier]": Difference(
        ValueError, "only one class", "Fits labels of one class, which are refused by name here."
    ),
    "test_mlp_warm_start_no_convergence[lbfgs-SAMClassifier]": _lbfgs(solver="adam"),
    "test_mlp_warm_start_no_convergence[lbfgs-SAMRegressor]": _lbfgs(solver="adam"),
    "test_mlp_diverging_loss": Difference(
        ValueError,
        "Training diverged in epoch",
        "Training that diverges raises, also with early stopping; it never predicts NaN.",
    ),
    "test_mlp_vs_poisson_glm_equivalent": _lbfgs(
        solver="adam", rho=0.0, learning_rate_init=0.02, max_iter=3000, n_iter_no_change=200
    ),
}


#: tests of many seconds
SLOW = {
    "test_lbfgs_regression",
    "test_mlp_loading_from_joblib_partial_fit",
    "test_mlp_vs_poisson_glm_equivalent",
    "test_n_iter_no_change_inf",
    "test_partial_fit_classification",
    "test_partial_fit_regression",
}


def difference(case: str) -> Difference | None:
    """The difference expected of a test, or of one of its cases; None if it must pass."""
    return DIFFERENCES.get(case) or DIFFERENCES.get(case.split("[")[0])


def load() -> ModuleType:
    """A fresh copy of scikit-learn's test module with the two names replaced."""
    spec = importlib.util.find_spec(_UPSTREAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.multiple(sklearn.neural_network, **_REPLACED):
        spec.loader.exec_module(module)
    return module


def tests(module: ModuleType) -> dict[str, Callable[..., None]]:
    """The test functions of a module by name."""
    return {name: f for name, f in vars(module).items() if name.startswith("test_")}


def run_with(
    module: ModuleType, function: Callable[..., None], given: dict[str, Any], kwargs: Any
) -> None:
    """Run a test in which every estimator is made with some parameters forced."""

    def forced(cls: type) -> Callable[..., Any]:
        return lambda *args, **own: cls(*args, **{**own, **given})

    made = {cls: forced(cls) for cls in _REPLACED.values()}
    kwargs = {key: made[v] if isinstance(v, type) and v in made else v for key, v in kwargs.items()}
    with mock.patch.multiple(module, **{name: made[cls] for name, cls in _REPLACED.items()}):
        function(**kwargs)


def _failure(function: Callable[..., None], kwargs: dict[str, Any]) -> BaseException | None:
    try:
        function(**kwargs)
    except (Exception, pytest.fail.Exception) as error:
        return error
    return None


def outcome(
    module: ModuleType, function: Callable[..., None], case: str, kwargs: dict[str, Any]
) -> str:
    """Run one case: ``"passes"``, or ``"differs"`` in the way that is expected of it."""
    expected = difference(case)
    if expected is None:
        function(**kwargs)
        return PASSES
    failure = _failure(function, kwargs)
    chain = [e for e in (failure, getattr(failure, "__context__", None)) if e is not None]
    assert any(
        isinstance(e, expected.error) and re.search(expected.message, str(e), re.DOTALL)
        for e in chain
    ), f"{case} was to differ by {expected.error.__name__}({expected.message!r}); got {chain}"
    if expected.passes_with:
        run_with(module, function, expected.passes_with, kwargs)
    return DIFFERS


def with_request(function: Callable[..., None], test: Callable[..., None]) -> Callable[..., None]:
    """Give ``test(request, **kwargs)`` the fixtures and marks of ``function``."""
    own = inspect.signature(function).parameters.values()
    request = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    test.__signature__ = inspect.Signature([request, *own])  # type: ignore[attr-defined]
    test.__name__, test.__doc__ = function.__name__, None
    test.pytestmark = list(getattr(function, "pytestmark", []))  # type: ignore[attr-defined]
    if function.__name__ in SLOW:
        test.pytestmark.append(pytest.mark.slow)  # type: ignore[attr-defined]
    return test


def render(outcomes: dict[str, str], version: str = sklearn.__version__) -> str:
    """The table in Markdown, from the outcome of each case."""
    differs = sum(found == DIFFERS for found in outcomes.values())
    rescued = sum(bool((d := difference(case)) and d.passes_with) for case in outcomes)
    lines = [
        f"scikit-learn {version}: of {len(outcomes)} tests, {len(outcomes) - differs} pass and "
        f"{differs} differ; of these, {rescued} pass with the parameters stated.",
        "",
        "| test | outcome | why |",
        "|---|---|---|",
    ]
    for case, found in outcomes.items():
        expected = difference(case)
        lines.append(f"| `{case}` | {found} | {expected.describe() if expected else ''} |")
    return "\n".join(lines) + "\n"


def committed() -> tuple[str, dict[str, str]]:
    """Version of scikit-learn and outcome of each case in the table in docs."""
    text = TABLE.read_text()
    version = re.match(r"scikit-learn (\S+):", text)
    rows = re.findall(r"^\| `([^|]+)` \| (\w+) \|", text, flags=re.MULTILINE)
    return (version[1] if version else "none"), dict(rows)
