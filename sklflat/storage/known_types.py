"""Types that files may name, and the attributes that their objects may have.

A name is looked up here before anything is imported, so a file cannot choose what is imported.
The names of this package's types do not change when modules move.
"""

import functools
import importlib
import inspect
import re
import sys
import types
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import Any

from sklflat._compat import one_hot_is_sound
from sklflat.exceptions import CheckpointError
from sklflat.storage.code import with_inner

#: classes of this package that fitted estimators consist of, by module
_OWN = {
    "sklflat.connectivity.core": "InvariantCore",
    "sklflat.connectivity.core_gain": "PathGain",
    "sklflat.connectivity.probe": "ModeConnectivityProbe",
    "sklflat.consensus.agreement": "RankAgreement",
    "sklflat.consensus.probe": "UnitConsensus",
    "sklflat.curvature.density": "SpectralDensity",
    "sklflat.curvature.spectral_measures": "SpectralMeasures",
    "sklflat.eigenspace.noise": "RankCorrelation",
    "sklflat.eigenspace.spectrum": "HessianSpectrum",
    "sklflat.networks.losses": "TaskLoss",
    "sklflat.networks.mlp": "MLP",
    "sklflat.networks.outputs": "LogProbabilities LogOdds",
    "sklflat.networks.before_activation": "BeforeActivation",
    "sklflat.networks.parts": "OfParts Parts",
    "sklflat.networks.tracing.layout": "Layout",
    "sklflat.networks.unit_layer": "UnitLayer",
    "sklflat.networks.units": "Units",
    "sklflat.paths.barrier_table": "BarrierTable",
    "sklflat.paths.barriers": "Barriers",
    "sklflat.paths.losses": "PathLosses",
    "sklflat.paths.paths": "LinearPath BezierPath PolygonalChain",
    "sklflat.paths.repair.moment_corrections": "Rescaled",
    "sklflat.probing.ablation": "AblationProbe",
    "sklflat.probing.activation": "ActivationProbe",
    "sklflat.probing.unit_card": "CardData",
    "sklflat.probing.decisions": "Decisions",
    "sklflat.probing.module": "ModuleClassifier ModuleRegressor",
    "sklflat.probing.nulls": "Null",
    "sklflat.pruning.output_layer": "OutputLayer Refit",
    "sklflat.pruning.path": "PruningPath",
    "sklflat.pruning.table": "Curve PathTable",
    "sklflat.report.parts": "Comparison Finding Page Picture Quantity Section UnitTable",
    "sklflat.report.report": "MinimaReport",
    "sklflat.report.techniques.curvature": "Flatness",
    "sklflat.report.techniques.prediction": "Predictions",
    "sklflat.rewinding.basin_size": "BasinSize",
    "sklflat.rewinding.consistency": "Consistency",
    "sklflat.rewinding.curvature_plateau": "CurvaturePlateau",
    "sklflat.rewinding.onset": "Instability OnsetCurve",
    "sklflat.rewinding.rewinder": "BasinRewinder",
    "sklflat.surrogate.aligner": "SurrogateAligner",
    "sklflat.surrogate.bisection": "BisectionTest",
    "sklflat.surrogate.columns": "Columns",
    "sklflat.surrogate.degeneracy": "DegeneracyTest",
    "sklflat.surrogate.disagreement_map": "DisagreementMap",
    "sklflat.surrogate.fidelity": "Estimate FidelityReport",
    "sklflat.surrogate.regions": "Regions",
    "sklflat.surrogate.rules": "Rules",
    "sklflat.surrogate.student": "Student",
    "sklflat.surrogate.trees.estimators": "AlternatingTreeClassifier AlternatingTreeRegressor",
    "sklflat.symmetry.symmetry": "Group RecordingPoint Symmetry",
    "sklflat.temperature.calibration": "Calibration",
    "sklflat.temperature.baselines": "TreeComparison",
    "sklflat.temperature.class_tree": "ClassTree",
    "sklflat.temperature.classifier": "TemperatureClassifier",
    "sklflat.temperature.probe": "TemperatureProbe",
    "sklflat.training.cross_validation.classifier": "SAMClassifierCV",
    "sklflat.training.cross_validation.regressor": "SAMRegressorCV",
    "sklflat.training.engine.epochs": "Record",
    "sklflat.training.estimators.noise_classifier": "FlatNoiseClassifier",
    "sklflat.training.estimators.noise_regressor": "FlatNoiseRegressor",
    "sklflat.training.estimators.sam_classifier": "SAMClassifier",
    "sklflat.training.estimators.sam_regressor": "SAMRegressor",
    "sklflat.training.estimators.targets": "ClassTargets RealTargets",
    "sklflat.training.perturbations.asam": "ASAM",
    "sklflat.training.perturbations.fisher": "FisherSAM",
    "sklflat.training.perturbations.friendly": "FriendlySAM",
    "sklflat.training.perturbations.gsam": "GSAM",
    "sklflat.training.perturbations.looksam": "LookSAM",
    "sklflat.training.perturbations.momentum": "MomentumSAM",
    "sklflat.training.perturbations.noise": "FlatNoise",
    "sklflat.training.perturbations.sam": "SAM",
    "sklflat.universality.probe": "UniversalityProbe",
    "sklflat.universality.reliability": "Reliability",
}

