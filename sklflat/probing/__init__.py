"""What all probes share: networks taken in, units scored, and the nulls they are scored against."""

from sklflat.probing.module import ModuleClassifier, ModuleRegressor, from_module

__all__ = ["ModuleClassifier", "ModuleRegressor", "from_module"]
