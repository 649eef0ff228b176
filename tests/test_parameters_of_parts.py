"""A parameter of a part that has none is refused in words, whatever estimator it is."""

from importlib import import_module

import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV

from sklflat import SAMClassifier, SurrogateAligner, TemperatureClassifier
from tests.test_public_paths import documented

DEFAULTS = [
    pytest.param(found(), part, id=f"{name}-{part}")
    for module, name in documented()
    if isinstance(found := getattr(import_module(module), name), type)
    and issubclass(found, BaseEstimator)
    and name not in ("StackedSearchCV", "FittedModule")
    for part in ("estimator", "surrogate", "net", "variant", "probes")
    if part in found._get_param_names() and not hasattr(getattr(found(), part), "set_params")
]


@pytest.mark.parametrize(("estimator", "part"), DEFAULTS)
def test_a_parameter_of_a_default_part_is_refused_in_words(estimator, part):
    value = repr(getattr(estimator, part))
    with pytest.raises(
        ValueError, match=rf"{part}={value} of .*Give an instance as {part}|Invalid"
    ):
        estimator.set_params(**{f"{part}__depth": 1})


def test_a_search_over_parameters_of_the_default_surrogate_says_so():
    X, y = [[0.0], [1.0]] * 10, [0, 1] * 10
    search = GridSearchCV(SurrogateAligner(), {"surrogate__max_depth": [2]}, cv=2)
    with pytest.raises(
        ValueError, match=r"surrogate__max_depth: surrogate=None of SurrogateAligner"
    ):
        search.fit(X, y)


def test_a_part_that_comes_with_its_parameter_is_set_first():
    clf = TemperatureClassifier().set_params(estimator=SAMClassifier(), estimator__rho=0.2)
    assert clf.estimator.rho == 0.2
    with pytest.raises(ValueError, match=r"estimator=<class.*Give an instance"):
        clf.set_params(estimator=SAMClassifier, estimator__rho=0.2)