#: estimators of scikit-learn whose predictions are NumPy's alone, so that no array of a file
#: reaches C code that trusts it (support vectors do); and trees, whose nodes are checked
_SKLEARN = {
    "sklearn.compose": "ColumnTransformer TransformedTargetRegressor make_column_selector",
    "sklearn.decomposition": "PCA TruncatedSVD FastICA FactorAnalysis",
    "sklearn.discriminant_analysis": "LinearDiscriminantAnalysis",
    "sklearn.dummy": "DummyClassifier DummyRegressor",
    "sklearn.feature_selection": (
        "VarianceThreshold SelectKBest SelectPercentile SelectFpr SelectFdr SelectFwe "
        "GenericUnivariateSelect"
    ),
    "sklearn.frozen": "FrozenEstimator",
    "sklearn.impute": "SimpleImputer MissingIndicator",
    "sklearn.kernel_approximation": "RBFSampler AdditiveChi2Sampler",
    "sklearn.linear_model": ("LinearRegression Ridge RidgeClassifier LogisticRegression"),
    "sklearn.naive_bayes": "GaussianNB BernoulliNB",
    "sklearn.pipeline": "Pipeline FeatureUnion",
    "sklearn.preprocessing": (
        "Binarizer FunctionTransformer KBinsDiscretizer LabelBinarizer LabelEncoder MaxAbsScaler "
        "MinMaxScaler Normalizer OneHotEncoder OrdinalEncoder PowerTransformer "
        "QuantileTransformer RobustScaler StandardScaler"
    ),
    "sklearn.random_projection": "GaussianRandomProjection",
    "sklearn.tree": "DecisionTreeClassifier DecisionTreeRegressor",
    "sklearn.utils": "Bunch",
}

#: name in files -> module and class
_TABLE = {
    **{name: (module, name) for module, names in _OWN.items() for name in names.split()},
    **{f"{m}.{name}": (m, name) for m, names in _SKLEARN.items() for name in names.split()},
}
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z", re.ASCII)


def name_of(cls: type) -> str:
    """The name by which files call a class.

    Raises
    ------
    TypeError
        If it could not be found again by that name.
    """
    for name in (cls.__name__, _public_name(cls), f"{cls.__module__}.{cls.__qualname__}"):
        if name is not None and _find(name, {name}) is cls:
            return name
    raise TypeError(f"the class {cls.__module__}.{cls.__qualname__} cannot be imported by its name")


def is_known(cls: type) -> bool:
    """Whether a class is of this package, or one of scikit-learn's that are known by heart."""
    return cls.__name__ in _TABLE or _public_name(cls) in _TABLE


def _public_name(cls: type) -> str | None:
    """The shortest name of a class of torch or scikit-learn."""
    top, *_ = cls.__module__.split(".")
    if top == "torch":
        return f"torch.nn.{cls.__name__}"
    return next(
        (n for n, (m, own) in _TABLE.items() if own == cls.__name__ and m.startswith(top)), None
    )


def type_called(name: Any, trusted: tuple[str, ...]) -> type:
    """The class of a name, if files may use it: of the table, torch's layers, or trusted ones.

    Raises
    ------
    CheckpointError
        Before anything is imported.
    """
    if not isinstance(name, str) or len(name) > 500 or not _NAME.match(name):
        raise CheckpointError("A type in the file has no name.")
    found = _find(name, set(trusted))
    if found is None:
        raise CheckpointError(
            f"The file names the class {name}, which is not known to be harmless. If you trust "
            f"it, say so: trusted=({name!r},)."
        )
    return found


def _find(name: str, trusted: set[str]) -> type | None:
    """The class of a name; None if there is none that may be used."""
    if name in _TABLE:
        module, own = _TABLE[name]
        return getattr(importlib.import_module(module), own)
    module, _, own = name.rpartition(".")
    if module == "torch.nn" or module.startswith("torch.nn.modules."):
        found = getattr(sys.modules.get(module), "__dict__", {}).get(own)  # nothing is imported
        if _is_layer(found):
            return found
    if name in trusted:
        return _trusted(name)
    return None


