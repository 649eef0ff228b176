"""scikit-learn's own checks on every public estimator: all of them, none expected to fail."""

import os

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklflat import (
    AblationProbe,
    ActivationProbe,
    BasinRewinder,
    FlatNoiseClassifier,
    FlatNoiseRegressor,
    HessianSpectrum,
    MinimaReport,
    ModeConnectivityProbe,
    PruningPath,
    SAMClassifier,
    SAMClassifierCV,
    SAMRegressor,
    SAMRegressorCV,
    SurrogateAligner,
    TemperatureClassifier,
    TemperatureProbe,
    UnitConsensus,
    UniversalityProbe,
)
from sklflat.surrogate import AlternatingTreeClassifier, AlternatingTreeRegressor

# the array API check skips itself without this; `make test` sets it before scipy is imported
assert os.environ.get("SCIPY_ARRAY_API") == "1", "run the tests by `make test`"

TINY = SAMClassifier((5,), "tanh", max_iter=5, learning_rate_init=0.02)

# a network that classifies well enough for the checks of classifiers
QUICK = SAMClassifier((10,), max_iter=30, learning_rate_init=0.02)
REWOUND = {"sparsity": 0.3, "n_rounds": 1, "rewind": 0, "n_controls": 0, "n_retrains": 2}
REWOUND |= {"n_null": 4, "n_units": 1, "n_bootstrap": 2, "random_state": 0}
MIMIC = {"n_null": 10, "n_redraws": 1, "oracle_samples": 50, "min_fidelity": 0.0, "n_units": 1}

TWO = {"rhos": (0.05, 0.1), "alphas": (1e-4,), "cv": 2}

# One of every class, as cheap as it may be: a check fits it up to fourteen times.
CHEAP = [
    AblationProbe(TINY, n_null=50, random_state=0),
    ActivationProbe(TINY, n_null=50, random_state=0),
    HessianSpectrum(TINY, n_components=2, n_null=50, random_state=0),
    MinimaReport(TINY, techniques=("prediction",), n_models=0, random_state=0),
    ModeConnectivityProbe(TINY, n_points=3, repair=False, n_null=4, n_units=1, random_state=0),
    PruningPath(TINY, n_units=2, n_random=2, random_state=0),
    FlatNoiseClassifier(
        (8,), subspace="isotropic", sigma=0.02, budget=None, learning_rate_init=0.1, max_iter=15
    ),
    SAMClassifier((10,), max_iter=30, solver="sgd", learning_rate_init=0.1),
    SAMRegressor((10,), max_iter=20, learning_rate_init=0.1),
    TemperatureClassifier(
        SAMClassifier((10,), max_iter=30, learning_rate_init=0.05, random_state=0), temperature=2
    ),
    TemperatureProbe(
        TINY, temperatures=(0.5, 2), n_bootstrap=2, n_null=4, n_units=1, random_state=0
    ),
    SurrogateAligner(QUICK, n_basin_models=0, random_state=0, **MIMIC),
    UniversalityProbe(TINY, n_models=2, n_untrained=6, n_null=4, n_units=1, random_state=0),
    UnitConsensus(TINY, [AblationProbe(), ActivationProbe()], n_null=4, n_units=1, random_state=0),
    AlternatingTreeClassifier(2, random_state=0),
    AlternatingTreeRegressor(2, random_state=0),
]

# What the checks see of these is the same code as above, or the same at greater length.
FURTHER = [
    # a fit trains a dozen networks, so that all its checks take two minutes
    BasinRewinder(
        SAMClassifier((8,), max_iter=8, learning_rate_init=0.05, batch_size=8, rho=0), **REWOUND
    ),
    MinimaReport(effort="quick", techniques=("prediction",), n_models=1, random_state=0),
    ActivationProbe(TINY, unit_score="variance", n_null=8, n_units=None, random_state=0),
    ActivationProbe(TINY, unit_score="class_variance", n_null=50, n_units=1, random_state=0),
    UniversalityProbe(
        TINY, n_models=2, null="rotation", matching="one_to_one", n_units=1, random_state=0
    ),
    PruningPath(TINY, direction="forward", refit=False, n_units=2, n_random=2, random_state=0),
    HessianSpectrum(
        TINY,
        n_components=2,
        unit_score="response",
        metric="adaptive",
        density=True,
        trace_method="hutchinson",
        noise_level=0.5,
        n_clusters=2,
        n_null=200,
        random_state=0,
    ),
    FlatNoiseClassifier((8,), sigma=0.02, n_directions=2, learning_rate_init=0.05, max_iter=20),
    FlatNoiseRegressor(
        (8,), subspace="isotropic", sigma=0.02, budget=None, learning_rate_init=0.1, max_iter=20
    ),
    FlatNoiseRegressor((8,), sigma=0.02, n_directions=2, learning_rate_init=0.1, max_iter=20),
    SAMClassifier((10,), variant="looksam", learning_rate_init=0.05, max_iter=20),
    SAMClassifierCV((8,), max_iter=30, learning_rate_init=0.05, random_state=0, **TWO),
    SAMRegressorCV((10,), max_iter=20, learning_rate_init=0.1, random_state=0, **TWO),
    TemperatureClassifier(
        SAMClassifier((10,), max_iter=30, learning_rate_init=0.05, random_state=0),
        temperature="nll",
        cv=2,
    ),
    SurrogateAligner(QUICK, target="logit", random_state=0, **MIMIC),
    SurrogateAligner(
        SAMRegressor((10,), max_iter=20, learning_rate_init=0.1), random_state=0, **MIMIC
    ),
]

DEFAULTS = [
    AblationProbe(),
    ActivationProbe(),
    BasinRewinder(n_units=1),
    FlatNoiseClassifier(),
    FlatNoiseRegressor(),
    HessianSpectrum(),
    ModeConnectivityProbe(n_units=1),  # with "auto" it would warn, as nothing is there to find
    PruningPath(n_units=1),  # with "auto" it would warn, as the rows are too few
    SAMClassifier(),
    SAMClassifierCV(),
    SAMRegressor(),
    SAMRegressorCV(),
    TemperatureClassifier(),
    TemperatureProbe(n_units=1),
    SurrogateAligner(min_fidelity=0.0, n_units=1),
    UnitConsensus(n_units=1),
    UniversalityProbe(n_units=1),
    AlternatingTreeClassifier(),
    AlternatingTreeRegressor(n_restarts=1),
]


#: checks whose subject is what all classes share at the door; quick for SAMClassifier only
AT_THE_DOOR = {
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_transformer_data_not_an_array",
    "check_array_api_input",
    "check_pipeline_consistency",
}

#: checks of what the base classes of probes and of networks do with X and y; slow for classes
#: whose base has been checked by another one
BY_THE_BASE = {
    "check_dtype_object",
    "check_estimator_sparse_tag",
    "check_estimators_dtypes",
    "check_estimators_nan_inf",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_fit2d_predict1d",
    "check_methods_sample_order_invariance",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_positive_only_tag_during_fit",
    "check_readonly_memmap_input",
}
DERIVED = (
    ActivationProbe,
    FlatNoiseClassifier,
    HessianSpectrum,
    ModeConnectivityProbe,
    PruningPath,
    SurrogateAligner,
    TemperatureProbe,
    UnitConsensus,
    UniversalityProbe,
)


#: estimators that train dozens of networks a fit
LONG = (
    BasinRewinder,
    ModeConnectivityProbe,
    SurrogateAligner,
    TemperatureProbe,
    UniversalityProbe,
)
#: estimators that train 46 networks a fit, whose further instances go through all checks
TUNED = (SAMClassifierCV, SAMRegressorCV)


def checks(estimators, mark=lambda estimator, name: []):
    """scikit-learn's checks of some estimators, each estimator written out once for all ids."""
    names, cases = parametrize_with_checks(estimators).args
    written = {}
    marked = []
    for estimator, check in cases:
        if id(estimator) not in written:
            written[id(estimator)] = repr(estimator).replace(" ", "").replace("\n", "")
        settings = getattr(check, "keywords", {})
        name = getattr(check, "func", check).__name__
        more = ",".join(f"{key}={value}" for key, value in settings.items())
        label = f"{written[id(estimator)]}-{name}" + (f"({more})" if more else "")
        marks = mark(estimator, name)
        if settings and isinstance(estimator, LONG + TUNED) and estimators is DEFAULTS:
            marks = [pytest.mark.repeats]  # the same check on other memory, in minutes
        elif settings and estimators is CHEAP and not isinstance(estimator, SAMClassifier):
            marks = [pytest.mark.slow]
        marked.append(pytest.param(estimator, check, marks=marks, id=label))
    return pytest.mark.parametrize(names, marked)


def slow_where_it_repeats(estimator, name):
    """At the door and by the base, the checks of one class are quick."""
    repeats = name in AT_THE_DOOR and not isinstance(estimator, SAMClassifier)
    repeats |= name in BY_THE_BASE and isinstance(estimator, DERIVED)
    return [pytest.mark.slow] if repeats else []


@checks(CHEAP, slow_where_it_repeats)
def test_cheap_instances(estimator, check):
    check(estimator)


def test_every_class_has_a_cheap_instance():
    """But for the rewinder, and what is made of the others."""
    made = {FlatNoiseRegressor, SAMClassifierCV, SAMRegressorCV, BasinRewinder}
    cheap = {type(estimator) for estimator in CHEAP} | made
    assert cheap == {type(e) for e in DEFAULTS + FURTHER}


#: checks whose answer a default may change, for estimators that are LONG or TUNED
BY_DEFAULTS = {
    "check_classifiers_train",
    "check_estimators_pickle",
    "check_fit_idempotent",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_transformer_general",
}


#: checks of what the defaults are, which fit once or not at all
BY_SIGNATURE = {
    "check_dont_overwrite_attributes",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
}


def left_out_of_long_defaults(estimator, name):
    """Of long defaults few checks are made; ``make test-draws`` makes them all."""
    if isinstance(estimator, LONG + TUNED) and name not in BY_DEFAULTS:
        return [pytest.mark.repeats]
    return left_to_the_draws(estimator, name)


def left_to_the_draws(estimator, name):
    """What CHEAP goes through by the same code; ``make test-draws`` goes through it once more."""
    is_cheap = any(type(estimator) is type(cheap) for cheap in CHEAP)
    is_cheap |= isinstance(estimator, SAMRegressorCV)  # the same code as SAMClassifierCV
    return [pytest.mark.repeats] if is_cheap and name in AT_THE_DOOR | BY_THE_BASE else []


@pytest.mark.slow
@checks(FURTHER, left_to_the_draws)
def test_further_instances(estimator, check):
    check(estimator)


@pytest.mark.slow
@checks(DEFAULTS, left_out_of_long_defaults)
def test_defaults(estimator, check):
    check(estimator)