def _is_layer(found: Any) -> bool:
    from torch import nn

    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        return False
    # the kernels of recurrent layers trust that sizes and weights belong together, see recurrent.py
    is_recurrent = issubclass(found, (nn.RNNBase, nn.RNNCellBase))
    return found.__module__.startswith("torch.nn.modules.") and not is_recurrent


def _trusted(name: str) -> type | None:
    """A class of the user's, also one inside of another."""
    parts = name.split(".")
    for k in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:k]))
            for part in parts[k:]:
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError):
            continue
        return found if isinstance(found, type) else None
    return None


# --- attributes -------------------------------------------------------------------------------

#: parameters that say where to keep files, or start processes: they are not part of what is saved
PLACES = {"cache_dir", "memory", "n_jobs"}
#: how an estimator may return its output; another library would be imported for it
_OUTPUTS: tuple[dict[str, str], ...] = ({}, {"transform": "default"}, {"transform": "pandas"})
#: what scikit-learn sets in any estimator
_COMMON = {"n_features_in_", "feature_names_in_", "_sklearn_output_config", "_metadata_request"}


def check_attribute(cls: type, name: Any) -> None:
    """Raise unless objects of a class have such an attribute, which is data.

    Raises
    ------
    CheckpointError
    """
    if type(name) is not str or not name.isidentifier() or name[:2] == "__":
        raise CheckpointError("The file names an attribute that is none.")
    if _is_code(cls, name):
        raise CheckpointError(
            f"The file has a value for {cls.__name__}.{name[:80]}, which is code."
        )
    if name not in declared(cls):
        raise CheckpointError(f"A {cls.__name__} has no attribute {name[:80]}.")


def check_value(name: str, value: Any) -> None:
    """Raise if an attribute would have an estimator write, start or import something later.

    Raises
    ------
    CheckpointError
    """
    if name in PLACES and value is not None:
        raise CheckpointError(
            f"The file says by {name} where files are to be kept, or starts processes."
        )
    if name == "_sklearn_output_config" and value not in _OUTPUTS:
        raise CheckpointError("The file says what is to be imported.")


#: attributes of torch's layers that say where a window lies; sizes of it, which are positive
_POSITIONS = {"padding", "output_padding", "_reversed_padding_repeated_twice"}
_SIZES = {"kernel_size", "stride", "dilation", "output_size", "size"}
_MAX_WINDOW, _MAX_NUMBER = 2**20, 2**31 - 1


def check_layer_value(name: str, value: Any) -> None:
    """Raise if a number of a layer is one whose sums and products overflow in kernels.

    Raises
    ------
    CheckpointError
    """
    high = _MAX_WINDOW if name in _POSITIONS | _SIZES else _MAX_NUMBER
    low = 0 if name in _SIZES else -high
    parts = value if isinstance(value, (tuple, list)) else (value,)
    if any(type(n) is int and not low <= n <= high for n in parts):
        raise CheckpointError(f"The file gives a layer a {name[:80]} that is out of range.")


def check_whole(objects: Iterable[Any]) -> None:
    """Raise if parts of an object do not belong together where C code trusts that they do.

    Raises
    ------
    CheckpointError
    """
    for value in objects:
        cls = type(value)
        if cls.__name__ == "OneHotEncoder" and cls.__module__.startswith("sklearn."):
            is_fitted = "categories_" in vars(value) or "_n_features_outs" in vars(value)
            if is_fitted and not one_hot_is_sound(value):
                raise CheckpointError("The file holds a OneHotEncoder whose parts are of others.")


@lru_cache(maxsize=10_000)
def _is_code(cls: type, name: str) -> bool:
    """Whether a class has a method or another descriptor of a name."""
    found = inspect.getattr_static(cls, name, None)
    return callable(found) or hasattr(type(found), "__get__")


@cache
def declared(cls: type) -> frozenset[str]:
    """Names of attributes that the code of a class uses, its annotations and parameters."""
    found = set(_COMMON) if hasattr(cls, "get_params") else set()
    for base in cls.__mro__:
        found.update(vars(base).get("__annotations__", ()))
        if "__init__" in vars(base):
            found.update(inspect.signature(base.__init__).parameters)  # type: ignore[misc]
        for value in list(vars(base).values()):
            for code in _code_of(value):
                found.update(code.co_names)
    return frozenset(found)


def _code_of(value: Any) -> Iterator[types.CodeType]:
    """All code of a method or property, below its decorators."""
    if isinstance(value, property):
        parts = [value.fget, value.fset]
    elif isinstance(value, functools.cached_property):
        parts = [value.func]
    else:
        parts = [getattr(value, "__func__", value)]
    for function in parts:
        if isinstance(function, types.FunctionType):
            yield from with_inner(inspect.unwrap(function).__code__)
